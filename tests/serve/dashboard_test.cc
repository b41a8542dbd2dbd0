// The dashboard over HTTP: what it shows, and to whom.
#include "lathe/serve/dashboard.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "lathe/serve/run_view.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class DashboardTest : public ::testing::Test {
 protected:
  void SetUp() override {
    write("x/plan.json", {{"name", "x"},
                          {"begun", "now"},
                          {"runs", {{{"id", "a"}}, {{"id", "b"}}, {{"id", "../../up"}}}}});
    write_run("x/a", "x", "a");
    write("x/b/progress.json", {{"phase", "t"}, {"done", 3}, {"total", 9}, {"pid", getpid()}});
    write("up/progress.json", {{"phase", "secret"}, {"pid", getpid()}});
    std::ofstream(folder_.file("secret")) << "secret";
    DashboardOptions options;
    options.folders = {folder_.path()};
    options.data = [](const std::vector<lathe::Run>& runs, const std::string& title) {
      json out = {{"title", title}, {"runs", json::array()}};
      for (const lathe::Run& run : runs) out["runs"].push_back(run.id);
      return out;
    };
    options.page = [](const json& data) { return Result<std::string>("page " + data.dump()); };
    dashboard_ = std::move(Dashboard::open(std::move(options))).value();
    thread_ = std::thread([this] { dashboard_->serve(); });
    port_ = std::stoi(dashboard_->url().substr(17));
  }
  void TearDown() override {
    // stop() before the server listens would be lost.
    for (int i = 0; i < 100 && !get("/"); ++i) usleep(10'000);
    dashboard_->stop();
    thread_.join();
  }

  void write(const std::string& path, const json& value) {
    fs::create_directories(fs::path(folder_.file(path)).parent_path());
    std::ofstream(folder_.file(path)) << value.dump();
  }
  void write_run(const std::string& path, const std::string& experiment, const std::string& id) {
    lathe::Run run;
    run.id = run.variant = id;
    run.status = "done";
    run.experiment = {{"name", experiment}};
    write(path + "/run.json", to_json(run));
    std::ofstream(folder_.file(path + "/samples.jsonl"))
        << R"({"task": "t", "id": "1", "scores": {}, "prediction": "yes"})"
        << "\n";
  }

  httplib::Result get(const std::string& path, const httplib::Headers& headers = {}) {
    httplib::Client client("127.0.0.1", port_);
    for (int i = 0; i < 50; ++i) {  // until it listens
      auto result = client.Get(path, headers);
      if (result) return result;
      usleep(20'000);
    }
    return client.Get(path, headers);
  }

  test::TemporaryFolder folder_;
  std::unique_ptr<Dashboard> dashboard_;
  std::thread thread_;
  int port_ = 0;
};

TEST_F(DashboardTest, ShowsRunsAndWhatGoesOn) {
  const auto page = get("/");
  ASSERT_TRUE(page);
  EXPECT_EQ(page->status, 200);
  const auto data = get("/api/data");
  const json j = json::parse(data->body);
  EXPECT_EQ(j["title"], "x");
  EXPECT_EQ(j["runs"], json({"a"}));
  const json runs = j["live"]["runs"];
  EXPECT_EQ(runs[0]["state"], "done");
  EXPECT_EQ(runs[1]["state"], "running");
  EXPECT_EQ(runs[1]["done"], 3);
  EXPECT_EQ(runs[2]["state"], "waiting") << "a plan cannot lead out of its folder";
  EXPECT_EQ(data->body.find("secret"), std::string::npos);
}

TEST_F(DashboardTest, AnswersAgainOnlyWhenSomethingChanged) {
  const auto first = get("/api/data");
  const std::string tag = first->get_header_value("ETag");
  EXPECT_EQ(get("/api/data", {{"If-None-Match", tag}})->status, 304);
  write_run("x/b", "x", "b");
  const auto next = get("/api/data", {{"If-None-Match", tag}});
  EXPECT_EQ(next->status, 200);
  EXPECT_EQ(json::parse(next->body)["runs"], json({"a", "b"}));
}

TEST_F(DashboardTest, ShowsOneExperimentAtATime) {
  write_run("y/c", "y", "c");
  EXPECT_EQ(json::parse(get("/api/data?experiment=x")->body)["runs"], json({"a"}));
  const json y = json::parse(get("/api/data?experiment=y")->body);
  EXPECT_EQ(y["runs"], json({"c"}));
  EXPECT_EQ(y["live"]["experiments"].size(), 2u);
}

TEST_F(DashboardTest, OtherHostsAndMethodsAreRefused) {
  EXPECT_EQ(get("/", {{"Host", "evil.example"}})->status, 403);
  EXPECT_EQ(get("/api/data", {{"Host", "127.0.0.1:1"}})->status, 403);
  EXPECT_EQ(get("/", {{"Host", "localhost:" + std::to_string(port_)}})->status, 200);
  httplib::Client client("127.0.0.1", port_);
  EXPECT_EQ(client.Post("/api/data", "x", "text/plain")->status, 405);
  EXPECT_EQ(client.Delete("/")->status, 405);
  EXPECT_EQ(get("/")->get_header_value("X-Frame-Options"), "DENY");
}

TEST_F(DashboardTest, NoAddressBecomesAPath) {
  for (const char* path :
       {"/secret", "/../secret", "/%2e%2e/secret", "/api/file?run=../secret&name=run.json",
        "/api/file?run=a&name=../../secret", "/api/file?run=a&name=/etc/passwd",
        "/api/file?run=a&name=hash", "/api/samples?run=../a", "/api/file?run=a&name=trace.json",
        "/api/samples?run=", "/api/nothing"}) {
    const auto answer = get(path);
    ASSERT_TRUE(answer) << path;
    EXPECT_EQ(answer->status, 404) << path;
    EXPECT_NE(answer->body, "secret") << path;
  }
  EXPECT_EQ(get("/api/file?run=a&name=run.json")->status, 200);
  EXPECT_EQ(json::parse(get("/api/samples?run=a")->body)[0]["prediction"], "yes");
}

TEST_F(DashboardTest, BrokenFilesAreNamedAndTheRestIsShown) {
  fs::create_directories(folder_.file("x/broken"));
  std::ofstream(folder_.file("x/broken/run.json")) << "{\"id\": 5";
  std::ofstream(folder_.file("x/b/progress.json")) << "[1, 2";
  const json j = json::parse(get("/api/data")->body);
  EXPECT_EQ(j["runs"], json({"a"}));
  ASSERT_EQ(j["live"]["broken"].size(), 1u);
  EXPECT_NE(j["live"]["broken"][0].get<std::string>().find("x/broken/run.json"), std::string::npos);
}

TEST_F(DashboardTest, TakenPortsAndMissingFoldersAreErrors) {
  DashboardOptions options;
  options.folders = {folder_.path()};
  options.port = port_;
  const auto taken = Dashboard::open(options);
  ASSERT_FALSE(taken.ok());
  EXPECT_NE(taken.error().message.find("is taken"), std::string::npos);
  options.folders = {folder_.file("none")};
  EXPECT_EQ(Dashboard::open(options).error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace lathe
