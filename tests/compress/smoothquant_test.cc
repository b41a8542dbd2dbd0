// SmoothQuant: what it evens out, and that the model computes the same.
#include <cmath>

#include "compress/compress_test_util.h"
#include "lathe/compress/calibration.h"
#include "lathe/compress/pass.h"
#include "lathe/compress/work_block.h"

namespace lathe {
namespace {

using test::open;
using test::recipe_of;
using ::testing::HasSubstr;

// With α = ½ the largest input of a channel and its largest weight become the same number.
TEST(SmoothQuant, MakesInputsAndWeightsAlike) {
  ThreadPool pool(2);
  for (const char* name : {"llama", "opt", "phi2", "gemma2"}) {
    const auto source = open(test::family(name));
    const ModelConfig& c = source->config();
    std::vector<std::vector<int32_t>> samples(2);
    for (int32_t i = 0; i < 32; ++i) {
      samples[size_t(i % 2)].push_back((i * i * 7 + 3) % static_cast<int32_t>(c.vocab));
    }
    const auto stream = std::move(*CalibrationStream::create(*source, samples, pool));
    CurrentModel current(*source);
    const FormatPtr stored = parse_format("int8:row").value();
    std::vector<std::string> sharing;
    WorkBlock block(
        current, 0, [&](const std::string& of) { return stream->collect(current, 0, of, sharing); },
        [&](const std::string&) { return stored; });
    const Pass* pass = find_pass("smoothquant").value();
    const nlohmann::json parameters = check_parameters(*pass, nlohmann::json::object()).value();
    const auto run = std::move(*pass->start({parameters, pool, nullptr}));
    const Status done = run->transform(block);
    ASSERT_TRUE(done.ok()) << done.error().message;
    int64_t compared = 0;
    for (const ScaleFold& fold : scale_folds(c, 0)) {
      if (fold.norm.empty()) continue;
      const auto stats = block.stats(fold.consumers.front()).value();
      for (int64_t k = 0; k < fold.channels; ++k) {
        float most = 0;
        for (const std::string& consumer : fold.consumers) {
          const std::vector<float> w = block.weights(consumer, pool).value();
          for (size_t i = size_t(k); i < w.size(); i += size_t(fold.channels)) {
            most = std::max(most, std::fabs(w[i]));
          }
        }
        ASSERT_NEAR(stats->largest[size_t(k)] / most, 1, 1e-3)
            << name << " " << fold.norm << " " << k;
        ++compared;
      }
    }
    EXPECT_GE(compared, c.hidden) << name;
    const std::vector<float> before = test::logits_of(*source), after = test::logits_of(current);
    for (size_t i = 0; i < before.size(); ++i) {
      ASSERT_NEAR(before[i], after[i], 2e-4 * std::max(1.0f, std::fabs(before[i]))) << name;
    }
  }
}

TEST(SmoothQuant, IsAMethodBeforeAnother) {
  const Recipe recipe = recipe_of({{"format", "int8:row"}, {"method", "smoothquant"}});
  ASSERT_EQ(recipe.steps.size(), 2u);
  EXPECT_EQ(recipe.steps[0].pass, "smoothquant");
  EXPECT_EQ(recipe.steps[1].pass, "rtn");
  const auto bad = recipe_from_json({{"passes", {{{"smoothquant", {{"alpha", 1.5}}}}}}});
  ASSERT_FALSE(bad.ok());
  EXPECT_THAT(bad.error().message, HasSubstr("must be a number from 0 to 1"));
}

}  // namespace
}  // namespace lathe
