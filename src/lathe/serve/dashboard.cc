#include "lathe/serve/dashboard.h"

#include <httplib.h>

#include <algorithm>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/serve/run_view.h"

namespace lathe {
namespace {

using Handler = nlohmann::json::error_handler_t;
constexpr size_t kMaxFileBytes = size_t{512} << 20;

std::string text_of(const nlohmann::json& json) {
  return json.dump(-1, ' ', false, Handler::replace);
}

void answer_error(httplib::Response& response, int status, const std::string& message) {
  response.status = status;
  response.set_content(text_of({{"error", message}}), "application/json");
}

}  // namespace

struct Dashboard::Impl {
  DashboardOptions options;
  httplib::Server server;
  int port = 0;

  bool ours(const std::string& host) const {
    const std::string tail = ":" + std::to_string(port);
    return host == "127.0.0.1" + tail || host == "localhost" + tail || host == "[::1]" + tail;
  }

  Result<nlohmann::json> data(const std::string& experiment) const {
    LATHE_TRY(const RunView view, view_runs(options.folders, experiment));
    nlohmann::json out =
        options.data(view.runs, view.experiment.empty() ? "Lathe dashboard" : view.experiment);
    out["live"] = view.live.is_object() ? view.live : nlohmann::json::object();
    out["live"]["experiments"] = view.experiments;
    out["live"]["experiment"] = view.experiment;
    return out;
  }

  // The folder of a run is looked up among those that are there.
  Result<Run> run_named(const httplib::Request& request) const {
    const std::string id = request.get_param_value("run");
    LATHE_TRY(RunView view, view_runs(options.folders, request.get_param_value("experiment")));
    for (Run& run : view.runs) {
      if (run.id == id) return std::move(run);
    }
    return not_found("no run '{}'", id);
  }

  // Runs a handler; what goes wrong becomes an answer, never the end of the server.
  template <typename Body>
  httplib::Server::Handler guarded(Body body) {
    return [this, body](const httplib::Request& request, httplib::Response& response) {
      try {
        const Status status = body(request, response);
        if (!status.ok()) {
          answer_error(response, status.error().code == ErrorCode::kNotFound ? 404 : 500,
                       status.error().message);
        }
      } catch (const std::exception& error) {
        answer_error(response, 500, error.what());
      }
    };
  }

  void set_up() {
    server.set_pre_routing_handler(
        [this](const httplib::Request& request, httplib::Response& response) {
          using Answer = httplib::Server::HandlerResponse;
          if (!ours(request.get_header_value("Host"))) {
            answer_error(response, 403, "this page answers to 127.0.0.1 and localhost alone");
            return Answer::Handled;
          }
          if (request.method != "GET" && request.method != "HEAD") {
            answer_error(response, 405, "this page can only be read");
            return Answer::Handled;
          }
          return Answer::Unhandled;
        });
    server.set_default_headers({{"X-Content-Type-Options", "nosniff"},
                                {"Cache-Control", "no-store"},
                                {"Referrer-Policy", "no-referrer"},
                                {"X-Frame-Options", "DENY"},
                                {"Cross-Origin-Resource-Policy", "same-origin"}});
    server.set_payload_max_length(4096);
    server.Get("/", guarded([this](const auto& request, auto& response) -> Status {
                 LATHE_TRY(const nlohmann::json json, data(request.get_param_value("experiment")));
                 LATHE_TRY(const std::string page, options.page(json));
                 response.set_content(page, "text/html; charset=utf-8");
                 return {};
               }));
    server.Get("/api/data", guarded([this](const auto& request, auto& response) -> Status {
                 const std::string tag = "\"" + version_of(options.folders) + "\"";
                 response.set_header("ETag", tag);
                 if (request.get_header_value("If-None-Match") == tag) {
                   response.status = 304;
                   return {};
                 }
                 LATHE_TRY(const nlohmann::json json, data(request.get_param_value("experiment")));
                 response.set_content(text_of(json), "application/json");
                 return {};
               }));
    server.Get("/api/samples", guarded([this](const auto& request, auto& response) -> Status {
                 LATHE_TRY(const Run run, run_named(request));
                 LATHE_TRY(const auto samples, RunFolder(run.folder).samples());
                 nlohmann::json out = nlohmann::json::array();
                 for (const auto& [task, list] : samples) {
                   for (const Sample& sample : list) {
                     if (out.size() >= kMaxSamples) break;
                     if (sample.detail.contains("prediction")) out.push_back(to_json(sample, task));
                   }
                 }
                 response.set_content(text_of(out), "application/json");
                 return {};
               }));
    server.Get("/api/file", guarded([this](const auto& request, auto& response) -> Status {
                 const std::string name = request.get_param_value("name");
                 const std::vector<std::string> known = {"run.json", "samples.jsonl", "memory.json",
                                                         "trace.json"};
                 if (std::find(known.begin(), known.end(), name) == known.end()) {
                   return not_found("no file '{}'", name);
                 }
                 LATHE_TRY(const Run run, run_named(request));
                 LATHE_TRY(const std::string text,
                           read_text(RunFolder(run.folder).file(name), kMaxFileBytes));
                 response.set_header("Content-Disposition", "attachment; filename=" + name);
                 response.set_content(text, "application/octet-stream");
                 return {};
               }));
  }
};

Result<std::unique_ptr<Dashboard>> Dashboard::open(DashboardOptions options) {
  auto impl = std::make_unique<Impl>();
  impl->options = std::move(options);
  LATHE_TRY(const RunView view, view_runs(impl->options.folders, ""));
  impl->set_up();
  // The library's own choice lets two processes share a port, and requests go to either.
  impl->server.set_socket_options([](socket_t socket) {
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
  const int wanted = impl->options.port;
  impl->port = wanted > 0 ? (impl->server.bind_to_port("127.0.0.1", wanted) ? wanted : -1)
                          : impl->server.bind_to_any_port("127.0.0.1");
  if (impl->port <= 0) {
    return failed("port {} of 127.0.0.1 is taken", wanted).with_hint("give another with --port");
  }
  return std::make_unique<Dashboard>(std::move(impl));
}

Dashboard::Dashboard(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Dashboard::~Dashboard() = default;
std::string Dashboard::url() const { return fmt::format("http://127.0.0.1:{}/", impl_->port); }
void Dashboard::serve() { impl_->server.listen_after_bind(); }
void Dashboard::stop() { impl_->server.stop(); }

}  // namespace lathe
