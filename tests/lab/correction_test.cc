// The correction of a sum: exact where it was measured, and asked for more where it changes fast.
#include "lathe/lab/correction.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lathe {
namespace {

// Errors that saturate: what a mixture of so many bytes costs alone and together.
double sum_at(double bytes) { return 40 * std::exp2(-bytes / 100); }
double truth(double sum) { return sum / (1 + 2 * sum); }

Correction::Point point_at(double bytes) { return {bytes, sum_at(bytes), truth(sum_at(bytes))}; }

TEST(Correction, PassesThroughItsPointsAndKeepsTheLastFactorBeyond) {
  Correction correction;
  EXPECT_EQ(correction.predict(0.3), 0.3);
  correction.add({200, 0.1, 0.11});
  correction.add({100, 0.4, 0.2});
  correction.add({100, 0.4, 77});  // the same sum: the first one stays
  EXPECT_EQ(correction.size(), 2u);
  EXPECT_DOUBLE_EQ(correction.predict(0.1), 0.11);
  EXPECT_DOUBLE_EQ(correction.predict(0.4), 0.2);
  EXPECT_NEAR(correction.predict(0.2), 0.2 * std::sqrt(1.1 * 0.5), 1e-12);
  EXPECT_NEAR(correction.predict(0.05), 0.055, 1e-12);
  EXPECT_NEAR(correction.predict(0.8), 0.4, 1e-12);
  EXPECT_EQ(correction.predict(0), 0);
}

TEST(Correction, AsksForTheWidestGapThatIsNotClosed) {
  Correction correction;
  EXPECT_FALSE(correction.widest());
  correction.add({300, 0.1, 0.1});
  correction.add({200, 0.2, 0.21});  // 5 % apart
  EXPECT_FALSE(correction.widest());
  correction.add({150, 0.4, 0.336});  // 25 % from the one before
  correction.add({100, 0.8, 0.336});  // 50 %
  ASSERT_TRUE(correction.widest());
  EXPECT_EQ(*correction.widest(), std::pair(100.0, 150.0));
  correction.close({100, 150});
  EXPECT_EQ(*correction.widest(), std::pair(150.0, 200.0));
  correction.close({150, 200});
  EXPECT_FALSE(correction.widest());
  correction.add({99, 0.82, 0.6});  // more than kApart, but at the same sum
  EXPECT_FALSE(correction.widest());
}

TEST(Correction, RefinedUntilNeighboursAgreeItIsCloseEverywhere) {
  Correction coarse, fine;
  for (const double bytes : {100.0, 300.0, 900.0}) coarse.add(point_at(bytes));
  fine = coarse;
  while (const auto sizes = fine.widest()) {
    ASSERT_LT(fine.size(), 60u);
    fine.add(point_at(std::sqrt(sizes->first * sizes->second)));
  }
  double coarse_worst = 0, fine_worst = 0;
  for (double bytes = 100; bytes <= 900; bytes += 7) {
    const double sum = sum_at(bytes);
    coarse_worst = std::max(coarse_worst, std::abs(coarse.predict(sum) / truth(sum) - 1));
    fine_worst = std::max(fine_worst, std::abs(fine.predict(sum) / truth(sum) - 1));
  }
  EXPECT_GT(coarse_worst, 0.2);
  EXPECT_LT(fine_worst, 0.01);
}

}  // namespace
}  // namespace lathe
