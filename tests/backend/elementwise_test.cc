// Norms, activations, rotation and the small operations against double references, on every
// instruction set and every length around the vector size.
#include <cmath>
#include <functional>
#include <limits>

#include "backend_test_util.h"
#include "lathe/backend/cpu/kernel_tables.h"

namespace lathe {
namespace {

using testing::normal_tensor;
using testing::normal_values;
using testing::tensor_of;

class Elementwise : public ::testing::TestWithParam<Isa> {
 protected:
  std::unique_ptr<Ops> ops_ = testing::ops_of(GetParam(), 2);
};

double reference(Activation f, double x) {
  switch (f) {
    case Activation::kSilu:
      return x / (1 + std::exp(-x));
    case Activation::kGeluErf:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case Activation::kGeluTanh:
      return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Activation::kRelu:
      return x > 0 ? x : 0;
  }
  return 0;
}

// Relative to the result; below 1e-30 the result may be flushed to zero.
void expect_close(double got, double want, double tolerance, double x) {
  EXPECT_LE(std::abs(got - want), tolerance * std::abs(want) + 1e-30)
      << "x=" << x << " got=" << got << " want=" << want;
}

TEST_P(Elementwise, ActivationsAreAccurateEverywhere) {
  for (const Activation f :
       {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh, Activation::kRelu}) {
    std::vector<float> x;
    for (int i = -60000; i <= 60000; ++i) x.push_back(static_cast<float>(i) * 1e-3f);
    for (const float v : {0.0f, 1e-30f, -1e-30f, 1e-6f, -1e-6f, 1000.0f, -1000.0f}) x.push_back(v);
    const Tensor y = ops_->activate(f, tensor_of(x, 1, static_cast<int64_t>(x.size())));
    for (size_t i = 0; i < x.size(); ++i) {
      // In the left tail of GELU (tanh) the exponent is a rounded f32, five roundings deep.
      const double exponent =
          f == Activation::kGeluTanh ? std::abs(1.6 * x[i] * (1 + 0.045 * x[i] * x[i])) : 0;
      const double tolerance = 1e-6 + (x[i] < 0 ? std::min(exponent, 80.0) * 2.5e-7 : 0);
      expect_close(y.data()[i], reference(f, x[i]), tolerance, x[i]);
      if (HasFailure()) return;
    }
  }
}

TEST_P(Elementwise, ActivationsKeepNan) {
  for (const Activation f :
       {Activation::kSilu, Activation::kGeluErf, Activation::kGeluTanh, Activation::kRelu}) {
    Tensor x(1, 20);
    std::fill_n(x.mutable_data(), 20, std::numeric_limits<float>::quiet_NaN());
    const Tensor y = ops_->activate(f, std::move(x));
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(std::isnan(y.data()[i])) << static_cast<int>(f);
  }
}

TEST_P(Elementwise, SoftCap) {
  std::vector<float> x;
  for (int i = -4000; i <= 4000; ++i) x.push_back(static_cast<float>(i) * 0.05f);
  for (const float v : {1e-5f, -1e-5f, 0.0f}) x.push_back(v);
  const Tensor y = ops_->soft_cap(30.0f, tensor_of(x, 1, static_cast<int64_t>(x.size())));
  for (size_t i = 0; i < x.size(); ++i) {
    expect_close(y.data()[i], 30.0 * std::tanh(x[i] / 30.0), 1e-6, x[i]);
    if (HasFailure()) return;
  }
}

// Every length 0 … 49 of the kernels that work on runs, with a sentinel behind.
TEST_P(Elementwise, LengthsAndSentinels) {
  const cpu::Kernels& k = cpu::kernels_of(GetParam());
  for (int64_t n = 0; n <= 49; ++n) {
    const std::vector<float> a = normal_values(n, 1), b = normal_values(n, 2),
                             c = normal_values(n, 3);
    const auto run = [&](const char* what, const std::function<void(float*)>& call,
                         const std::function<double(size_t)>& want) {
      std::vector<float> y = a;
      y.resize(static_cast<size_t>(n) + 20, 99.0f);
      call(y.data());
      for (size_t i = 0; i < y.size(); ++i) {
        const double expected = i < static_cast<size_t>(n) ? want(i) : 99.0;
        ASSERT_NEAR(y[i], expected, 2e-6 * (1 + std::abs(expected)))
            << what << " isa=" << name_of(GetParam()) << " n=" << n << " i=" << i;
      }
    };
    run(
        "add", [&](float* y) { k.add(y, b.data(), n); },
        [&](size_t i) { return double{a[i]} + b[i]; });
    run(
        "scale", [&](float* y) { k.scale(y, 1.5f, n); }, [&](size_t i) { return 1.5 * a[i]; });
    run(
        "gate", [&](float* y) { k.gate(cpu::Unary::kSilu, y, b.data(), n); },
        [&](size_t i) { return reference(Activation::kSilu, a[i]) * b[i]; });
    double squares = 0, mean = 0, variance = 0;
    for (const float v : a) squares += double{v} * v, mean += v;
    mean /= static_cast<double>(n);
    for (const float v : a) variance += (v - mean) * (v - mean);
    const double rms = 1 / std::sqrt(squares / static_cast<double>(n) + 1e-5);
    const double deviation = 1 / std::sqrt(variance / static_cast<double>(n) + 1e-5);
    if (n > 0) {
      run(
          "rms", [&](float* y) { k.rms_norm(a.data(), b.data(), 1e-5f, n, y); },
          [&](size_t i) { return a[i] * rms * b[i]; });
      run(
          "layer", [&](float* y) { k.layer_norm(a.data(), b.data(), c.data(), 1e-5f, n, y); },
          [&](size_t i) { return (a[i] - mean) * deviation * b[i] + c[i]; });
      run(
          "layer without bias",
          [&](float* y) { k.layer_norm(a.data(), b.data(), nullptr, 1e-5f, n, y); },
          [&](size_t i) { return (a[i] - mean) * deviation * b[i]; });
    }
    if (n % 2 == 0) {
      const auto half = static_cast<size_t>(n / 2);
      run(
          "rotate", [&](float* y) { k.rotate(y, b.data(), c.data(), n / 2); },
          [&](size_t i) {
            return i < half ? double{a[i]} * b[i] - double{a[i + half]} * c[i]
                            : double{a[i]} * b[i - half] + double{a[i - half]} * c[i - half];
          });
    }
    double product = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      product += double{a[i]} * b[i];
      size += std::abs(double{a[i]} * b[i]);
    }
    ASSERT_NEAR(k.dot(a.data(), b.data(), n), product, size * 1e-6 + 1e-12) << n;
  }
}

TEST_P(Elementwise, LayerNormOfLargeMean) {
  std::vector<float> x = normal_values(1000, 1);
  for (float& v : x) v += 100.0f;
  Norm n;
  n.kind = NormKind::kLayer;
  n.weight.assign(1000, 1.0f);
  const Tensor y = ops_->norm(n, tensor_of(x, 1, 1000));
  double mean = 0, variance = 0;
  for (const float v : x) mean += v / 1000.0;
  for (const float v : x) variance += (v - mean) * (v - mean) / 1000.0;
  for (int i = 0; i < 1000; ++i) {
    ASSERT_NEAR(y.data()[i], (x[static_cast<size_t>(i)] - mean) / std::sqrt(variance + 1e-5), 5e-5);
  }
}

TEST_P(Elementwise, NormOfHeads) {
  Norm n;
  n.eps = 1e-6f;
  n.weight = normal_values(8, 1);
  const Tensor x = normal_tensor(3, 32, 2);
  const Tensor y = ops_->norm(n, x);
  for (int64_t r = 0; r < 3; ++r) {
    for (int64_t h = 0; h < 4; ++h) {
      double squares = 0;
      for (int64_t i = 0; i < 8; ++i) squares += std::pow(x.row(r)[8 * h + i], 2);
      for (int64_t i = 0; i < 8; ++i) {
        ASSERT_NEAR(
            y.row(r)[8 * h + i],
            x.row(r)[8 * h + i] / std::sqrt(squares / 8 + 1e-6) * n.weight[static_cast<size_t>(i)],
            1e-5);
      }
    }
  }
}

// Angles are rounded to f32 as in the reference implementation; only their cosine is exact.
TEST_P(Elementwise, RopeAtFarPositions) {
  Rope rope;
  rope.scale = 0.5f;
  for (int i = 0; i < 20; ++i) {
    rope.inverse_frequency.push_back(static_cast<float>(std::pow(10000.0, -i / 20.0)));
  }
  const std::vector<int32_t> positions = {0, 1, 4095, 131071};
  const Tensor x = normal_tensor(4, 96, 5);  // two heads of 48, of which 40 rotate
  const Tensor y = ops_->rope(rope, positions, 48, tensor_of(testing::values_of(x), 4, 96));
  for (int64_t t = 0; t < 4; ++t) {
    for (int64_t h = 0; h < 96; h += 48) {
      for (int64_t i = 0; i < 20; ++i) {
        const double angle = static_cast<float>(positions[static_cast<size_t>(t)]) *
                             rope.inverse_frequency[static_cast<size_t>(i)];
        const double a = x.row(t)[h + i], b = x.row(t)[h + i + 20];
        ASSERT_NEAR(y.row(t)[h + i], 0.5 * (a * std::cos(angle) - b * std::sin(angle)), 1e-6);
        ASSERT_NEAR(y.row(t)[h + i + 20], 0.5 * (b * std::cos(angle) + a * std::sin(angle)), 1e-6);
      }
      for (int64_t i = 40; i < 48; ++i) ASSERT_EQ(y.row(t)[h + i], x.row(t)[h + i]);
    }
  }
  // The table is kept for the same positions, and made anew for others.
  const std::vector<int32_t> other = {0, 1, 4095, 7};
  const Tensor z = ops_->rope(rope, other, 48, tensor_of(testing::values_of(x), 4, 96));
  EXPECT_EQ(z.row(2)[3], y.row(2)[3]);
  EXPECT_NE(z.row(3)[3], y.row(3)[3]);
}

TEST_P(Elementwise, SharedTensorsAreNotWrittenTo) {
  const Tensor x = normal_tensor(2, 24, 1);
  const std::vector<float> before = testing::values_of(x);
  ops_->activate(Activation::kSilu, x);
  ops_->add(x, x);
  ops_->gate(Activation::kGeluTanh, x, x);
  ops_->soft_cap(2.0f, x);
  EXPECT_EQ(testing::values_of(x), before);
}

TEST_P(Elementwise, AddOneRowToAll) {
  const Tensor x = normal_tensor(5, 20, 1), b = normal_tensor(1, 20, 2);
  const Tensor y = ops_->add(x, b);
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t i = 0; i < 20; ++i) ASSERT_EQ(y.row(r)[i], x.row(r)[i] + b.row(0)[i]);
  }
}

TEST_P(Elementwise, EmbedAndTakeRows) {
  const WeightMatrix table = testing::random_weights("int4:g16", 11, 48, 3);
  const std::vector<float> all = table.decode();
  const std::vector<int32_t> ids = {10, 0, 3, 3};
  const Tensor e = ops_->embed(table, ids, 2.0f);
  const std::vector<int64_t> rows = {3, 0};
  const Tensor taken = ops_->take_rows(rows, e);
  for (int64_t i = 0; i < 48; ++i) {
    ASSERT_EQ(e.row(0)[i], 2.0f * all[static_cast<size_t>(480 + i)]);
    ASSERT_EQ(taken.row(0)[i], e.row(3)[i]);
    ASSERT_EQ(taken.row(1)[i], e.row(0)[i]);
  }
}

// Large tensors are split over threads; the bits must not change.
TEST_P(Elementwise, ThreadsDoNotChangeBits) {
  const auto three = testing::ops_of(GetParam(), 3);
  const Tensor x = normal_tensor(70, 1003, 1), up = normal_tensor(70, 1003, 2);
  Norm n;
  n.weight = normal_values(1003, 3);
  EXPECT_EQ(testing::values_of(ops_->norm(n, x)), testing::values_of(three->norm(n, x)));
  EXPECT_EQ(testing::values_of(ops_->gate(Activation::kSilu, x, up)),
            testing::values_of(three->gate(Activation::kSilu, x, up)));
  EXPECT_EQ(testing::values_of(ops_->activate(Activation::kGeluErf, x)),
            testing::values_of(three->activate(Activation::kGeluErf, x)));
}

INSTANTIATE_TEST_SUITE_P(Isas, Elementwise, ::testing::ValuesIn(available_isas()),
                         [](const auto& info) { return name_of(info.param); });

TEST(IsaTest, EnvironmentForcesOne) {
  const char* before = std::getenv("LATHE_ISA");
  const std::string saved = before ? before : "";
  ::setenv("LATHE_ISA", "portable", 1);
  EXPECT_EQ(chosen_isa().value(), Isa::kPortable);
  ::setenv("LATHE_ISA", "sse", 1);
  ASSERT_FALSE(chosen_isa().ok());
  EXPECT_EQ(chosen_isa().error().code, ErrorCode::kBadInput);
  ::setenv("LATHE_ISA", "", 1);
  EXPECT_EQ(chosen_isa().value(), available_isas().front());
  before ? ::setenv("LATHE_ISA", saved.c_str(), 1) : ::unsetenv("LATHE_ISA");
}

}  // namespace
}  // namespace lathe
