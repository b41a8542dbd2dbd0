// Compressing whole models: what is written reads back as what was meant.
#include <gtest/gtest.h>

#include "lathe/compress/compressor.h"
#include "support/files.h"

namespace lathe {
namespace {

TEST(Compress, Thin) {
  ThreadPool pool(2);
  test::TemporaryFolder folder;
  const auto source = open_checkpoint(test::source_file("tests/golden/families/llama"));
  ASSERT_TRUE(source.ok()) << source.error().message;
  const auto recipe = recipe_from_json({{"format", "int4:g32"}});
  ASSERT_TRUE(recipe.ok()) << recipe.error().message;
  const auto report = compress(**source, *recipe, folder.file("out"), pool);
  ASSERT_TRUE(report.ok()) << report.error().message;
  const auto again = open_checkpoint(folder.file("out"));
  ASSERT_TRUE(again.ok()) << again.error().message;
  for (const MatrixInfo& info : matrices_of((*source)->config())) {
    const auto before = (*source)->matrix(info.name, info.rows, info.cols);
    const auto after = (*again)->matrix(info.name, info.rows, info.cols);
    ASSERT_TRUE(after.ok()) << after.error().message;
    const auto format = parse_format(info.layer >= 0 ? "int4:g32" : "f16").value();
    const auto expected = WeightMatrix::encode(format, before->decode().data(), info.rows,
                                               info.cols, info.name);
    EXPECT_EQ(after->decode(), expected->decode()) << info.name;
  }
}

}  // namespace
}  // namespace lathe
