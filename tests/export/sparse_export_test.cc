// Sparse layouts leave as the dense formats that they hold: the files are those of the same
// weights stored dense.
#include <gmock/gmock.h>

#include <cmath>
#include <map>

#include "export/export_support.h"
#include "lathe/base/mapped_file.h"
#include "lathe/export/verify.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

// The matrices of the blocks in one format, pruned to the half, others as in `base`.
class Stored : public Checkpoint {
 public:
  Stored(const Checkpoint& base, const std::string& spec)
      : Checkpoint(base.path(), base.config()), base_(base) {
    const FormatPtr format = parse_format(spec).value();
    for (const MatrixInfo& info : matrices_of(base.config())) {
      if (info.layer < 0) continue;
      std::vector<float> weights = base.matrix(info.name, info.rows, info.cols)->decode();
      for (float& w : weights) w = std::fabs(w) < 0.03f ? 0.0f : w;
      auto matrix = WeightMatrix::encode(format, weights.data(), info.rows, info.cols, info.name);
      EXPECT_TRUE(matrix.ok()) << matrix.error().message;
      matrices_[info.name] = std::move(*matrix);
    }
  }
  bool has(const std::string& name) const override { return base_.has(name); }
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const auto it = matrices_.find(name);
    if (it == matrices_.end()) return base_.matrix(name, rows, cols);
    return it->second;
  }
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    return base_.vector(name, size);
  }
  std::vector<std::string> weight_files() const override { return base_.weight_files(); }

 private:
  const Checkpoint& base_;
  std::map<std::string, WeightMatrix> matrices_;
};

struct Case {
  std::string target, format;
};

class SparseExport : public ::testing::TestWithParam<Case> {};

// All files below a folder, or the one file, by name.
std::map<std::string, std::string> files_of(const std::string& path) {
  std::map<std::string, std::string> out;
  if (!fs::is_directory(path)) return {{"", read_text(path).value()}};
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (!entry.is_regular_file()) continue;
    out[fs::relative(entry.path(), path)] = read_text(entry.path().string()).value();
  }
  return out;
}

TEST_P(SparseExport, IsTheExportOfTheSameWeightsStoredDense) {
  const auto base = test::open(test::tiny());
  test::TemporaryFolder folder;
  const auto [target, format] = GetParam();
  const std::string end = target == "gguf" ? "/model.gguf" : "/model";
  fs::create_directory(folder.file("sparse"));
  fs::create_directory(folder.file("dense"));
  const Stored sparse(*base, "sparse:" + format), dense(*base, format);
  const auto report = test::write(sparse, target, folder.file("sparse") + end);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto plain = test::write(dense, target, folder.file("dense") + end);
  ASSERT_TRUE(plain.ok()) << plain.error().message;
  EXPECT_EQ(files_of(folder.file("sparse") + end), files_of(folder.file("dense") + end));
  EXPECT_EQ(report->exact(), plain->exact());
  EXPECT_EQ(report->notes.size(), plain->notes.size() + 1);
  EXPECT_THAT(report->notes.back(), ::testing::HasSubstr("28 matrices in sparse layouts"));
  if (!report->exact()) return;
  const auto written = test::open(folder.file("sparse") + end);
  const auto verified =
      verify_export(sparse, *written, {.device = "cpu", .threads = 1, .math = Math::kExact});
  ASSERT_TRUE(verified.ok()) << verified.error().message;
  EXPECT_LE(verified->largest_difference, 1e-5 * verified->largest_logit);
}

INSTANTIATE_TEST_SUITE_P(All, SparseExport,
                         ::testing::Values(Case{"gguf", "int8:row"}, Case{"gguf", "int4:g32"},
                                           Case{"gguf", "bf16"}, Case{"hf", "int8:row"},
                                           Case{"hf", "bf16"}, Case{"bitsandbytes", "int8:row"},
                                           Case{"bitsandbytes", "nf4:b64"},
                                           Case{"gptq", "int4:g64"}, Case{"onnx", "int8:row"}));

TEST(SparseExport, PatternedLayoutsAreUnpackedToo) {
  const auto base = test::open(test::tiny());
  test::TemporaryFolder folder;
  const Stored sparse(*base, "sparse24:int8:row");
  const auto report = test::write(sparse, "bitsandbytes", folder.file("model"));
  ASSERT_TRUE(report.ok()) << report.error().message;
  EXPECT_TRUE(report->exact());
  const auto written = test::open(folder.file("model"));
  for (const MatrixInfo& info : matrices_of(base->config())) {
    EXPECT_EQ(written->matrix(info.name, info.rows, info.cols)->decode(),
              sparse.matrix(info.name, info.rows, info.cols)->decode())
        << info.name;
  }
}

}  // namespace
}  // namespace lathe
