// C −= A · B on every instruction set: exact where the numbers are whole, the same bits in any
// parts.
#include "lathe/backend/cpu/block_products.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <vector>

#include "lathe/backend/cpu/cpu_backend.h"

namespace lathe {
namespace {

std::vector<std::pair<std::string, const BlockProducts*>> sets() {
  std::vector<std::pair<std::string, const BlockProducts*>> out = {
      {"portable", &kBlockProductsPortable}};
  for (const Isa isa : available_isas()) {
    if (isa == Isa::kAvx2) out.emplace_back("avx2", &kBlockProductsAvx2);
    if (isa == Isa::kAvx512) out.emplace_back("avx512", &kBlockProductsAvx512);
  }
  return out;
}

void call(const BlockProducts& set, double* c, int64_t ldc, const double* a, int64_t lda,
          const double* b, int64_t ldb, int64_t m, int64_t n, int64_t k) {
  set.f64(c, ldc, a, lda, b, ldb, m, n, k);
}
void call(const BlockProducts& set, float* c, int64_t ldc, const float* a, int64_t lda,
          const float* b, int64_t ldb, int64_t m, int64_t n, int64_t k) {
  set.f32(c, ldc, a, lda, b, ldb, m, n, k);
}

template <typename T>
class BlockProduct : public ::testing::Test {};
using Numbers = ::testing::Types<double, float>;
TYPED_TEST_SUITE(BlockProduct, Numbers);

TYPED_TEST(BlockProduct, ExactForWholeNumbersOfEveryShape) {
  using T = TypeParam;
  std::mt19937 random(1);
  for (const auto& [name, set] : sets()) {
    for (const int64_t m : {1, 2, 3, 7, 8, 9, 17}) {
      for (const int64_t n : {1, 15, 16, 17, 31, 32, 33, 70}) {
        for (const int64_t k : {0, 1, 5, 64}) {
          const int64_t lda = k + 3, ldb = n + 1, ldc = n + 2;
          std::vector<T> a(static_cast<size_t>(m * lda)), b(static_cast<size_t>((k + 1) * ldb));
          std::vector<T> c(static_cast<size_t>(m * ldc));
          for (auto* all : {&a, &b, &c}) {
            for (T& x : *all) x = static_cast<T>(static_cast<int>(random() % 17) - 8);
          }
          std::vector<T> expected = c;
          for (int64_t i = 0; i < m; ++i) {
            for (int64_t j = 0; j < n; ++j) {
              for (int64_t x = 0; x < k; ++x) {
                expected[size_t(i * ldc + j)] -= a[size_t(i * lda + x)] * b[size_t(x * ldb + j)];
              }
            }
          }
          call(*set, c.data(), ldc, a.data(), lda, b.data(), ldb, m, n, k);
          ASSERT_EQ(c, expected) << name << " " << m << "×" << n << "×" << k;
        }
      }
    }
  }
}

TYPED_TEST(BlockProduct, TheSameBitsInEveryPart) {
  using T = TypeParam;
  const int64_t m = 21, n = 75, k = 64;
  std::mt19937 random(2);
  std::normal_distribution<double> normal;
  std::vector<T> a(static_cast<size_t>(m * k)), b(static_cast<size_t>(k * n)),
      c(static_cast<size_t>(m * n)), first;
  for (auto* all : {&a, &b, &c}) {
    for (T& x : *all) x = static_cast<T>(normal(random));
  }
  for (const auto& [name, set] : sets()) {
    std::vector<T> whole = c, parts = c;
    call(*set, whole.data(), n, a.data(), k, b.data(), n, m, n, k);
    for (int64_t row = 0; row < m; row += 5) {
      call(*set, parts.data() + row * n, n, a.data() + row * k, k, b.data(), n,
           std::min<int64_t>(5, m - row), n, k);
    }
    EXPECT_EQ(parts, whole) << name;
    if (first.empty()) first = whole;
    const double epsilon = std::numeric_limits<T>::epsilon();
    for (size_t i = 0; i < whole.size(); ++i) {
      ASSERT_NEAR(whole[i], first[i], 64 * 32 * epsilon) << name << " " << i;
    }
    EXPECT_NE(whole, c) << name;
  }
}

}  // namespace
}  // namespace lathe
