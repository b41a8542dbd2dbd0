// Trackers against a server that keeps MLflow's rules, and against servers that do not.
#include <gtest/gtest.h>

#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "io/local_server.h"
#include "lathe/base/mapped_file.h"
#include "lathe/track/tensorboard.h"
#include "lathe/track/tracker.h"
#include "support/files.h"

namespace lathe {
namespace {

using nlohmann::json;

// The part of MLflow that a tracker meets, with its limits; keeps what it is given.
class FakeMlflow {
 public:
  FakeMlflow() : server_([this](const ServedRequest& r) { return answer(r); }) {}
  std::string url() const { return server_.url(); }

  struct Stored {
    std::map<std::string, std::string> tags, params;
    std::set<std::string> metrics;  // key, step, time and value, as the server's own key
    std::string status;
  };
  std::vector<Stored> runs;
  std::set<std::string> artifacts;
  bool refuse = false;
  int batches = 0;
  std::vector<std::string> broken_rules;

 private:
  ServedResponse answer(const ServedRequest& r) {
    const std::lock_guard lock(mutex_);
    if (refuse) return {503, {}, "not now"};
    const std::string prefix = "/api/2.0/mlflow";
    if (r.path.starts_with(prefix + "-artifacts/artifacts/")) {
      artifacts.insert(r.path.substr(prefix.size() + 21) + "=" + r.body);
      return {200, {}, "{}"};
    }
    const std::string call = r.path.substr(prefix.size() + 1);
    const json in = r.body.empty() ? json::object() : json::parse(r.body);
    if (call == "experiments/get-by-name") {
      if (!created_) return {404, {}, R"({"error_code": "RESOURCE_DOES_NOT_EXIST"})"};
      return {200, {}, R"({"experiment": {"experiment_id": "7", "lifecycle_stage": "active"}})"};
    }
    if (call == "experiments/create") {
      created_ = true;
      return {200, {}, R"({"experiment_id": "7"})"};
    }
    if (call == "runs/search") {
      json found = json::array();
      for (size_t i = 0; i < runs.size(); ++i) {
        if (in["filter"] == "tags.`lathe.key` = '" + runs[i].tags["lathe.key"] + "'") {
          found.push_back(describe(i));
        }
      }
      return {200, {}, json{{"runs", found}}.dump()};
    }
    if (call == "runs/create") {
      runs.emplace_back();
      for (const auto& tag : in["tags"]) runs.back().tags[tag["key"]] = tag["value"];
      return {200, {}, json{{"run", describe(runs.size() - 1)}}.dump()};
    }
    Stored& run = runs.at(std::stoul(in["run_id"].get<std::string>()));
    if (call == "runs/update") {
      run.status = in["status"];
      return {200, {}, "{}"};
    }
    if (call != "runs/log-batch") broken_rules.push_back(call);
    ++batches;
    const auto size = [&](const char* key) { return in.contains(key) ? in[key].size() : 0; };
    if (size("params") > 100 || size("tags") > 100 ||
        size("metrics") + size("params") + size("tags") > 1000 || r.body.size() > 1'000'000) {
      broken_rules.push_back("a batch too large");
    }
    for (const auto& p : in.value("params", json::array())) {
      const auto [it, fresh] = run.params.emplace(p["key"], p["value"]);
      if (!fresh && it->second != p["value"]) broken_rules.push_back("param changed");
      if (p["value"].get<std::string>().size() > 6000) broken_rules.push_back("param too long");
    }
    for (const auto& t : in.value("tags", json::array())) run.tags[t["key"]] = t["value"];
    for (const auto& m : in.value("metrics", json::array())) run.metrics.insert(m.dump());
    return {200, {}, "{}"};
  }

  json describe(size_t i) {
    json tags = json::array();
    for (const auto& [key, value] : runs[i].tags) tags.push_back({{"key", key}, {"value", value}});
    return {{"info",
             {{"run_id", std::to_string(i)},
              {"status", runs[i].status},
              {"artifact_uri", "mlflow-artifacts:/7/" + std::to_string(i) + "/artifacts"}}},
            {"data", {{"tags", tags}}}};
  }

  std::mutex mutex_;
  bool created_ = false;
  LocalServer server_;  // last: it answers from another thread
};

class Track : public ::testing::Test {
 protected:
  void SetUp() override {
    setenv("LATHE_TRACK_TIMEOUT", "1", 1);
    sweep_ = sweep_record(folder_.path(), {{"name", "x"}, {"baseline", "a"}}).value();
  }
  void TearDown() override { unsetenv("LATHE_TRACK_TIMEOUT"); }

  // A run folder with a few samples, as a sweep leaves it.
  RunRecord record(const std::string& id, double f1 = 80, bool failed = false) {
    lathe::Run run;
    run.id = run.variant = id;
    run.status = failed ? "failed" : "done";
    run.error = failed ? "no room" : "";
    run.folder = folder_.file(id);
    run.model = {{"path", "m"}};
    run.recipe = {{"passes", json::array({{{"format", "f16"}}})}};
    run.experiment = {{"started_ms", 1000}, {"ended_ms", 2000}};
    run.layers = json::array({{{"name", "l0"}, {"mse", 0.5}}, {{"name", "l1"}, {"mse", 0.25}}});
    Measurement m;
    m.task = "squad_v2";
    m.metric = "f1";
    m.value = f1;
    if (!failed) run.results.push_back(m);
    std::filesystem::create_directories(run.folder);
    std::ofstream(run.folder + "/run.json") << to_json(run).dump();
    std::ofstream(run.folder + "/samples.jsonl")
        << R"({"task": "t", "id": "1", "scores": {"f1": 1}})"
        << "\n"
        << R"({"task": "t", "id": "2", "scores": {"f1": 0}})"
        << "\n";
    return run_record(sweep_, run).value();
  }

  Tracking open(const std::string& url) { return Tracking::open({{"mlflow", url}}).value(); }

  test::TemporaryFolder folder_;
  SweepRecord sweep_;
};

double metric(const RunRecord& r, const std::string& key, int64_t step) {
  for (const auto& m : r.metrics) {
    if (m.key == key && m.step == step) return m.value;
  }
  return -1;
}

TEST_F(Track, RecordsHoldResultsAndSeries) {
  const RunRecord r = record("a");
  EXPECT_EQ(metric(r, "squad_v2/f1", 0), 80);
  EXPECT_EQ(metric(r, "running/t/f1", 1), 1);
  EXPECT_EQ(metric(r, "running/t/f1", 2), 0.5);
  EXPECT_EQ(metric(r, "layers/mse", 1), 0.25);
  EXPECT_EQ(r.started_ms, 1000);
  EXPECT_EQ(r.key, record("a").key);
  EXPECT_NE(r.key, record("b").key);
  std::ofstream(folder_.file("a/hash")) << "other settings";
  EXPECT_NE(r.key, record("a").key) << "other settings are another run";
}

TEST_F(Track, MlflowGetsEveryRunOnce) {
  FakeMlflow server;
  for (int round = 0; round < 2; ++round) {
    Tracking tracking = open(server.url());
    tracking.begin(sweep_);
    tracking.log(sweep_, record("a"));
    tracking.log(sweep_, record("b", 0, true));
    EXPECT_EQ(tracking.end(sweep_, true), std::vector<std::string>());
  }
  ASSERT_EQ(server.runs.size(), 3u);
  EXPECT_EQ(server.runs[1].tags["mlflow.parentRunId"], "0");
  EXPECT_EQ(server.runs[1].tags["mlflow.runName"], "a");
  EXPECT_EQ(server.runs[1].params["recipe.passes.0.format"], "f16");
  EXPECT_EQ(server.runs[1].metrics.size(), 5u);
  EXPECT_EQ(server.runs[1].status, "FINISHED");
  EXPECT_EQ(server.runs[2].status, "FAILED");
  EXPECT_EQ(server.runs[2].tags["lathe.error"], "no room");
  EXPECT_EQ(server.runs[0].status, "FAILED");
  EXPECT_EQ(server.broken_rules, std::vector<std::string>());
  EXPECT_EQ(server.artifacts.size(), 4u);
  const std::string samples = read_text(folder_.file("a/samples.jsonl")).value();
  EXPECT_TRUE(server.artifacts.contains("7/1/artifacts/samples.jsonl=" + samples));
}

TEST_F(Track, ARunCutOffWhileItWasWrittenIsCompletedNotDoubled) {
  FakeMlflow server;
  Tracking first = open(server.url());
  first.begin(sweep_);
  first.log(sweep_, record("a"));
  server.runs[1].tags.erase("lathe.digest");  // as if killed before the end
  server.runs[1].status = "RUNNING";
  Tracking second = open(server.url());
  second.begin(sweep_);
  second.log(sweep_, record("a"));
  EXPECT_EQ(second.end(sweep_, false), std::vector<std::string>());
  ASSERT_EQ(server.runs.size(), 2u);
  EXPECT_EQ(server.runs[1].metrics.size(), 5u);
  EXPECT_EQ(server.runs[1].status, "FINISHED");
}

TEST_F(Track, BatchesKeepToTheServersLimits) {
  FakeMlflow server;
  RunRecord r = record("a");
  for (int i = 0; i < 2500; ++i) r.metrics.push_back({"m", 1.0 * i, i});
  for (int i = 0; i < 250; ++i) {
    r.params.emplace_back("p" + std::to_string(i), std::string(7000, 'x'));
  }
  Tracking tracking = open(server.url());
  tracking.begin(sweep_);
  tracking.log(sweep_, r);
  EXPECT_EQ(tracking.end(sweep_, false), std::vector<std::string>());
  EXPECT_EQ(server.broken_rules, std::vector<std::string>());
  EXPECT_EQ(server.runs[1].metrics.size(), 2505u);
  EXPECT_EQ(server.runs[1].params.size(), 250u + record("a").params.size());
}

TEST_F(Track, AServerThatComesBackGetsWhatItMissed) {
  FakeMlflow server;
  server.refuse = true;
  Tracking tracking = open(server.url());
  tracking.begin(sweep_);
  tracking.log(sweep_, record("a"));
  tracking.log(sweep_, record("b"));
  EXPECT_TRUE(server.runs.empty());
  server.refuse = false;
  EXPECT_EQ(tracking.end(sweep_, false), std::vector<std::string>());
  EXPECT_EQ(server.runs.size(), 3u);
}

TEST_F(Track, WhatAServerDidNotTakeIsNamed) {
  // Nobody listens where a server was.
  std::string closed;
  { closed = FakeMlflow().url(); }
  LocalServer html([](const ServedRequest&) { return ServedResponse{200, {}, "<html>hi</html>"}; });
  LocalServer types([](const ServedRequest&) {
    return ServedResponse{200,
                          {},
                          R"({"experiment": {"experiment_id": "1"}, "runs": [{"info": {"run_id": 5,
                              "artifact_uri": {}}, "data": {"tags": [1, {"key": 2}]}}]})"};
  });
  LocalServer denied([](const ServedRequest&) {
    return ServedResponse{401, {}, R"({"error_code": "X", "message": "who are you?"})"};
  });
  LocalServer half([](const ServedRequest&) {
    ServedResponse r{200, {}, std::string(1000, ' ')};
    r.cut_at = 10;
    return r;
  });
  LocalServer flood([](const ServedRequest&) {
    return ServedResponse{200, {}, std::string(size_t{9} << 20, ' ')};
  });
  const std::vector<std::pair<std::string, std::string>> cases = {
      {closed, "onnect"},
      {html.url(), "no JSON object"},
      {types.url(), "the answer has no /info/run_id"},
      {denied.url(), "who are you?"},
      {half.url(), "bytes remaining"},
      {flood.url(), "too long"}};
  for (const auto& [url, said] : cases) {
    Tracking tracking = open(url);
    tracking.begin(sweep_);
    tracking.log(sweep_, record("a"));
    const auto left = tracking.end(sweep_, false);
    ASSERT_EQ(left.size(), 1u) << said;
    EXPECT_NE(left[0].find("has not taken a"), std::string::npos) << left[0];
    EXPECT_NE(left[0].find(said), std::string::npos) << left[0];
  }
}

TEST_F(Track, AStallingServerCostsTwoTimeoutsNotOneARun) {
  LocalServer server([](const ServedRequest&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2500));
    return ServedResponse{200, {}, "{}"};
  });
  const auto start = std::chrono::steady_clock::now();
  Tracking tracking = open(server.url());
  tracking.begin(sweep_);
  for (const char* id : {"a", "b", "c", "d"}) tracking.log(sweep_, record(id));
  const auto left = tracking.end(sweep_, false);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  ASSERT_EQ(left.size(), 1u);
  EXPECT_NE(left[0].find("a, b, c, d"), std::string::npos) << left[0];
  EXPECT_LT(took.count(), 3.5);  // one timeout of a second at the beginning, one at the end
}

TEST_F(Track, TargetsAreChecked) {
  const auto refused = [](const std::string& kind, const std::string& target) {
    const auto opened = open_tracker(kind, target);
    return opened.ok() ? "" : opened.error().message + opened.error().hint;
  };
  EXPECT_NE(refused("mlfow", "x").find("did you mean 'mlflow'?"), std::string::npos);
  EXPECT_NE(refused("mlflow", "5000").find("http"), std::string::npos);
  EXPECT_NE(refused("mlflow", "http://u:p@127.0.0.1:1").find("MLFLOW_TRACKING_USERNAME"),
            std::string::npos);
  EXPECT_NE(refused("mlflow", "http://example.org").find("plain http"), std::string::npos);
  EXPECT_NE(refused("tensorboard", "").find("empty"), std::string::npos);
  std::ofstream(folder_.file("sweep_id")) << "nonsense";
  EXPECT_FALSE(sweep_record(folder_.path(), {}).ok());
}

TEST_F(Track, FoldersThatCannotBeWrittenAreNamed) {
  std::ofstream(folder_.file("file")) << "";
  for (const char* kind : {"tensorboard", "mlflow_files"}) {
    Tracking tracking = Tracking::open({{kind, folder_.file("file") + "/x"}}).value();
    tracking.begin(sweep_);
    tracking.log(sweep_, record("a"));
    const auto left = tracking.end(sweep_, false);
    ASSERT_EQ(left.size(), 1u) << kind;
    EXPECT_NE(left[0].find("file"), std::string::npos) << left[0];
  }
}

TEST_F(Track, RunFilesWithWrongTypesAreAnError) {
  lathe::Run run;
  run.id = "a";
  run.folder = folder_.file("a");
  run.experiment = {{"ended_ms", "yesterday"}};
  const auto r = run_record(sweep_, run);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().code, ErrorCode::kBadInput);
}

TEST(TensorBoard, RecordsAreFramedWithMaskedChecksums) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);  // RFC 3720, appendix B.4 gives the same polynomial
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  const std::string record = tfrecord("ab");
  ASSERT_EQ(record.size(), 8u + 4 + 2 + 4);
  EXPECT_EQ(record.substr(0, 8), std::string("\2\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 2), "ab");
}

TEST_F(Track, FilesAreReplacedNotAppended) {
  for (int round = 0; round < 2; ++round) {
    Tracking tracking =
        Tracking::open({{"tensorboard", folder_.file("tb")}, {"mlflow_files", folder_.file("ml")}})
            .value();
    tracking.begin(sweep_);
    tracking.log(sweep_, record("a"));
    EXPECT_EQ(tracking.end(sweep_, false), std::vector<std::string>());
  }
  int files = 0, runs = 0;
  for (const auto& e : std::filesystem::recursive_directory_iterator(folder_.file("tb"))) {
    files += e.is_regular_file();
  }
  for (const auto& e : std::filesystem::recursive_directory_iterator(folder_.file("ml"))) {
    runs += e.path().filename() == "meta.yaml";
    if (e.path().filename() == "f1" && e.path().parent_path().filename() == "squad_v2") {
      EXPECT_EQ(read_text(e.path().string()).value(), "2000 80 0\n");
    }
  }
  EXPECT_EQ(files, 1);
  EXPECT_EQ(runs, 3);  // the experiment, the sweep, the run
}

}  // namespace
}  // namespace lathe
