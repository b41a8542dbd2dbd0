// The energy meter on folders that look like Linux's powercap tree.
#include "lathe/profile/energy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "lathe/profile/probe.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FakePowercap : public ::testing::Test {
 protected:
  void zone(const std::string& folder, const std::string& name, int64_t range, int64_t energy) {
    fs::create_directories(tree_.file(folder));
    put(folder + "/name", name);
    put(folder + "/max_energy_range_uj", std::to_string(range));
    set(folder, energy);
  }
  void set(const std::string& folder, int64_t energy) {
    put(folder + "/energy_uj", std::to_string(energy));
  }
  void put(const std::string& file, const std::string& text) {
    std::ofstream(tree_.file(file)) << text << "\n";
  }
  test::TemporaryFolder tree_;
};

TEST_F(FakePowercap, AddsPackagesAndMemoryOnceEach) {
  fs::create_directories(tree_.file("intel-rapl"));
  zone("intel-rapl:0", "package-0", 1'000'000'000, 5'000'000);
  zone("intel-rapl:0:0", "core", 1'000'000'000, 7);    // a part of the package
  zone("intel-rapl:0:1", "dram", 1'000'000'000, 100);  // beside it
  zone("intel-rapl:1", "package-1", 1'000'000'000, 0);
  zone("intel-rapl:2", "psys", 1'000'000'000, 0);  // all of them again
  zone("intel-rapl-mmio:0", "package-0", 1'000'000'000, 0);
  EnergyMeter meter(tree_.path());
  ASSERT_EQ(meter.unknown(), "");
  EXPECT_EQ(meter.zones(), "package-0, dram, package-1");
  set("intel-rapl:0", 9'000'000);
  meter.restart();  // what was used before goes to no one
  set("intel-rapl:0", 12'500'000);
  set("intel-rapl:0:0", 99'000'000);
  set("intel-rapl:0:1", 250'100);
  set("intel-rapl:1", 1'000'000);
  set("intel-rapl:2", 50'000'000);
  EXPECT_NEAR(meter.joules(), 3.5 + 0.25 + 1, 1e-12);
  set("intel-rapl:1", 1'500'000);
  EXPECT_NEAR(meter.joules(), 3.5 + 0.25 + 1.5, 1e-12);  // since the restart, not the last look
}

TEST_F(FakePowercap, CountsOnWhereACounterBeginsAnew) {
  zone("intel-rapl:0", "package-0", 262'143'328'850, 262'143'000'000);
  EnergyMeter meter(tree_.path());
  meter.restart();
  set("intel-rapl:0", 671'150);
  EXPECT_NEAR(meter.joules(), 0.328850 + 0.671150, 1e-12);
}

TEST_F(FakePowercap, SaysWhyNothingIsKnown) {
  EXPECT_THAT(EnergyMeter(tree_.path()).unknown(), HasSubstr("no energy counter"));
  EXPECT_THAT(EnergyMeter(tree_.file("nowhere")).unknown(), HasSubstr("no energy counter"));
  zone("intel-rapl:0", "psys", 1000, 0);
  EXPECT_THAT(EnergyMeter(tree_.path()).unknown(), HasSubstr("no energy counter"));
  zone("intel-rapl:0", "package-0", 1000, 0);
  for (const char* text : {"", "many", "-5", "1e3"}) {
    put("intel-rapl:0/energy_uj", text);
    EXPECT_NE(EnergyMeter(tree_.path()).unknown(), "") << text;
  }
  set("intel-rapl:0", 0);
  EnergyMeter meter(tree_.path());
  ASSERT_EQ(meter.unknown(), "");
  set("intel-rapl:0", 1001);
  (void)meter.joules();
  EXPECT_THAT(meter.unknown(), HasSubstr("exceeds its own range"));
  EnergyMeter lost(tree_.path());
  EXPECT_EQ(lost.unknown(), "");
  fs::remove(tree_.file("intel-rapl:0/energy_uj"));
  lost.restart();
  EXPECT_THAT(lost.unknown(), HasSubstr("No such file"));
}

TEST_F(FakePowercap, NamesTheRightThatIsMissing) {
  zone("intel-rapl:0", "package-0", 1000, 0);
  fs::permissions(tree_.file("intel-rapl:0/energy_uj"), fs::perms::none);
  if (std::ifstream(tree_.file("intel-rapl:0/energy_uj"))) GTEST_SKIP() << "root reads all files";
  const EnergyMeter meter(tree_.path());
  EXPECT_THAT(meter.unknown(), HasSubstr("Permission denied"));
  EXPECT_THAT(meter.unknown(), HasSubstr("chmod a+r"));
}

TEST_F(FakePowercap, ProbeGivesNumbersOrTheReason) {
  const Engine engine = open_engine("bundled", {.device = "cpu", .threads = 2}).value();
  const auto checkpoint = open_checkpoint(engine.model->path).value();
  const auto energy = [&] {
    ::setenv("LATHE_POWERCAP", tree_.path().c_str(), 1);
    const auto rows = run_probe("latency", {engine, *checkpoint},
                                {{"prompt", 4}, {"generate", 3}, {"repetitions", 2}});
    ::unsetenv("LATHE_POWERCAP");
    std::vector<Measurement> found;
    for (const Measurement& m : rows.value()) {
      if (m.metric.starts_with("joules")) found.push_back(m);
    }
    return found;
  };
  for (const Measurement& m : energy()) {
    EXPECT_TRUE(std::isnan(m.value));
    EXPECT_EQ(m.n, 0);
    EXPECT_THAT(m.extra["unknown"].get<std::string>(), HasSubstr(tree_.path()));
    EXPECT_TRUE(to_json(m).dump().find("\"value\":null") != std::string::npos);
  }
  zone("intel-rapl:0", "package-0", 1000, 7);  // a counter that stands still
  const auto rows = energy();
  ASSERT_EQ(rows.size(), 2u);
  for (const Measurement& m : rows) {
    EXPECT_EQ(m.value, 0);
    EXPECT_EQ(m.n, 2);
    EXPECT_EQ(m.unit, "J");
    EXPECT_EQ(m.better, "lower");
    EXPECT_EQ(m.extra["zones"], "package-0");
  }
}

}  // namespace
}  // namespace lathe
