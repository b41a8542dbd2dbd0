// A local page over runs. Read-only, on loopback, for browsers of this machine: requests whose Host
// is another name are refused (a page elsewhere may not read this one through a name that it
// controls), and no part of an address ever becomes a path.
//   GET /                    the page, with the data of ?experiment= (default: the one last
//   changed) GET /api/data            that data as JSON; with If-None-Match only when something has
//   changed GET /api/samples?run=ID  every sample of a run (at most kMaxSamples) GET
//   /api/file?run=ID&name=N  run.json, samples.jsonl, memory.json or trace.json as it lies there
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "lathe/track/run_store.h"

namespace lathe {

struct DashboardOptions {
  std::vector<std::string> folders;  // as for `lathe report`
  int port = 0;                      // 0: any free one
  // How a report is drawn: the data of finished runs, and the page that holds some data.
  std::function<nlohmann::json(const std::vector<Run>& runs, const std::string& title)> data;
  std::function<Result<std::string>(const nlohmann::json& data)> page;
};

class Dashboard {
 public:
  // Binds the port; an error if it is taken.
  static Result<std::unique_ptr<Dashboard>> open(DashboardOptions options);
  ~Dashboard();
  std::string url() const;
  void serve();  // until stop()
  void stop();

  struct Impl;
  explicit Dashboard(std::unique_ptr<Impl> impl);

 private:
  std::unique_ptr<Impl> impl_;
};

constexpr size_t kMaxSamples = 20000;

}  // namespace lathe
