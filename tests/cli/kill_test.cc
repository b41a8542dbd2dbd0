// kill -9 in the middle of work: what was done is kept, what was half done is not seen, and the
// next start ends with the digits of an undisturbed run.
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "cli_support.h"
#include "lathe/base/hash.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using test::Process;

const std::vector<std::string> kVariants = {"fp16", "int4", "pruned"};

std::vector<std::string> whole_lines(const std::string& path) {
  std::vector<std::string> lines;
  const auto text = read_text(path);
  if (!text.ok()) return lines;
  for (size_t begin = 0, end; (end = text->find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    lines.push_back(text->substr(begin, end - begin));
  }
  return lines;
}

class SlowKill : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_file(folder_.file("x.yaml"),
                     "name: x\nmodels: [" + test::tiny() + "]\nbaseline: fp16\nvariants:\n" +
                         "  fp16: {format: f16}\n" + "  int4: {format: \"int4:g32\"}\n" +
                         "  pruned: {prune: {method: magnitude, sparsity: 0.3}, format: int8}\n" +
                         "tasks:\n  - squad_v2: {limit: 12, batch: 4}\n" +
                         "  - gsm8k: {limit: 4, max_tokens: 64, batch: 2}\n" +
                         "  - perplexity: {convention: hf-stride, window: 256, stride: 256, " +
                         "limit: 4}\nprobes: [size]\n");
  }
  std::vector<std::string> arguments(const std::string& runs) const {
    return {"sweep", folder_.file("x.yaml"), "-o", folder_.file(runs), "--threads", "2", "--quiet"};
  }
  std::string file(const std::string& runs, const std::string& variant, const char* name) const {
    return folder_.file(runs + "/x/" + variant + "/" + name);
  }
  // Lines of samples so far, of all variants.
  size_t progress(const std::string& runs) const {
    size_t lines = 0;
    for (const std::string& v : kVariants) {
      lines += whole_lines(file(runs, v, "samples.jsonl")).size();
    }
    return lines;
  }
  std::map<std::string, std::vector<std::string>> samples(const std::string& runs) const {
    std::map<std::string, std::vector<std::string>> out;
    for (const std::string& v : kVariants) out[v] = whole_lines(file(runs, v, "samples.jsonl"));
    return out;
  }
  std::string results(const std::string& runs, const std::string& variant) const {
    const auto text = read_text(file(runs, variant, "run.json"));
    if (!text.ok()) return text.error().message;
    return nlohmann::json::parse(*text)["results"].dump(1);
  }
  // Every file that is there under its final name can be read whole.
  void expect_nothing_half_written(const std::string& runs) const {
    for (const std::string& v : kVariants) {
      for (const char* name : {"run.json", "measured.json", "job.json", "model/lathe.json"}) {
        const auto text = read_text(file(runs, v, name));
        if (!text.ok()) continue;
        EXPECT_FALSE(nlohmann::json::parse(*text, nullptr, false).is_discarded()) << v << name;
      }
      if (fs::exists(file(runs, v, "model"))) {
        EXPECT_EQ(test::run("inspect " + file(runs, v, "model")).code, 0) << v;
      }
    }
  }
  test::TemporaryFolder folder_;
};

TEST_F(SlowKill, SweepEndsWithTheSameDigitsAndKeepsEverySample) {
  ASSERT_EQ(Process(arguments("whole")).wait(), 0);
  const auto expected = samples("whole");
  const size_t total = progress("whole");
  ASSERT_EQ(total, kVariants.size() * 20);

  std::mt19937 random(20250614);
  int kills = 0;
  for (const char* runs : {"a", "b", "c"}) {
    // Three kills in a row, each somewhere in what is left; in the first third the model is
    // still being loaded or compressed for some.
    size_t from = 0;
    for (int kill = 0; kill < 3; ++kill) {
      const size_t at = from + random() % std::max<size_t>(1, (total - from) / 2);
      const auto extra = std::chrono::microseconds(random() % 30000);
      SCOPED_TRACE(
          fmt::format("{}: kill {} after {} samples and {} µs", runs, kill, at, extra.count()));
      Process process(arguments(runs));
      if (!test::wait_until(process, [&] { return progress(runs) >= at; })) break;
      std::this_thread::sleep_for(extra);
      if (process.ended()) break;
      process.kill_group();
      ++kills;
      expect_nothing_half_written(runs);
      const auto before = samples(runs);
      from = progress(runs);

      // The next start keeps every line that was whole. (It is let run until it has added one.)
      Process next(arguments(runs));
      test::wait_until(next, [&] { return progress(runs) > from; });
      if (!next.ended()) next.kill_group();
      for (const auto& [variant, lines] : before) {
        const auto now = whole_lines(file(runs, variant, "samples.jsonl"));
        ASSERT_GE(now.size(), lines.size());
        EXPECT_TRUE(std::equal(lines.begin(), lines.end(), now.begin())) << variant;
      }
      from = progress(runs);
    }
    SCOPED_TRACE(runs);
    ASSERT_EQ(Process(arguments(runs)).wait(), 0);
    auto found = samples(runs);
    for (const std::string& variant : kVariants) {
      // Every sample once, with the text and the scores of the undisturbed run.
      auto ours = found[variant], theirs = expected.at(variant);
      std::sort(ours.begin(), ours.end());
      std::sort(theirs.begin(), theirs.end());
      EXPECT_EQ(ours, theirs) << variant;
      EXPECT_EQ(results(runs, variant), results("whole", variant)) << variant;
      for (const auto& entry :
           fs::directory_iterator(folder_.file(std::string(runs) + "/x/" + variant))) {
        EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
      }
    }
  }
  EXPECT_GE(kills, 6) << "the runs ended before they could be killed";
}

// A grid of eight variants and four tasks, killed twice: the digits of one that was not.
TEST_F(SlowKill, EightVariantsOfFourTasksSurviveTwoKills) {
  test::write_file(folder_.file("x.yaml"),
                   "name: x\nmodels: [" + test::tiny() + "]\nbaseline: int8-row-0.1\ngrid:\n" +
                       "  over: {format: [\"int8:row\", \"int4:g32\", \"nf4:b64\", f16], " +
                       "prune.sparsity: [0.1, 0.3]}\n  base: {prune: {method: magnitude}}\n" +
                       "tasks:\n  - squad_v2: {limit: 4}\n  - gsm8k: {limit: 2, max_tokens: 32}\n" +
                       "  - perplexity: {window: 128, limit: 2}\n" +
                       "  - summaries: {limit: 2, max_tokens: 16}\nprobes: [size]\n");
  ASSERT_EQ(Process(arguments("whole")).wait(), 0);
  const auto lines = [&](const std::string& runs) {
    size_t count = 0;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_.file(runs + "/x"), error)) {
      count += whole_lines(entry.path().string() + "/samples.jsonl").size();
    }
    return count;
  };
  const size_t total = lines("whole");
  ASSERT_EQ(total, 8u * 10);
  for (const size_t at : {total / 4, 2 * total / 3}) {
    Process process(arguments("a"));
    ASSERT_TRUE(test::wait_until(process, [&] { return lines("a") >= at; }));
    process.kill_group();
    EXPECT_LT(lines("a"), total);
  }
  ASSERT_EQ(Process(arguments("a")).wait(), 0);
  // Every figure of every variant, interval, p-value and corrected verdict included.
  const auto rows = [&](const char* runs) {
    const auto text = read_text(folder_.file(std::string(runs) + "/x/results.json"));
    return nlohmann::json::parse(text.value())["results"];
  };
  EXPECT_GE(rows("whole").size(), 8u * 10);
  EXPECT_EQ(rows("a").dump(1), rows("whole").dump(1));
}

// The process of a run must not outlive the sweep, or two would write to one file.
TEST_F(SlowKill, RunsDieWithTheirSweep) {
  Process sweep(arguments("a"));
  ASSERT_TRUE(test::wait_until(sweep, [&] { return progress("a") >= 1; }));
  const pid_t alone = sweep.pid();
  ASSERT_EQ(::kill(alone, SIGKILL), 0);  // the sweep only, not its group
  sweep.wait();
  const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (::kill(-alone, 0) == 0 && std::chrono::steady_clock::now() < limit) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  EXPECT_NE(::kill(-alone, 0), 0) << "the run's process lives on";
  ASSERT_EQ(Process(arguments("a")).wait(), 0);
}

TEST_F(SlowKill, SecondSweepOnTheSameRunsIsRefused) {
  Process first(arguments("a"));
  ASSERT_TRUE(test::wait_until(first, [&] { return progress("a") >= 1; }));
  const auto second =
      test::run("sweep " + folder_.file("x.yaml") + " -o " + folder_.file("a") + " --only fp16");
  EXPECT_EQ(second.code, 1);
  EXPECT_NE(second.err.find("another process is working on this run"), std::string::npos)
      << second.err;
}

TEST_F(SlowKill, CompressLeavesNothingUnderTheFinalName) {
  const auto arguments = [&](const std::string& out) -> std::vector<std::string> {
    return {"compress", test::tiny(),    "-o",        out, "--format", "nf4:b64,dq",
            "--prune",  "magnitude:0.5", "--threads", "2"};
  };
  const std::string whole = folder_.file("whole");
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(Process(arguments(whole)).wait(), 0);
  const auto took = std::chrono::steady_clock::now() - start;
  const std::string expected = sha256_of_file(whole + "/model.safetensors").value();

  std::mt19937 random(20250615);
  int midway = 0;
  for (int trial = 0; trial < 8; ++trial) {
    const std::string name = fmt::format("out{}", trial), out = folder_.file(name);
    const auto temporary = [&] {
      int found = 0;
      for (const auto& entry : fs::directory_iterator(folder_.path())) {
        found += entry.path().filename().string().starts_with(name + ".tmp-");
      }
      return found;
    };
    Process process(arguments(out));
    test::wait_until(process, [&] { return temporary() > 0; });
    std::this_thread::sleep_for(took * static_cast<double>(random() % 1000) / 1000.0);
    if (!process.ended()) process.kill_group();
    if (fs::exists(out)) {
      EXPECT_EQ(sha256_of_file(out + "/model.safetensors").value(), expected) << trial;
      continue;
    }
    midway += temporary();
    ASSERT_EQ(Process(arguments(out)).wait(), 0);
    EXPECT_EQ(sha256_of_file(out + "/model.safetensors").value(), expected) << trial;
    EXPECT_EQ(temporary(), 0) << "the remains of the killed one are still there";
  }
  EXPECT_GE(midway, 2) << "no kill came in the middle";
}

}  // namespace
}  // namespace lathe
