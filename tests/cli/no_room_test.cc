// No disk space: one clear error, exit code 1, nothing half-written. No memory: refused before
// anything is loaded, exit code 3.
#include <sched.h>
#include <sys/mount.h>

#include "cli_support.h"
#include "io/hub_server.h"
#include "support/llama_directory.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using test::expect_one_error;
using test::tiny;

// A small file system in memory, which nobody but this process sees.
class FullDisk : public ::testing::Test {
 protected:
  void SetUp() override {
    disk_ = folder_.file("disk");
    fs::create_directory(disk_);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 || !mount_disk("64k")) {
      GTEST_SKIP() << "only root may mount a small file system";
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) ::umount2(disk_.c_str(), MNT_DETACH);
  }
  bool mount_disk(const std::string& size, unsigned long flags = 0) const {
    return ::mount("tmpfs", disk_.c_str(), "tmpfs", flags, ("size=" + size).c_str()) == 0;
  }
  void resize(const std::string& size) const { ASSERT_TRUE(mount_disk(size, MS_REMOUNT)); }
  std::string disk(const std::string& name) const { return disk_ + "/" + name; }
  size_t files() const {
    size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(disk_)) {
      static_cast<void>(entry);
      ++count;
    }
    return count;
  }

  test::TemporaryFolder folder_;
  std::string disk_;
  bool mounted_ = false;
};

TEST_F(FullDisk, Compress) {
  for (const char* size : {"64k", "1m", "2m"}) {
    resize(size);
    const auto outcome = test::run("compress " + tiny() + " -o " + disk("out") + " --format int8");
    expect_one_error(outcome, 1, {disk("out"), "disk"});
    EXPECT_EQ(files(), 0u) << size;
  }
}

TEST_F(FullDisk, CompressOverAnOlderModelKeepsIt) {
  resize("3m");
  ASSERT_EQ(test::run("compress " + tiny() + " -o " + disk("out") + " --format int4:g32").code, 0);
  const size_t before = files();
  expect_one_error(
      test::run("compress " + tiny() + " -o " + disk("out") + " --overwrite --format int4:g128"), 1,
      {"disk"});
  EXPECT_EQ(files(), before);
  EXPECT_EQ(test::run("inspect " + disk("out")).code, 0);
}

// Where only the progress has no room, the work goes on, to the same bytes; the warning comes once.
TEST_F(FullDisk, CompressGoesOnWithoutItsProgress) {
  resize("5m");
  const std::string what = "compress " + tiny() +
                           " --format int4:g128 --method gptq --calibration " + tiny() +
                           "/data/calibration.txt --samples 32 --sample-length 128 -o ";
  const auto outcome = test::run(what + disk("out"));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const size_t warned = outcome.err.find("how far this has come cannot be kept");
  EXPECT_NE(warned, std::string::npos) << outcome.err;
  EXPECT_EQ(outcome.err.find("cannot be kept", warned + 40), std::string::npos) << outcome.err;
  const auto elsewhere = test::run(what + folder_.file("out"));
  ASSERT_EQ(elsewhere.code, 0) << elsewhere.err;
  EXPECT_EQ(elsewhere.err.find("cannot be kept"), std::string::npos) << elsewhere.err;
  for (const char* name : {"model.safetensors", "lathe.json"}) {
    EXPECT_EQ(read_text(disk("out/") + name).value(),
              read_text(folder_.file("out/") + name).value());
  }
  EXPECT_FALSE(fs::exists(disk("out/progress")));
}

// An export that does not fit leaves nothing behind, whichever files it would have written.
TEST_F(FullDisk, Export) {
  for (const char* target : {"gguf", "hf"}) {
    for (const char* size : {"64k", "1m", "4m"}) {
      resize(size);
      const auto outcome = test::run("export " + tiny() + " --to " + target + " -o " +
                                     disk(std::string("out.") + target));
      expect_one_error(outcome, 1, {disk("out"), "disk"});
      EXPECT_EQ(files(), 0u) << target << ' ' << size;
    }
  }
}

TEST_F(FullDisk, Report) {
  fs::create_directories(folder_.file("runs/a"));
  test::write_file(folder_.file("runs/a/run.json"),
                   R"({"id": "a", "variant": "a", "status": "done", "results": [{"task": "squad_v2",
          "metric": "f1", "value": 80.5, "n": 10, "unit": "%", "better": "higher"}]})");
  expect_one_error(test::run("report " + folder_.file("runs") + " -o " + disk("page.html")), 1,
                   {disk("page.html"), "disk"});
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(test::run("report " + folder_.file("runs") + " --csv " + disk("rows.csv")).code, 0);
}

TEST_F(FullDisk, EvalSamples) {
  resize("16k");
  expect_one_error(test::run("eval " + tiny() + " --tasks squad_v2 --limit 64 --set " +
                             "squad_v2.max_tokens=1 --quiet --samples " + disk("s.jsonl")),
                   1, {disk("s.jsonl"), "disk"});
  EXPECT_EQ(files(), 0u);
}

// A sweep whose samples fill the disk stops; with more room it goes on, to the same digits.
TEST_F(FullDisk, SlowSweepStopsAndGoesOn) {
  resize("20k");
  test::write_file(folder_.file("x.yaml"), "name: x\nmodels: [" + tiny() +
                                               "]\nvariants: {as-is: }\n"
                                               "tasks: [{squad_v2: {limit: 60, batch: 4}}]\n");
  const auto sweep = [&](const std::string& runs) {
    return test::run("sweep " + folder_.file("x.yaml") + " --quiet --threads 2 -o " + runs);
  };
  expect_one_error(sweep(disk_), 1, {"No space left on device", "free some disk space"});
  EXPECT_FALSE(fs::exists(disk("x/as-is/measured.json")));
  resize("4m");
  const auto second = sweep(disk_);
  ASSERT_EQ(second.code, 0) << second.err;
  ASSERT_EQ(sweep(folder_.file("runs")).code, 0);
  const auto results = [](const std::string& path) {
    return nlohmann::json::parse(read_text(path).value())["results"];
  };
  EXPECT_EQ(results(disk("x/as-is/run.json")), results(folder_.file("runs/x/as-is/run.json")));
}

TEST_F(FullDisk, SweepWhoseModelsDoNotFit) {
  resize("1m");
  test::write_file(folder_.file("x.yaml"), "name: x\nmodels: [" + tiny() +
                                               "]\nvariants: {fp16: {format: f16}}\n"
                                               "probes: [size]\n");
  const auto outcome =
      test::run("sweep " + folder_.file("x.yaml") + " --json --threads 2 -o " + disk_);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("but the disk has"), std::string::npos) << outcome.err;
  EXPECT_FALSE(fs::exists(disk("x/fp16/model")));
  const auto run = nlohmann::json::parse(read_text(disk("x/fp16/run.json")).value());
  EXPECT_EQ(run["status"], "failed");
}

TEST_F(FullDisk, Pull) {
  HubServer server;
  server.add_small("config.json", "{}", "etag-of-config");
  server.add_large("model.safetensors", std::string(1 << 20, 'x'));
  const auto outcome = test::run(
      "pull org/name", "HF_ENDPOINT=" + server.hub.url() + " HF_HOME=" + disk_ + " HF_HUB_CACHE=");
  expect_one_error(outcome, 1, {"disk"});
  for (const auto& entry : fs::recursive_directory_iterator(disk_)) {
    EXPECT_NE(entry.path().filename(), "model.safetensors");
  }
}

// What goes to a full standard output is lost, and says so.
TEST(FullOutput, IsAnError) {
  for (const char* command : {"inspect --json ", "inspect "}) {
    const auto outcome = test::run(command + tiny() + " >/dev/full");
    EXPECT_EQ(outcome.code, 1) << command;
    EXPECT_NE(outcome.err.find("standard output"), std::string::npos) << outcome.err;
  }
}

class NoMemory : public ::testing::Test {
 protected:
  // Refused by the estimate, with the sizes that were compared.
  static void expect_refused(const test::Outcome& outcome) {
    expect_one_error(outcome, 3, {"MB are free"});
  }
  test::TemporaryFolder folder_;
};

TEST_F(NoMemory, EveryCommandThatLoadsRefuses) {
  const std::string little = "LATHE_MEMORY_LIMIT_BYTES=1000000";
  expect_refused(test::run("run " + tiny() + " -p x", little));
  expect_refused(test::run("eval " + tiny() + " --quiet", little));
  expect_refused(test::run("profile " + tiny(), little));
  const std::string out = folder_.file("out");
  expect_refused(test::run("compress " + tiny() + " -o " + out + " --format int8", little));
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

TEST_F(NoMemory, SweepSaysSoForEachRun) {
  test::write_file(folder_.file("x.yaml"), "name: x\nmodels: [" + tiny() +
                                               "]\nvariants: {fp16: {format: f16}, as-is: }\n"
                                               "probes: [size]\n");
  const auto outcome = test::run("sweep " + folder_.file("x.yaml") + " -o " + folder_.file("runs"),
                                 "LATHE_MEMORY_LIMIT_BYTES=1000000");
  EXPECT_EQ(outcome.code, 3) << outcome.err;
  for (const char* variant : {"fp16", "as-is"}) {
    const auto run = nlohmann::json::parse(
        read_text(folder_.file(std::string("runs/x/") + variant + "/run.json")).value());
    EXPECT_EQ(run["status"], "failed");
    EXPECT_NE(run["error"].get<std::string>().find("MB are free"), std::string::npos) << run;
  }
}

// The cache of a long context is part of what must fit.
TEST_F(NoMemory, CacheThatDoesNotFit) {
  const std::string limit = "LATHE_MEMORY_LIMIT_BYTES=9000000";
  EXPECT_EQ(test::run("run " + tiny() + " -p x -n 900", limit).code, 0);
  expect_one_error(test::run("run " + tiny() + " -p x -n 4000 --context 8000", limit), 3,
                   {"key-value cache", "MB are free", "shorter context"});
}

// The system's own limit on the address space, on a model whose file (of zeros) takes no room.
TEST_F(NoMemory, LimitOfTheSystem) {
  test::LlamaShape shape;
  shape.hidden = 2048;
  shape.ffn = 8192;
  shape.layers = 8;
  shape.heads = 16;
  const std::string model = folder_.file("large");
  test::write_llama_directory(model, shape, false);
  const auto file_kilobytes = fs::file_size(model + "/model.safetensors") / 1024;
  ASSERT_GT(file_kilobytes, 1000u * 1024);
  ASSERT_EQ(test::run("inspect " + model).code, 0);
  // Room to map the file, not to hold its weights; then not even to map it.
  const auto limit = [](uint64_t kilobytes) { return fmt::format("ulimit -v {}; ", kilobytes); };
  expect_refused(test::run("run " + model + " -p x", limit(file_kilobytes + 500 * 1024)));
  expect_one_error(test::run("run " + model + " -p x", limit(file_kilobytes / 2)), 3,
                   {"model.safetensors", "cannot map"});
}

// What calibration would take is said first, and refused before anything is read or written.
TEST(NoRoom, Calibration) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("out"), limit = "LATHE_MEMORY_LIMIT_BYTES=70000000";
  const std::string data = tiny() + "/data/calibration.txt --samples 128 --sample-length 512";
  expect_one_error(test::run("compress " + tiny() + " -o " + out +
                                 " --format int4:g128 --method gptq --calibration " + data,
                             limit),
                   3, {"compressing: needs about", "MB are free", "--samples"});
  EXPECT_FALSE(fs::exists(out));
  for (const char* kind : {"", " --hessians"}) {
    expect_one_error(
        test::run("calibrate " + tiny() + kind + " -o " + out + " --data " + data, limit), 3,
        {"calibrating: needs about", "MB are free"});
    EXPECT_FALSE(fs::exists(out));
  }
}

TEST(NoRoom, ADryRunSaysWhatItWouldTake) {
  test::TemporaryFolder folder;
  const std::string out = folder.file("out");
  const std::string what = "compress " + tiny() + " -o " + out + " --format int4:g128";
  const std::string calibrated = " --method gptq --samples 16 --sample-length 64 --calibration " +
                                 tiny() + "/data/calibration.txt";
  const auto dry = test::run(what + calibrated + " --dry-run --json");
  ASSERT_EQ(dry.code, 0) << dry.err;
  EXPECT_FALSE(fs::exists(out));
  const auto said = nlohmann::json::parse(dry.out);
  EXPECT_GT(said["predicted"]["seconds"], 0.0);
  const auto done = test::run(what + calibrated + " --json");
  ASSERT_EQ(done.code, 0) << done.err;
  EXPECT_NE(done.err.find("compressing: about"), std::string::npos) << done.err;
  const auto result = nlohmann::json::parse(done.out);
  EXPECT_EQ(result["results"][0]["value"], said["results"][0]["value"]);  // bytes
  // A short run on a shared machine; docs/compression.md has figures for a large model.
  const double memory = result["peak_rss_bytes"], predicted = result["predicted"]["memory_bytes"];
  EXPECT_LT(memory, 1.5 * predicted);
  EXPECT_GT(memory, 0.5 * predicted);
  EXPECT_EQ(test::run(what + " --dry-run").code, 0);
  EXPECT_EQ(test::run(what + " --method gptq --dry-run").code, 2);  // no data
}

}  // namespace
}  // namespace lathe
