// The ceilings kept beside the runs: read back as they were measured, and measured anew where the
// file says nothing.
#include "lathe/lab/machine_ceilings.h"

#include <gtest/gtest.h>

#include <fstream>

#include "support/files.h"

namespace lathe {
namespace {

TEST(MachineCeilings, AreReadBackOrRefused) {
  const Ceilings made{3, 1.25e10, {{Isa::kPortable, 2e9}}, {{"int8", "avx512", 5e11}}};
  const auto back = ceilings_from_json(nlohmann::json::parse(to_json(made).dump()));
  ASSERT_TRUE(back);
  EXPECT_EQ(back->threads, 3);
  EXPECT_EQ(back->read_bytes_per_s, 1.25e10);
  ASSERT_EQ(back->arithmetic.size(), 1u);
  EXPECT_EQ(back->arithmetic[0].isa, Isa::kPortable);
  EXPECT_EQ(back->arithmetic[0].f32_flops_per_s, 2e9);
  ASSERT_EQ(back->peaks.size(), 1u);
  EXPECT_EQ(back->peaks[0].type + back->peaks[0].unit, "int8avx512");
  EXPECT_EQ(back->peaks[0].ops_per_s, 5e11);

  for (const char* bad :
       {"null", "[]", "{}", R"({"threads": 1, "read_bytes_per_s": 1, "arithmetic": []})",
        R"({"threads": 0, "read_bytes_per_s": 1, "arithmetic": [], "peaks": []})",
        R"({"threads": 1, "read_bytes_per_s": "x", "arithmetic": [], "peaks": []})",
        R"({"threads": 1, "read_bytes_per_s": 1, "arithmetic": [7], "peaks": []})",
        R"({"threads": 1, "read_bytes_per_s": 1, "arithmetic": [], "peaks": [{"type": 1}]})",
        R"({"threads": 1, "read_bytes_per_s": 1, "peaks": [],
               "arithmetic": [{"isa": "z80", "f32_flops_per_s": 1}]})"}) {
    EXPECT_FALSE(ceilings_from_json(nlohmann::json::parse(bad))) << bad;
  }
}

TEST(MachineCeilings, SlowAreMeasuredOnceForEachNumberOfThreads) {
  test::TemporaryFolder folder;
  const std::string file = folder.file("ceilings.json");
  EXPECT_TRUE(machine_ceilings(file, 1, false).is_null());
  std::ofstream(file) << "{broken";
  const nlohmann::json first = machine_ceilings(file, 1, true);
  ASSERT_TRUE(ceilings_from_json(first));
  EXPECT_EQ(first["threads"], 1);
  EXPECT_EQ(machine_ceilings(file, 1, true), first);
  EXPECT_EQ(machine_ceilings(file, 1, false), first);
  EXPECT_TRUE(machine_ceilings(file, 2, false).is_null());
}

}  // namespace
}  // namespace lathe
