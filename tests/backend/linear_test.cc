// Matrix products of every format, instruction set, arithmetic (exact and fast) and shape against a
// double reference over WeightMatrix::decode(). Rungs of the ladder: exact on small integers;
// c·ε·Σ|w||x| otherwise, plus what fast arithmetic declares; sentinels behind the output; the same
// bits with 1 and 3 threads.
#include "lathe/backend/cpu/linear.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>

#include "backend_test_util.h"
#include "lathe/backend/cpu/kernel_tables.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/sparse.h"

namespace lathe {
namespace {

using testing::normal_tensor;
using testing::normal_values;
using testing::random_weights;

constexpr float kSentinel = 12345.0f;
constexpr int64_t kSentinels = 64;

// An instruction set with one of its arithmetics; `fast` is null for the exact one.
struct Way {
  std::string name;
  Isa isa;
  const cpu::FastKernels* fast;
};

std::vector<Way> ways() {
  std::vector<Way> list;
  for (const Isa isa : available_isas()) {
    list.push_back({name_of(isa) + "_exact", isa, nullptr});
    const cpu::FastKernels* fast = cpu::fast_kernels_of(isa, Math::kFast);
    if (fast) list.push_back({name_of(isa) + "_fast", isa, fast});
#if defined(__x86_64__)
    // Where this CPU does without its BF16 products, they are tested all the same.
    if (isa == Isa::kAvx512 && fast != &cpu::kAvx512Fast) {
      list.push_back({"avx512_bf16", isa, &cpu::kAvx512Fast});
    }
#endif
  }
  return list;
}

// The name that GoogleTest looks for.
// NOLINTNEXTLINE(readability-identifier-naming)
void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

std::vector<float> multiply(const Way& way, ThreadPool& pool, const WeightMatrix& w,
                            const Tensor& x, const std::vector<float>& bias,
                            const std::string& repro) {
  const auto packed = cpu::pack(w, pool, name_of(way.isa));
  std::vector<float> y(static_cast<size_t>(x.rows() * w.rows() + kSentinels), kSentinel);
  const cpu::Product product{packed.get(), bias.empty() ? nullptr : bias.data(), y.data()};
  cpu::multiply(cpu::kernels_of(way.isa), way.fast, pool, {&product, 1}, x);
  for (size_t i = y.size() - kSentinels; i < y.size(); ++i) {
    EXPECT_EQ(y[i], kSentinel) << "written past the output: " << repro;
  }
  y.resize(y.size() - kSentinels);
  return y;
}

// How far a sum of `depth` products in f32 may be off, times Σ|w||x|: each product and each
// addition rounds once, and so do scale, table and zero point. Sums run in at least 4·16 chains,
// but the bound does not count on that.
double bound(int64_t depth) { return (static_cast<double>(depth) + 16) * 0x1p-24; }

// Formats with a zero point or a minimum are summed as scale·Σqx − offset·Σx: what cancels between
// the two counts as well. The largest |w| of the row stands in for it, doubled.
bool has_offset(const FormatPtr& format) {
  const Format& f = *dense_format(format);
  if (f.encoding() == Encoding::kInt4) return int_layout(f).asymmetric;
  if (f.encoding() == Encoding::kBits) return bits_layout(f).zero != ZeroKind::kMiddle;
  return f.encoding() == Encoding::kGguf && !f.exact_zero();
}

// What fast arithmetic may add to the error of one element (docs/kernels.md).
struct FastBound {
  double of_weights = 0;   // times largest |x| · Σ|w|: x rounded to 15 bits or to bytes
  double of_products = 0;  // times Σ|w||x|: both rounded to BF16
  double of_inputs = 0;    // times largest |w| of all · Σ|x|: a table rounded to bytes
};

FastBound fast_bound(const Way& way, const FormatPtr& format, int64_t tokens) {
  const Format& f = *dense_format(format);
  const bool codes = f.encoding() != Encoding::kFloat;
  if (!way.fast || f.spec() == "f32") return {};
  const double of_inputs = f.encoding() == Encoding::kCodebook4 ? 0x1p-7 : 0.0;
  if (codes && way.fast->multiply_bytes && tokens > cpu::kFewTokens) {
    return {.of_weights = 0x1.03p-8, .of_inputs = of_inputs};
  }
  if (tokens > (codes ? cpu::kCodeTokens : cpu::kFewTokens)) {
    if (!way.fast->multiply_bf16) return {};
    return {.of_products = f.spec() == "bf16" ? 0x1p-8 : 0x1.02p-7};
  }
  if (!codes) return {};
  return {.of_weights = 0x1p-15, .of_inputs = of_inputs};
}

void check(const Way& way, ThreadPool& one, ThreadPool& three, const std::string& spec,
           int64_t rows, int64_t cols, int64_t tokens) {
  const std::string repro =
      fmt::format("way={} format={} rows={} cols={} tokens={}", way.name, spec, rows, cols, tokens);
  const WeightMatrix w = random_weights(spec, rows, cols, 7);
  if (w.empty()) return;
  const Tensor x = normal_tensor(tokens, cols, 11);
  const std::vector<float> bias = rows % 2 ? normal_values(rows, 3) : std::vector<float>();
  const std::vector<float> y = multiply(way, one, w, x, bias, repro);
  ASSERT_EQ(y, multiply(way, three, w, x, bias, repro)) << "threads change the result: " << repro;

  const std::vector<float> weights = w.decode();
  const bool offset = has_offset(w.format_ptr());
  const FastBound fast = fast_bound(way, w.format_ptr(), tokens);
  double widest_of_all = 0;
  for (const float v : weights) widest_of_all = std::max(widest_of_all, std::abs(double{v}));
  for (int64_t n = 0; n < rows; ++n) {
    double widest = 0;
    for (int64_t k = 0; k < cols; ++k) {
      widest = std::max(widest, std::abs(double{weights[static_cast<size_t>(n * cols + k)]}));
    }
    for (int64_t t = 0; t < tokens; ++t) {
      double sum = bias.empty() ? 0.0 : bias[static_cast<size_t>(n)], size = std::abs(sum);
      double all_weights = 0, all_products = 0, all_inputs = 0, most = 0;
      for (int64_t k = 0; k < cols; ++k) {
        const double a = weights[static_cast<size_t>(n * cols + k)], b = x.row(t)[k];
        sum += a * b;
        size += (std::abs(a) + (offset ? 2 * widest : 0.0)) * std::abs(b);
        all_weights += std::abs(a);
        all_products += std::abs(a * b);
        all_inputs += std::abs(b);
        most = std::max(most, std::abs(b));
      }
      // Matrices that are decoded when used stay exact: a smaller error passes as well.
      const double rounded = fast.of_products * all_products +
                             fast.of_weights * most * all_weights +
                             fast.of_inputs * widest_of_all * all_inputs;
      const double got = y[static_cast<size_t>(t * rows + n)];
      ASSERT_LE(std::abs(got - sum), bound(cols) * size + rounded)
          << repro << " row=" << n << " token=" << t << " got=" << got << " want=" << sum;
    }
  }
}

class LinearTest : public ::testing::TestWithParam<std::tuple<Way, std::string>> {
 protected:
  ThreadPool one_{1}, three_{3};
};

TEST_P(LinearTest, AllRowsAndTokens) {
  const auto& [way, spec] = GetParam();
  for (int64_t rows = 1; rows <= 33; ++rows) {
    for (const int64_t tokens : {1, 2, 3, 5, 13, 19}) {
      check(way, one_, three_, spec, rows, 64, tokens);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LinearTest, ManyColumns) {
  const auto& [way, spec] = GetParam();
  for (const int64_t cols : {1,  2,   3,   5,   7,   8,   9,   15,  17,  31,  33,  63,   65,
                             96, 100, 127, 129, 160, 256, 257, 320, 512, 520, 768, 1000, 1024}) {
    for (const int64_t tokens : {1, 2, 3, 4, 5, 12, 16, 17, 33}) {
      // Long rows: one case of few tokens, one of many.
      if (cols > 320 && tokens != 1 && tokens != 12 && tokens != 33) continue;
      check(way, one_, three_, spec, 19, cols, tokens);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(LinearTest, ManyTokens) {
  const auto& [way, spec] = GetParam();
  for (const int64_t tokens : {239, 240, 241, 500}) {
    check(way, one_, three_, spec, 35, 256, tokens);
    if (HasFatalFailure()) return;
  }
}

std::string name_of_case(const ::testing::TestParamInfo<std::tuple<Way, std::string>>& info) {
  std::string name = std::get<0>(info.param).name + "_" + std::get<1>(info.param);
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Formats, LinearTest,
                         ::testing::Combine(::testing::ValuesIn(ways()),
                                            ::testing::ValuesIn(example_formats())),
                         name_of_case);

class EachIsa : public ::testing::TestWithParam<Isa> {};
class EachWay : public ::testing::TestWithParam<Way> {};

// Weights and inputs are integers so small that every order of summation is exact.
TEST_P(EachWay, ExactOnSmallIntegers) {
  ThreadPool pool(2);
  const auto integer = [](Rng& rng, int most) {
    return static_cast<float>(static_cast<int>(rng.below(2 * static_cast<uint64_t>(most) + 1)) -
                              most);
  };
  for (const int64_t cols : {1, 7, 33, 256, 1000}) {
    for (const int64_t tokens : {1, 2, 3, 4, 5, 12, 13, 33}) {
      for (const char* spec : {"f32", "f16", "bf16"}) {
        Rng rng(static_cast<uint64_t>(cols * 100 + tokens));
        const int64_t rows = 37;
        std::vector<float> weights(static_cast<size_t>(rows * cols));
        for (float& v : weights) v = integer(rng, 16);
        std::vector<float> inputs(static_cast<size_t>(tokens * cols));
        for (float& v : inputs) v = integer(rng, 64);
        const WeightMatrix w =
            WeightMatrix::encode(parse_format(spec).value(), weights.data(), rows, cols, "integers")
                .value();
        const Tensor x = testing::tensor_of(inputs, tokens, cols);
        const std::string repro =
            fmt::format("way={} format={} cols={} tokens={}", GetParam().name, spec, cols, tokens);
        const std::vector<float> y = multiply(GetParam(), pool, w, x, {}, repro);
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t n = 0; n < rows; ++n) {
            int64_t sum = 0;
            for (int64_t k = 0; k < cols; ++k) {
              sum += static_cast<int64_t>(weights[static_cast<size_t>(n * cols + k)]) *
                     static_cast<int64_t>(inputs[static_cast<size_t>(t * cols + k)]);
            }
            ASSERT_EQ(y[static_cast<size_t>(t * rows + n)], static_cast<float>(sum))
                << repro << " row=" << n << " token=" << t;
          }
        }
      }
    }
  }
}

// A sequence's next token is the same whoever else is in the batch: up to kCodeTokens tokens for
// integer codes, from a bound on for all. Exact products sum 1, 2, 3 and 4 tokens in different
// numbers of chains.
TEST_P(EachWay, RowsDoNotDependOnTheBatch) {
  ThreadPool pool(2);
  const int64_t rows = 37, cols = 512;
  const Tensor x = normal_tensor(80, cols, 4);
  const auto row_of = [&](const WeightMatrix& w, int64_t from, int64_t tokens, int64_t row) {
    const Tensor part =
        testing::tensor_of({x.row(from), x.row(from) + tokens * cols}, tokens, cols);
    const auto y = multiply(GetParam(), pool, w, part, {}, GetParam().name);
    return std::vector<float>(y.begin() + row * rows, y.begin() + (row + 1) * rows);
  };
  for (const std::string& spec : example_formats()) {
    const WeightMatrix w = random_weights(spec, rows, cols, 7);
    if (w.empty()) continue;
    const Encoding encoding = code_encoding(w.format_ptr());
    const bool codes = GetParam().fast && encoding != Encoding::kFloat &&
                       encoding != Encoding::kInt8Outliers;  // decoded when used
    const bool bytes = codes && GetParam().fast->multiply_bytes;
    const int64_t small = codes && !bytes ? cpu::kCodeTokens : cpu::kFewTokens;
    for (int64_t t = 2; codes && t <= small; ++t) {
      EXPECT_EQ(row_of(w, 0, t, t - 1), row_of(w, t - 1, 1, 0)) << spec << " tokens=" << t;
    }
    for (const int64_t t : {small + 1, small + 5, int64_t{40}, int64_t{63}, int64_t{65}}) {
      EXPECT_EQ(row_of(w, 0, t, t - 1), row_of(w, 0, 80, t - 1)) << spec << " tokens=" << t;
    }
  }
}

// What is not a number stays so, and does not spread to other rows.
TEST_P(EachWay, NotANumberComesThrough) {
  ThreadPool pool(1);
  const float infinity = std::numeric_limits<float>::infinity();
  for (const char* spec : {"f32", "bf16", "int8:row", "int4:g32", "nf4:b64", "q4_k", "q6_k"}) {
    for (const float poison : {std::nanf(""), infinity, -infinity}) {
      for (const int64_t tokens : {3, 40}) {
        Tensor x = normal_tensor(tokens, 256, 4);
        x.mutable_row(1)[77] = poison;
        const WeightMatrix w = random_weights(spec, 16, 256, 1);
        const std::vector<float> y = multiply(GetParam(), pool, w, x, {}, spec);
        for (int64_t i = 0; i < tokens * 16; ++i) {
          EXPECT_EQ(std::isfinite(y[static_cast<size_t>(i)]), i / 16 != 1)
              << GetParam().name << " " << spec << " " << poison << " " << i;
        }
      }
    }
  }
}

TEST_P(EachIsa, SeveralProductsOfOneInput) {
  const auto ops = testing::ops_of(GetParam(), 3);
  const Tensor x = normal_tensor(2, 128, 1);
  std::vector<Linear> linears(3);
  std::vector<const Linear*> pointers;
  const char* specs[] = {"f32", "int4:g64", "q4_1"};
  for (size_t i = 0; i < 3; ++i) {
    linears[i].weight = ops->pack(random_weights(specs[i], 20 + static_cast<int64_t>(i), 128, i));
    pointers.push_back(&linears[i]);
  }
  const std::vector<Tensor> together = ops->linears(pointers, x);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(testing::values_of(together[i]), testing::values_of(ops->linear(linears[i], x)));
  }
}

TEST_P(EachIsa, NoTokens) {
  const auto ops = testing::ops_of(GetParam(), 2);
  Linear w;
  w.weight = ops->pack(random_weights("f32", 5, 8, 1));
  const Tensor y = ops->linear(w, Tensor(0, 8));
  EXPECT_EQ(y.rows(), 0);
  EXPECT_EQ(y.cols(), 5);
}

// A sparse matrix takes less memory and gives the sums of the dense one, bit by bit.
TEST_P(EachWay, SparseMatricesMultiplyAsDenseOnes) {
  ThreadPool pool(2);
  for (const char* dense : {"bf16", "f16", "int8:row", "int8:g32", "int4:g64", "int4:g32,asym",
                            "int4:row", "nf4:b64", "fp4:b64,dq"}) {
    for (const auto& [rows, cols] : {std::pair{37, 640}, {16, 64}, {5, 320}}) {
      const std::string spec = std::string("sparse:") + dense;
      const WeightMatrix sparse = random_weights(spec, rows, cols, 3);
      const WeightMatrix whole = to_dense(sparse);
      const auto packed = cpu::pack(sparse, pool, "test");
      EXPECT_EQ(packed->kernel(), "sparse test");
      if (cols == 640) {
        EXPECT_LT(packed->bytes(), cpu::pack(whole, pool, "test")->bytes()) << spec;
      }
      for (const int64_t tokens : {1, 3, 16, 40}) {
        const Tensor x = normal_tensor(tokens, cols, 11);
        EXPECT_EQ(multiply(GetParam(), pool, sparse, x, {}, spec),
                  multiply(GetParam(), pool, whole, x, {}, dense))
            << GetParam().name << " " << spec << " " << cols << " " << tokens;
      }
    }
  }
}

// A matrix that every packer declines is decoded when used, from its own bytes.
TEST_P(EachWay, OddBlocksAreDecodedWhenUsed) {
  ThreadPool one(1), three(3);
  for (const char* spec : {"nf4:b64", "fp4:b64,dq"}) {
    const int64_t cols = 100;
    const WeightMatrix w = random_weights(spec, 33, cols, 5);
    const auto packed = cpu::pack(w, one, "test");
    EXPECT_EQ(packed->kernel(), "decode test") << spec;
    EXPECT_EQ(packed->bytes(), w.bytes());
    for (const int64_t tokens : {1, 4, 13}) check(GetParam(), one, three, spec, 33, cols, tokens);
  }
}

// Scales of 8 bits stay so: bits per weight that a decode step reads.
TEST_P(EachIsa, SmallScalesAreNotExpanded) {
  ThreadPool pool(1);
  const std::pair<const char*, double> held[] = {
      {"mxfp4", 4.25}, {"nvfp4", 4.5}, {"nf4:b64,dq", 4.1407}, {"fp4:b64,dq", 4.1407}};
  for (const auto& [spec, bits] : held) {
    const auto packed = cpu::pack(random_weights(spec, 32, 2048, 5), pool, "test");
    EXPECT_NEAR(8.0 * static_cast<double>(packed->bytes()) / (32 * 2048), bits, 1e-3) << spec;
  }
}

// A scale of 2^−127 is no f32 in the usual form: the kernel's shortcut would lose it.
TEST_P(EachWay, SmallestScaleCounts) {
  ThreadPool pool(1);
  const std::vector<float> weights(16 * 64, 0x1p-126f);
  const WeightMatrix w =
      WeightMatrix::encode(parse_format("mxfp4").value(), weights.data(), 16, 64, "tiny").value();
  const Tensor x = testing::tensor_of(std::vector<float>(64, 0x1p100f), 1, 64);
  for (const float y : multiply(GetParam(), pool, w, x, {}, "tiny")) {
    EXPECT_NEAR(y, 0x1p-20f, 0x1p-30f) << GetParam().name;
  }
}

TEST_P(EachIsa, ExplainsItsChoice) {
  const auto choices = explain_cpu_kernel(GetParam(), random_weights("nf4:b64", 8, 100, 1));
  ASSERT_GE(choices.size(), 2u);
  EXPECT_EQ(choices.back().kernel, "decode " + name_of(GetParam()));
  EXPECT_EQ(choices.back().reason, "");
  const auto book = std::find_if(choices.begin(), choices.end(), [](const KernelChoice& c) {
    return c.kernel.starts_with("code book");
  });
  ASSERT_NE(book, choices.end());
  EXPECT_EQ(book->reason, "blocks of 64 cross the rows of 100 columns");
}

INSTANTIATE_TEST_SUITE_P(Ways, EachWay, ::testing::ValuesIn(ways()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Isas, EachIsa, ::testing::ValuesIn(available_isas()),
                         [](const auto& info) { return name_of(info.param); });

TEST(MathTest, EnvironmentForcesOne) {
  const char* before = std::getenv("LATHE_MATH");
  const std::string saved = before ? before : "";
  ::setenv("LATHE_MATH", "exact", 1);
  EXPECT_EQ(chosen_math().value(), Math::kExact);
  for (const char* fast : {"fast", ""}) {
    ::setenv("LATHE_MATH", fast, 1);
    EXPECT_EQ(chosen_math().value(), Math::kFast);
  }
  ::setenv("LATHE_MATH", "sloppy", 1);
  ASSERT_FALSE(chosen_math().ok());
  EXPECT_EQ(chosen_math().error().code, ErrorCode::kBadInput);
  before ? ::setenv("LATHE_MATH", saved.c_str(), 1) : ::unsetenv("LATHE_MATH");
}

}  // namespace
}  // namespace lathe
