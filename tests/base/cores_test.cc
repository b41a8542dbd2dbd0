// The choice of cores on machines described by files in the kernel's layout.
#include "lathe/base/cores.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <numeric>

namespace lathe {
namespace {

class CoresTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* info = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(::testing::TempDir()) / (std::string("cores_") + info->name());
    std::filesystem::remove_all(root_);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }

  void write(const std::string& path, const std::string& text) {
    const auto file = root_ / path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  void siblings(int cpu, const std::string& list) {
    write(fmt::format("sys/devices/system/cpu/cpu{}/topology/thread_siblings_list", cpu), list);
  }
  void nodes(const std::vector<std::string>& lists) {
    write("sys/devices/system/node/online", fmt::format("0-{}", lists.size() - 1));
    for (size_t i = 0; i < lists.size(); ++i) {
      write(fmt::format("sys/devices/system/node/node{}/cpulist", i), lists[i]);
    }
  }
  CoreChoice choose(int cpus, int wanted = 0, int current = 0) {
    std::vector<int> allowed(static_cast<size_t>(cpus));
    std::iota(allowed.begin(), allowed.end(), 0);
    return choose_cores(allowed, wanted, current, root_.string());
  }

  std::filesystem::path root_;
};

using Cpus = std::vector<int>;

TEST_F(CoresTest, NothingToldMeansUniform) {
  EXPECT_EQ(choose(4).threads, 4);
  EXPECT_TRUE(choose(4).bind.empty());
  EXPECT_TRUE(choose(4, 2).bind.empty());
  EXPECT_EQ(choose_cores({}, 0, 0, root_.string()).threads, 1);
}

TEST_F(CoresTest, OneThreadPerPhysicalCore) {
  for (int cpu = 0; cpu < 8; ++cpu) siblings(cpu, fmt::format("{},{}", cpu % 4, cpu % 4 + 4));
  EXPECT_EQ(choose(8).threads, 4);
  EXPECT_TRUE(choose(8).bind.empty());
  // Of a core whose sibling is not allowed, the other one counts.
  EXPECT_EQ(choose_cores({1, 5, 6}, 0, 1, root_.string()).threads, 2);
}

TEST_F(CoresTest, FastCoresOfAHybrid) {
  for (int cpu = 0; cpu < 4; ++cpu) siblings(cpu, cpu < 2 ? "0-1" : "2-3");
  write("sys/devices/cpu_core/cpus", "0-3");
  write("sys/devices/cpu_atom/cpus", "4-7");
  EXPECT_EQ(choose(8).threads, 2);
  EXPECT_EQ(choose(8).bind, (Cpus{0, 1, 2, 3}));
  EXPECT_EQ(choose(8, 2).bind, (Cpus{0, 1, 2, 3}));
  // Who asks for more threads than there are fast cores gets all of them.
  EXPECT_TRUE(choose(8, 6).bind.empty());
}

TEST_F(CoresTest, CapacityTellsSlowFromFavoured) {
  const std::vector<int> capacity = {1024, 1009, 446, 446};
  for (size_t cpu = 0; cpu < 4; ++cpu) {
    write(fmt::format("sys/devices/system/cpu/cpu{}/cpu_capacity", cpu),
          std::to_string(capacity[cpu]));
  }
  EXPECT_EQ(choose(4).threads, 2);
  EXPECT_EQ(choose(4).bind, (Cpus{0, 1}));
}

TEST_F(CoresTest, FewThreadsStayOnOneNode) {
  nodes({"0-3", "4-7"});
  EXPECT_EQ(choose(8).threads, 8);
  EXPECT_TRUE(choose(8).bind.empty());
  EXPECT_EQ(choose(8, 3).bind, (Cpus{0, 1, 2, 3}));
  EXPECT_EQ(choose(8, 4, 6).bind, (Cpus{4, 5, 6, 7}));
  EXPECT_TRUE(choose(8, 5, 6).bind.empty());
}

TEST_F(CoresTest, QuotaOfTheGroup) {
  write("sys/fs/cgroup/cpu.max", "150000 100000");
  EXPECT_EQ(choose(8).threads, 2);
  write("sys/fs/cgroup/cpu.max", "max 100000");
  EXPECT_EQ(choose(8).threads, 8);
  write("sys/fs/cgroup/cpu.max", "50000 100000");
  EXPECT_EQ(choose(8).threads, 1);
}

TEST_F(CoresTest, QuotaInTheOlderLayout) {
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000");
  EXPECT_EQ(choose(8).threads, 3);
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1");
  EXPECT_EQ(choose(8).threads, 8);
}

TEST_F(CoresTest, NonsenseIsSkipped) {
  siblings(0, "7-3,x,,9999999999,-4");
  nodes({"0-1,?"});
  write("sys/fs/cgroup/cpu.max", "0 0");
  EXPECT_EQ(choose(2).threads, 2);
}

TEST(CpuList, AsTheKernelWritesIt) {
  EXPECT_EQ(parse_cpu_list("0-3,8,10-11"), (Cpus{0, 1, 2, 3, 8, 10, 11}));
  EXPECT_EQ(parse_cpu_list(""), Cpus{});
  EXPECT_EQ(parse_cpu_list("5\n"), Cpus{5});
}

}  // namespace
}  // namespace lathe
