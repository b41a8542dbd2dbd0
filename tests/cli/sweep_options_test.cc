// `lathe sweep`: choosing runs on a terminal, predictions before a sweep, several runs at once, and
// runs whose process dies.
#include <pty.h>

#include <algorithm>
#include <map>

#include "cli_support.h"

namespace lathe {
namespace {

using nlohmann::json;

class SweepOptions : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_file(folder_.file("x.yaml"),
                     "name: x\nmodels: [" + test::tiny() + "]\nbaseline: fp16\nvariants:\n" +
                         "  fp16: {format: f16}\n  int8: {format: \"int8:row\"}\n" +
                         "  int4: {format: \"int4:g32\"}\n  nf4: {format: \"nf4:b64\"}\n" +
                         "tasks:\n  - squad_v2: {limit: 8, batch: 2}\nprobes: [size]\n");
  }
  std::vector<std::string> arguments(const std::string& runs,
                                     const std::vector<std::string>& more = {}) const {
    std::vector<std::string> out = {"sweep", folder_.file("x.yaml"), "-o", folder_.file(runs)};
    out.insert(out.end(), more.begin(), more.end());
    return out;
  }
  test::Outcome sweep(const std::string& runs, const std::string& more,
                      const std::string& before = "") const {
    return test::run("sweep " + folder_.file("x.yaml") + " -o " + folder_.file(runs) + " " + more,
                     before);
  }
  json run_of(const std::string& runs, const std::string& variant) const {
    return json::parse(read_text(folder_.file(runs + "/x/" + variant + "/run.json")).value());
  }
  std::string results_of(const std::string& runs) const {
    return json::parse(read_text(folder_.file(runs + "/x/results.json")).value())["results"].dump(
        1);
  }
  // The runs by the times at which their processes were at work: how many at most at once?
  int most_at_once(const std::string& runs) const {
    std::vector<std::pair<int64_t, int>> events;
    for (const char* variant : {"fp16", "int8", "int4", "nf4"}) {
      const json about = run_of(runs, variant)["experiment"];
      events.emplace_back(about["started_ms"].get<int64_t>(), 1);
      events.emplace_back(about["ended_ms"].get<int64_t>(), -1);
    }
    std::sort(events.begin(), events.end());  // an end comes before a start of the same time
    int now = 0, most = 0;
    for (const auto& event : events) most = std::max(most, now += event.second);
    return most;
  }
  test::TemporaryFolder folder_;
};

// A program on a terminal of its own: what it prints, and keys pressed.
class OnTerminal {
 public:
  explicit OnTerminal(const std::vector<std::string>& arguments) {
    winsize size{};
    size.ws_row = 40;
    size.ws_col = 120;
    pid_ = ::forkpty(&terminal_, nullptr, nullptr, &size);
    if (pid_ != 0) return;
    std::vector<char*> argv = {const_cast<char*>("lathe")};
    for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    ::execv(LATHE_BINARY, argv.data());
    ::_exit(127);
  }
  ~OnTerminal() {
    ::close(terminal_);
    if (pid_ > 0) ::kill(pid_, SIGKILL), ::waitpid(pid_, nullptr, 0);
  }
  OnTerminal(const OnTerminal&) = delete;
  OnTerminal& operator=(const OnTerminal&) = delete;

  // Presses the keys once `text` has been printed (after what the last call saw).
  bool press(const std::string& keys, const std::string& text) {
    while (shown_.find(text, seen_) == std::string::npos) {
      if (!read_more()) return false;
    }
    seen_ = shown_.size();
    return ::write(terminal_, keys.data(), keys.size()) == static_cast<ssize_t>(keys.size());
  }
  // All that was printed after the last press, and the exit code.
  test::Outcome rest() {
    while (read_more()) {
    }
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, shown_.substr(seen_), ""};
  }

 private:
  bool read_more() {
    char buffer[4096];
    const ssize_t got = ::read(terminal_, buffer, sizeof(buffer));
    if (got > 0) shown_.append(buffer, static_cast<size_t>(got));
    return got > 0;
  }

  int terminal_ = -1;
  pid_t pid_ = -1;
  std::string shown_;
  size_t seen_ = 0;
};

TEST_F(SweepOptions, PickChoosesRunsOnATerminal) {
  OnTerminal lathe(arguments("runs", {"--pick", "--dry-run"}));
  ASSERT_TRUE(lathe.press("n", "4 of 4 picked"));
  ASSERT_TRUE(lathe.press("j", "0 of 4 picked"));
  ASSERT_TRUE(lathe.press(" ", "> [ ] int8"));
  ASSERT_TRUE(lathe.press("\033[B", "1 of 4 picked"));
  ASSERT_TRUE(lathe.press("\033[B", "> [ ] int4"));
  ASSERT_TRUE(lathe.press(" ", "> [ ] nf4"));
  ASSERT_TRUE(lathe.press("\r", "2 of 4 picked"));
  const auto outcome = lathe.rest();
  EXPECT_EQ(outcome.code, 0);
  for (const char* name : {"int8", "nf4"}) {
    EXPECT_NE(outcome.out.find(std::string(name) + " "), std::string::npos) << outcome.out;
  }
  for (const char* name : {"fp16", "int4"}) {
    EXPECT_EQ(outcome.out.find(std::string(name) + " "), std::string::npos) << outcome.out;
  }
}

TEST_F(SweepOptions, PickCanBeLeftAndNeedsATerminal) {
  OnTerminal lathe(arguments("runs", {"--pick"}));
  ASSERT_TRUE(lathe.press("q", "4 of 4 picked"));
  const auto outcome = lathe.rest();
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("nothing was picked"), std::string::npos) << outcome.out;
  test::expect_one_error(sweep("runs", "--pick"), 2, {"--pick needs a terminal", "--only"});
  EXPECT_FALSE(std::filesystem::exists(folder_.file("runs")));
}

TEST_F(SweepOptions, SlowDryRunPredictsFromRunsThatAreThere) {
  const auto plan = [&] {
    const auto outcome = sweep("runs", "--dry-run --json --threads 2");
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    std::map<std::string, json> rows;
    const json all = json::parse(outcome.out);
    for (const auto& row : all["plan"]) rows[row["id"]] = row;
    return rows;
  };
  auto rows = plan();
  ASSERT_EQ(rows.size(), 4u);
  for (const auto& [id, row] : rows) {
    EXPECT_EQ(row["state"], "new");
    EXPECT_TRUE(row["seconds"].is_null()) << row;
    EXPECT_GT(row["memory_bytes"], row["stored_bytes"]);
  }
  EXPECT_GT(rows["fp16"]["stored_bytes"], rows["int4"]["stored_bytes"]);
  EXPECT_FALSE(std::filesystem::exists(folder_.file("runs")));
  ASSERT_EQ(sweep("runs", "--only fp16 --quiet --threads 2").code, 0);
  rows = plan();
  EXPECT_EQ(rows["fp16"]["state"], "done");
  EXPECT_EQ(rows["fp16"]["seconds"], 0);
  EXPECT_GT(rows["int4"]["seconds"], 0) << rows["int4"];
  // What is there tells how large the files are.
  const json size = run_of("runs", "fp16")["results"];
  for (const auto& row : size) {
    if (row["metric"] == "weights_bytes") {
      const double stored = rows["fp16"]["stored_bytes"].get<double>();
      EXPECT_NEAR(stored, row["value"].get<double>(), 0.02 * stored);
    }
  }
}

// Baseline or not, whichever ends first: the same figures, verdicts included.
TEST_F(SweepOptions, SlowJobsRunSideBySideAndChangeNoDigit) {
  ASSERT_EQ(sweep("one", "--quiet --threads 1").code, 0);
  EXPECT_EQ(most_at_once("one"), 1);
  // The runs take tenths of a second: on a busy machine one may end before the next has begun.
  int64_t most = 0;
  for (int i = 0; i < 5 && most < 2; ++i) {
    const std::string three = fmt::format("three{}", i);
    ASSERT_EQ(sweep(three, "--quiet --threads 3 --jobs 3").code, 0);
    most = most_at_once(three);
    EXPECT_LE(most, 3);
    EXPECT_EQ(results_of(three), results_of("one"));
  }
  EXPECT_GE(most, 2);
}

// Room for one run of this model, not for two.
TEST_F(SweepOptions, SlowJobsWaitForMemory) {
  const auto plan = json::parse(sweep("two", "--dry-run --json").out)["plan"];
  int64_t most = 0;
  for (const auto& row : plan) most = std::max(most, row["memory_bytes"].get<int64_t>());
  const auto outcome = sweep("two", "--quiet --threads 3 --jobs 3",
                             fmt::format("LATHE_MEMORY_LIMIT_BYTES={}", most * 5 / 4));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(most_at_once("two"), 1);
}

// Only the process of the run dies, as by the system's out-of-memory killer; the sweep goes on.
TEST_F(SweepOptions, SlowDeadRunsAreTriedAgainAndSayWhy) {
  ASSERT_EQ(sweep("whole", "--quiet --threads 2").code, 0);
  const auto first_child = [](pid_t parent) {
    const std::string file = fmt::format("/proc/{0}/task/{0}/children", parent);
    pid_t child = 0;
    std::ifstream(file) >> child;
    return child;
  };
  const auto samples = [&](const std::string& runs) {
    const auto text = read_text(folder_.file(runs + "/x/fp16/samples.jsonl"));
    return text.ok() ? std::count(text->begin(), text->end(), '\n') : 0;
  };
  const auto killed = [&](const std::string& runs, const std::string& retries) {
    test::Process process(arguments(runs, {"--threads", "2", "--quiet", "--retries", retries}));
    EXPECT_TRUE(test::wait_until(process, [&] { return samples(runs) >= 1; }));
    const pid_t child = first_child(process.pid());
    EXPECT_GT(child, 0);
    if (child > 0) ::kill(child, SIGKILL);
    return process.wait();
  };
  EXPECT_EQ(killed("again", "1"), 0);
  const json retried = run_of("again", "fp16")["experiment"]["retried"];
  ASSERT_EQ(retried.size(), 1u) << retried;
  EXPECT_NE(retried.dump().find("killed by signal 9"), std::string::npos) << retried;
  EXPECT_EQ(results_of("again"), results_of("whole"));

  EXPECT_EQ(killed("never", "0"), 1);
  EXPECT_EQ(run_of("never", "fp16")["status"], "failed");
  EXPECT_NE(run_of("never", "fp16")["error"].dump().find("killed by signal 9"), std::string::npos);
  EXPECT_EQ(run_of("never", "nf4")["status"], "done");
}

}  // namespace
}  // namespace lathe
