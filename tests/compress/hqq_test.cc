// HQQ against the reference of tools/oracles/compress_scales.py, and rounding by the output's
// error.
#include "lathe/compress/passes/hqq.h"

#include <cmath>

#include "compress/compress_test_util.h"
#include "compress/problem.h"

namespace lathe {
namespace {

using test::cubed;
using test::open;
using test::recipe_of;
using ::testing::HasSubstr;

nlohmann::json golden() {
  return nlohmann::json::parse(
      read_text(test::source_file("tests/golden/compress/scales.json")).value());
}

TEST(Hqq, EqualsTheReference) {
  const nlohmann::json reference = golden();
  const int64_t rows = reference["rows"], cols = reference["columns"];
  const std::vector<float> w = cubed(rows * cols);
  for (const auto& [spec, expected] : reference["hqq"].items()) {
    const auto grid = GroupGrid::create(parse_format(spec).value(), rows, cols).value();
    const auto scales = expected["scales"].get<std::vector<float>>();
    const auto offsets = expected["offsets"].get<std::vector<float>>();
    ASSERT_EQ(static_cast<int64_t>(scales.size()), rows * grid.groups());
    double error = 0;
    for (size_t g = 0; g < scales.size(); ++g) {
      const float* x = w.data() + static_cast<int64_t>(g) * grid.group();
      const GridGroup group = hqq_fit(grid, x, grid.group());
      EXPECT_NEAR(group.scale, scales[g], 1e-3f * scales[g]) << spec << " " << g;
      EXPECT_NEAR(group.offset, offsets[g], 0.01f * scales[g]) << spec << " " << g;
      for (int64_t k = 0; k < grid.group(); ++k) {
        error += std::fabs(double{grid.round(x[k], group)} - x[k]);
      }
    }
    EXPECT_NEAR(error / expected["error"].get<double>(), 1, 0.005) << spec;
    EXPECT_LT(error, expected["round_to_nearest"].get<double>()) << spec;
  }
}

TEST(Hqq, GroupsOfOneValueAndOfTwo) {
  const auto grid = GroupGrid::create(parse_format("int3:g32,offset").value(), 1, 32).value();
  for (const float value : {0.0f, 0.25f, -3.0f}) {
    std::vector<float> x(32, value);
    const GridGroup same = hqq_fit(grid, x.data(), 32);
    EXPECT_EQ(grid.round(value, same), value);
    x[7] = value + 7;
    const GridGroup two = hqq_fit(grid, x.data(), 32);
    for (const float v : x) EXPECT_NEAR(grid.round(v, two), v, 0.01);
  }
}

TEST(Hqq, Refusals) {
  ThreadPool pool(2);
  test::TemporaryFolder folder;
  const auto source = open(test::family("qwen2"));
  const auto no_offset = compress(*source, recipe_of({{"format", "int4:g32"}, {"method", "hqq"}}),
                                  folder.file("x"), pool);
  ASSERT_FALSE(no_offset.ok());
  EXPECT_THAT(no_offset.error().message, HasSubstr("hqq: format int4:g32 has no offset"));
  test::Replaced broken(*source);
  const MatrixInfo info = matrices_of(source->config())[1];
  std::vector<float> w = test::matrix_of(*source, info).decode();
  w[5] = NAN;
  broken.matrices[info.name] = WeightMatrix::of_floats(w.data(), info.rows, info.cols);
  const auto nan = compress(broken, recipe_of({{"format", "int4:g16,offset"}, {"method", "hqq"}}),
                            folder.file("x"), pool);
  ASSERT_FALSE(nan.ok());
  EXPECT_THAT(nan.error().message, HasSubstr(info.name + ": weight [0, 5] is nan"));
  EXPECT_FALSE(std::filesystem::exists(folder.file("x")));
}

TEST(Clip, LosesLessOfTheOutputThanRoundingSlow) {
  const auto source = open(test::source_file("models/tiny"));
  test::TemporaryFolder folder;
  ThreadPool pool(2);
  const nlohmann::json data = {{"data", test::source_file("models/tiny/data/calibration.txt")},
                               {"samples", 4},
                               {"length", 64}};
  std::map<std::string, double> apart;
  const std::vector<float> want = test::logits_of(*source);
  for (const std::string method : {"rtn", "clip"}) {
    const Recipe recipe =
        recipe_of({{"format", "int3:g64"}, {"method", method}, {"calibration", data}});
    const auto report = compress(*source, recipe, folder.file(method), pool);
    ASSERT_TRUE(report.ok()) << report.error().message;
    const std::vector<float> got = test::logits_of(*open(folder.file(method)));
    for (size_t i = 0; i < want.size(); ++i) apart[method] += std::pow(got[i] - want[i], 2);
  }
  EXPECT_LT(apart["clip"], 0.7 * apart["rtn"]);
}

}  // namespace
}  // namespace lathe
