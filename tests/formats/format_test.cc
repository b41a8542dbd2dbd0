// Conformance: what every format in the registry must do.
#include "lathe/formats/format.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "lathe/base/rng.h"
#include "lathe/formats/weight_matrix.h"

namespace lathe {
namespace {

std::vector<float> normal_weights(int64_t count, uint64_t seed) {
  Rng rng(seed);
  std::vector<float> w(static_cast<size_t>(count));
  for (float& x : w) x = static_cast<float>(0.02 * rng.normal());
  return w;
}

double snr_db(const std::vector<float>& truth, const std::vector<float>& got) {
  double signal = 0, noise = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    signal += double{truth[i]} * truth[i];
    noise += (double{truth[i]} - got[i]) * (double{truth[i]} - got[i]);
  }
  return 10 * std::log10(signal / noise);
}

class EveryFormat : public testing::TestWithParam<std::string> {
 protected:
  FormatPtr format_ = parse_format(GetParam()).value();
};

TEST_P(EveryFormat, SpecRoundTrips) {
  EXPECT_EQ(format_->spec(), GetParam());
  EXPECT_EQ(parse_format(format_->spec()).value()->id(), format_->id());
}

TEST_P(EveryFormat, ErrorOfNormalWeightsIsWithinItsTwoSidedBounds) {
  if (!format_->can_encode()) GTEST_SKIP() << "only read";
  const std::vector<float> w = normal_weights(64 * 512, 1);
  const auto m = WeightMatrix::encode(format_, w.data(), 64, 512, "w");
  ASSERT_TRUE(m.ok()) << m.error().message;
  const std::vector<float> got = m->decode();
  if (format_->lossless()) {
    EXPECT_EQ(got, w);
    return;
  }
  const double db = snr_db(w, got);
  RecordProperty("snr_db", std::to_string(db));
  printf("%-16s %6.2f dB  %.3f bits\n", GetParam().c_str(), db, format_->bits_per_weight(64, 512));
  EXPECT_GE(db, format_->snr().low_db);
  EXPECT_LE(db, format_->snr().high_db);
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryFormat, testing::ValuesIn(example_formats()));

}  // namespace
}  // namespace lathe
