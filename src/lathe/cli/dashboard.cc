#include <signal.h>

#include <atomic>

#include "lathe/cli/command.h"
#include "lathe/lab/sweep_verdicts.h"
#include "lathe/report/html.h"
#include "lathe/serve/dashboard.h"

namespace lathe::cli {
namespace {

struct Options {
  std::vector<std::string> folders = {"runs"};
  int port = 7860;
};

std::atomic<Dashboard*> running = nullptr;

Result<int> dashboard(const Options& options, const Common& common) {
  DashboardOptions settings;
  settings.folders = options.folders;
  settings.port = options.port;
  settings.data = [](std::vector<Run> runs, const std::string& title) {
    correct_verdicts(runs);
    return report_data(runs, title);
  };
  settings.page = [](const nlohmann::json& data) { return report_page(data, true); };
  LATHE_TRY(const auto server, Dashboard::open(std::move(settings)));
  if (common.json) {
    print_json({{"command", "dashboard"}, {"url", server->url()}});
  } else {
    fmt::print("dashboard: {}   (Ctrl-C ends it)\n", server->url());
  }
  std::fflush(stdout);
  running = server.get();
  const auto stop = [](int) {
    if (Dashboard* const it = running.exchange(nullptr)) it->stop();
  };
  ::signal(SIGINT, stop);
  ::signal(SIGTERM, stop);
  server->serve();
  running = nullptr;
  return kDone;
}

}  // namespace

Body add_dashboard(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("runs", options->folders, "RUNS: folders that sweeps write (default: runs)");
  app.add_option("--port", options->port, "Port on 127.0.0.1; 0: any free one (default: 7860)")
      ->check(CLI::Range(0, 65535));
  return [options, &common] { return dashboard(*options, common); };
}

}  // namespace lathe::cli
