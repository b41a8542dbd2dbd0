// kill -9 in the middle of a calibrated compression: the next start goes on, and ends with the
// bytes of an undisturbed run.
#include <map>

#include "cli_support.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

class SlowResume : public ::testing::Test {
 protected:
  std::vector<std::string> arguments(const std::string& out, const std::string& method) const {
    return {"compress",
            test::tiny(),
            "-o",
            folder_.file(out),
            "--format",
            "int3:g64",
            "--method",
            method,
            "--calibration",
            test::source_file("models/tiny/data/calibration.txt"),
            "--samples",
            "24",
            "--sample-length",
            "128",
            "--threads",
            "2",
            "--quiet"};
  }
  // Whether some process has kept the state of a block for `out`.
  std::string kept(const std::string& out) const {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder_.path(), error)) {
      const std::string name = entry.path().filename().string();
      const std::string progress = entry.path().string() + "/progress/progress.json";
      if (name.starts_with(out + ".tmp-") && fs::exists(progress, error)) return progress;
    }
    return "";
  }
  std::map<std::string, std::string> contents(const std::string& out) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::directory_iterator(folder_.file(out))) {
      EXPECT_TRUE(entry.is_regular_file()) << entry.path();
      files[entry.path().filename().string()] = read_text(entry.path().string()).value();
    }
    return files;
  }
  // Starts a compression and kills it as soon as a block is kept; false if it was too fast.
  bool kill_after_a_block(const std::string& out, const std::string& method) const {
    test::Process process(arguments(out, method));
    if (!test::wait_until(process, [&] { return !kept(out).empty(); })) return false;
    if (process.ended()) return false;
    process.kill_group();
    return !fs::exists(folder_.file(out));
  }
  void expect_no_remains() const {
    for (const auto& entry : fs::directory_iterator(folder_.path())) {
      EXPECT_EQ(entry.path().string().find(".tmp-"), std::string::npos) << entry.path();
    }
  }
  test::TemporaryFolder folder_;
};

TEST_F(SlowResume, EndsWithTheSameBytes) {
  for (const char* method : {"gptq", "awq+gptq"}) {
    ASSERT_EQ(test::Process(arguments("whole", method)).wait(), 0);
    const auto expected = contents("whole");
    ASSERT_TRUE(kill_after_a_block("out", method)) << "it ended before it could be killed";
    const std::string before = read_text(kept("out")).value();
    std::string line = "compress --verbose";
    for (const std::string& argument : arguments("out", method)) {
      if (argument != "compress" && argument != "--quiet") line += " " + argument;
    }
    const test::Outcome outcome = test::run(line);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_NE(outcome.err.find("where an earlier run was stopped"), std::string::npos)
        << outcome.err;
    EXPECT_EQ(contents("out"), expected) << method;
    expect_no_remains();
    fs::remove_all(folder_.file("whole"));
    fs::remove_all(folder_.file("out"));
  }
}

// What does not fit, or is damaged, is as if it were not there.
TEST_F(SlowResume, NothingElseIsTakenOver) {
  ASSERT_EQ(test::Process(arguments("whole", "gptq")).wait(), 0);
  const auto expected = contents("whole");
  for (const char* what : {"another recipe", "weights", "states", "text"}) {
    ASSERT_TRUE(kill_after_a_block("out", what[0] == 'a' ? "clip" : "gptq")) << what;
    const fs::path progress = kept("out"), folder = progress.parent_path();
    const auto damage = [](const fs::path& path, int64_t at) {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(at);
      const char byte = static_cast<char>(file.get() ^ 1);
      file.seekp(at);
      file.put(byte);
    };
    if (what == std::string("text")) test::write_file(progress.string(), "{\"done\": 1");
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename().string();
      if (what == std::string("states") && name.starts_with("data-")) damage(entry.path(), 100);
    }
    for (const auto& entry : fs::directory_iterator(folder.parent_path())) {
      const std::string name = entry.path().filename().string();
      // Inside of the embedding table, which is the first matrix.
      if (what == std::string("weights") && name.starts_with("model.safetensors")) {
        damage(entry.path(), 100000);
      }
    }
    ASSERT_EQ(test::Process(arguments("out", "gptq")).wait(), 0) << what;
    EXPECT_EQ(contents("out"), expected) << what;
    expect_no_remains();
    fs::remove_all(folder_.file("out"));
  }
}

}  // namespace
}  // namespace lathe
