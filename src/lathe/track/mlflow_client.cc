#include "lathe/track/mlflow_client.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

namespace lathe {
namespace {

namespace fs = std::filesystem;

constexpr size_t kBatchItems = 900, kBatchTexts = 100, kBatchBytes = 800'000;
constexpr size_t kParamChars = 6000, kTagChars = 5000;

std::string base64(const std::string& text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (size_t i = 0; i < text.size(); i += 3) {
    uint32_t bits = 0;
    for (size_t k = 0; k < 3; ++k) {
      bits = bits << 8 | (i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0);
    }
    for (size_t k = 0; k < 4; ++k) {
      out += k <= text.size() - i ? kDigits[bits >> (18 - 6 * k) & 63] : '=';
    }
  }
  return out;
}

std::string authorization() {
  const auto get = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value ? value : "");
  };
  const std::string token = get("MLFLOW_TRACKING_TOKEN"), user = get("MLFLOW_TRACKING_USERNAME");
  if (!token.empty()) return "Bearer " + token;
  if (!user.empty()) return "Basic " + base64(user + ":" + get("MLFLOW_TRACKING_PASSWORD"));
  return {};
}

// At most `limit` bytes, cut at a character, with a word that something is missing.
std::string cut(const std::string& text, size_t limit) {
  if (text.size() <= limit) return text;
  constexpr std::string_view kNote = " … (cut; whole in run.json)";
  size_t end = limit - kNote.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return text.substr(0, end) + std::string(kNote);
}

nlohmann::json number(double value) {
  if (std::isfinite(value)) return value;
  return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

nlohmann::json pair_of(const std::string& key, const std::string& value) {
  return {{"key", key}, {"value", value}};
}

Result<std::string> text_at(const nlohmann::json& j, const nlohmann::json::json_pointer& at,
                            const std::string& where) {
  const bool there = j.contains(at) && j.at(at).is_string();
  if (!there) return failed("{}: the answer has no {}", where, at.to_string());
  return j.at(at).get<std::string>();
}

Result<MlflowRun> read_run(const nlohmann::json& j, const std::string& where) {
  using Pointer = nlohmann::json::json_pointer;
  MlflowRun run;
  LATHE_TRY(run.id, text_at(j, Pointer("/info/run_id"), where));
  LATHE_TRY(run.artifact_uri, text_at(j, Pointer("/info/artifact_uri"), where));
  if (run.id.find_first_not_of("0123456789abcdef") != std::string::npos) {
    return failed("{}: '{}' is not a run's id", where, cut(run.id, 100));
  }
  const auto& info = j["info"];
  if (info.contains("status") && info["status"].is_string()) run.status = info["status"];
  const Pointer tags("/data/tags");
  if (j.contains(tags) && j.at(tags).is_array()) {
    for (const auto& tag : j.at(tags)) {
      const bool ours = tag.is_object() && tag.contains("key") && tag.contains("value") &&
                        tag["key"] == "lathe.digest" && tag["value"].is_string();
      if (ours) run.digest = tag["value"].get<std::string>();
    }
  }
  return run;
}

}  // namespace

Result<MlflowClient> MlflowClient::open(const std::string& url, int timeout_seconds) {
  MlflowClient client;
  auto parsed = parse_url(url);
  if (!parsed.ok()) {
    return std::move(parsed).error().with_hint(
        "give the address of a running server, such as http://127.0.0.1:5000; credentials go into "
        "MLFLOW_TRACKING_TOKEN or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD");
  }
  LATHE_OK(parsed->check_allowed());
  client.base_ = parsed->text;
  while (client.base_.ends_with('/')) client.base_.pop_back();
  client.authorization_ = authorization();
  client.timeout_seconds_ = timeout_seconds;
  return client;
}

Result<nlohmann::json> MlflowClient::call(const std::string& method, const std::string& path,
                                          const nlohmann::json& body) const {
  RestCall call;
  call.method = method;
  LATHE_TRY(call.url, parse_url(base_ + "/api/2.0/mlflow/" + path));
  using Handler = nlohmann::json::error_handler_t;
  if (method != "GET") call.body = body.dump(-1, ' ', false, Handler::replace);
  call.authorization = authorization_;
  call.timeout_seconds = timeout_seconds_;
  LATHE_TRY(const RestAnswer answer, rest_call(call));
  const std::string where = path.substr(0, path.find('?'));
  nlohmann::json json = nlohmann::json::parse(answer.body, nullptr, false);
  if (answer.status >= 200 && answer.status <= 299) {
    if (!json.is_object()) {
      return failed("{}: answered {} with something that is no JSON object", where, answer.status)
          .with_hint("is this the address of an MLflow server?");
    }
    return json;
  }
  std::string code, message;
  if (json.is_object()) {
    if (json.contains("error_code") && json["error_code"].is_string()) code = json["error_code"];
    if (json.contains("message") && json["message"].is_string()) message = json["message"];
  }
  const std::string text = code.empty() ? fmt::format("{}: answered {}", where, answer.status)
                                        : fmt::format("{}: {}: {}", where, code, cut(message, 500));
  if (code == "RESOURCE_DOES_NOT_EXIST") return not_found("{}", text);
  if (answer.status == 401 || answer.status == 403) {
    return failed("{}", text)
        .with_hint(
            "set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD");
  }
  return failed("{}", text);
}

Result<std::string> MlflowClient::experiment_id(const std::string& name) const {
  using Pointer = nlohmann::json::json_pointer;
  const std::string query = "experiments/get-by-name?experiment_name=" + url_escape(name, false);
  auto found = call("GET", query, {});
  if (!found.ok() && found.error().code == ErrorCode::kNotFound) {
    auto created = call("POST", "experiments/create", {{"name", name}});
    if (created.ok()) return text_at(*created, Pointer("/experiment_id"), "experiments/create");
    found = call("GET", query, {});  // another process may have been faster
    if (!found.ok()) return std::move(created).error();
  }
  if (!found.ok()) return std::move(found).error();
  const Pointer stage("/experiment/lifecycle_stage");
  if (found->contains(stage) && found->at(stage) == "deleted") {
    return failed("the experiment '{}' is in the server's trash", name)
        .with_hint("restore it there, or give the experiment another name");
  }
  return text_at(*found, Pointer("/experiment/experiment_id"), "experiments/get-by-name");
}

Result<std::optional<MlflowRun>> MlflowClient::find_run(const std::string& experiment,
                                                        const std::string& key) const {
  const auto one = nlohmann::json::array({experiment});
  LATHE_TRY(const auto found, call("POST", "runs/search",
                                   {{"experiment_ids", one},
                                    {"filter", fmt::format("tags.`lathe.key` = '{}'", key)},
                                    {"run_view_type", "ACTIVE_ONLY"},
                                    {"max_results", 1}}));
  if (!found.contains("runs") || found["runs"].empty()) return std::optional<MlflowRun>();
  if (!found["runs"].is_array()) return failed("runs/search: the answer's runs are no list");
  LATHE_TRY(MlflowRun run, read_run(found["runs"][0], "runs/search"));
  return std::optional<MlflowRun>(std::move(run));
}

Result<MlflowRun> MlflowClient::create_run(const std::string& experiment, const std::string& name,
                                           int64_t start_ms, const NamedTexts& tags) const {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [key, value] : tags) list.push_back(pair_of(key, cut(value, kTagChars)));
  LATHE_TRY(const auto made, call("POST", "runs/create",
                                  {{"experiment_id", experiment},
                                   {"run_name", name},
                                   {"start_time", start_ms},
                                   {"tags", list}}));
  if (!made.contains("run")) return failed("runs/create: the answer has no run");
  return read_run(made["run"], "runs/create");
}

Status MlflowClient::log(const std::string& run, const NamedTexts& params, const NamedTexts& tags,
                         const std::vector<TrackedMetric>& metrics, int64_t timestamp_ms) const {
  size_t p = 0, t = 0, m = 0;
  while (p < params.size() || t < tags.size() || m < metrics.size()) {
    nlohmann::json batch = {{"run_id", run}};
    size_t items = 0, bytes = 0;
    const auto take = [&](const char* list, size_t& next, size_t end, size_t limit,
                          const auto& make) {
      for (size_t n = 0; next < end && n < limit && items < kBatchItems; ++n, ++next, ++items) {
        nlohmann::json item = make(next);
        bytes += item.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).size() + 2;
        if (bytes > kBatchBytes && items > 0) break;
        batch[list].push_back(std::move(item));
      }
    };
    take("params", p, params.size(), kBatchTexts,
         [&](size_t i) { return pair_of(params[i].first, cut(params[i].second, kParamChars)); });
    take("tags", t, tags.size(), kBatchTexts,
         [&](size_t i) { return pair_of(tags[i].first, cut(tags[i].second, kTagChars)); });
    take("metrics", m, metrics.size(), kBatchItems, [&](size_t i) {
      return nlohmann::json{{"key", metrics[i].key},
                            {"value", number(metrics[i].value)},
                            {"timestamp", timestamp_ms},
                            {"step", metrics[i].step}};
    });
    LATHE_TRY(const auto answer, call("POST", "runs/log-batch", batch));
  }
  return {};
}

Status MlflowClient::update_run(const std::string& run, const std::string& status,
                                int64_t end_ms) const {
  nlohmann::json body = {{"run_id", run}, {"status", status}};
  if (end_ms > 0) body["end_time"] = end_ms;
  LATHE_TRY(const auto answer, call("POST", "runs/update", body));
  return {};
}

Status MlflowClient::put_artifact(const MlflowRun& run, const std::string& name,
                                  const std::string& path) const {
  constexpr std::string_view kProxied = "mlflow-artifacts:/";
  std::string uri = run.artifact_uri;
  if (uri.starts_with(kProxied)) {
    uri = uri.substr(kProxied.size());
    if (uri.starts_with('/')) {  // mlflow-artifacts://host/path
      uri = uri.substr(1);
      uri = uri.substr(std::min(uri.find('/'), uri.size()));
    }
    while (uri.starts_with('/')) uri = uri.substr(1);
    RestCall call;
    call.method = "PUT";
    LATHE_TRY(call.url, parse_url(base_ + "/api/2.0/mlflow-artifacts/artifacts/" +
                                  url_escape(uri + "/" + name, true)));
    call.file = path;
    call.authorization = authorization_;
    call.timeout_seconds = timeout_seconds_;
    LATHE_TRY(const RestAnswer answer, rest_call(call));
    if (answer.status < 200 || answer.status > 299) {
      return failed("artifact {}: answered {}", name, answer.status);
    }
    return {};
  }
  LATHE_TRY(const Url server, parse_url(base_));
  if (uri.starts_with("file://")) uri = uri.substr(7);
  if (server.loopback() && uri.starts_with('/')) {
    std::error_code error;
    fs::create_directories(uri, error);
    fs::copy_file(path, fs::path(uri) / name, fs::copy_options::overwrite_existing, error);
    if (error) return failed("artifact {}: {}: {}", name, uri, error.message());
    return {};
  }
  return unsupported("artifact {}: the server keeps artifacts at {}, where Lathe cannot write",
                     name, uri)
      .with_hint("start the server with --serve-artifacts");
}

}  // namespace lathe
