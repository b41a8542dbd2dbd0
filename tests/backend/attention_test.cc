// Attention against a plain double reference: grouped heads, windows, caps, both ways, several
// sequences, long caches; every type of the cache; the same bits for every number of threads;
// prefill against token by token.
#include <algorithm>
#include <cmath>

#include "backend_test_util.h"
#include "lathe/backend/cpu/kernel_tables.h"

namespace lathe {
namespace {

using testing::normal_tensor;

struct Case {
  int64_t heads, kv_heads, head_size;
  int64_t window;
  float soft_cap;
  struct Sequence {
    int64_t start, rows;
  };
  std::vector<Sequence> sequences;
  KvType type = KvType::kF32;
  bool causal = true;

  std::string repro(Isa isa) const {
    std::string s = fmt::format(
        "isa={} kv={} heads={} kv_heads={} head_size={} window={} cap={} causal={} spans=",
        name_of(isa), name_of(type), heads, kv_heads, head_size, window, soft_cap, causal);
    for (const auto& q : sequences) s += fmt::format("{}+{} ", q.start, q.rows);
    return s;
  }
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {4, 4, 16, 0, 0, {{0, 1}}},
      {4, 2, 8, 0, 0, {{0, 7}}},
      {8, 4, 8, 0, 0, {{0, 65}, {30, 3}}},
      {6, 2, 20, 0, 0, {{5, 70}}},
      {8, 1, 64, 0, 0, {{100, 1}, {0, 2}, {17, 1}}},
      {8, 2, 64, 0, 50.0f, {{0, 130}}},
      {4, 1, 32, 16, 0, {{0, 100}, {200, 1}}},
      {4, 2, 80, 64, 30.0f, {{63, 5}, {64, 1}}},
      {4, 1, 64, 0, 0, {{1300, 1}}},
      {4, 1, 64, 700, 0, {{1500, 2}}},
      {2, 2, 128, 1, 0, {{0, 20}}},
      {1, 1, 3, 0, 0, {{0, 33}}},
      {9, 1, 96, 0, 0, {{300, 6}}},
      {22, 2, 256, 0, 20.0f, {{513, 1}, {0, 3}}},
      {12, 12, 32, 0, 0, {{0, 1}, {0, 256}, {0, 49}, {0, 64}}, KvType::kF32, false},
      {4, 2, 8, 0, 20.0f, {{0, 130}, {5, 3}}, KvType::kF32, false},
      {1, 1, 3, 0, 0, {{0, 700}}, KvType::kF32, false},
  };
  return all;
}

struct Data {
  AttentionSpec spec;
  std::vector<KvCache> caches;
  std::vector<SequenceSpan> spans;
  Tensor q, k, v;
};

constexpr int64_t kLayers = 2, kLayer = 1;

Data make(const Case& c) {
  Data d;
  d.spec = {c.heads,    c.kv_heads, c.head_size, 1.0f / std::sqrt(static_cast<float>(c.head_size)),
            c.soft_cap, c.window,   c.causal};
  int64_t rows = 0;
  for (const auto& s : c.sequences) {
    d.caches.push_back(
        KvCache::create({kLayers, c.kv_heads, c.head_size, c.type}, s.start + s.rows + 3).value());
    const auto size = static_cast<size_t>(c.head_size);
    std::vector<float> key(size), value(size);
    Rng rng(static_cast<uint64_t>(s.start + 1));
    for (int64_t h = 0; h < c.kv_heads; ++h) {
      // What lies past the filled positions must not matter.
      for (int64_t at = 0; at < d.caches.back().capacity(); ++at) {
        for (size_t i = 0; i < size; ++i) {
          key[i] = at < s.start ? static_cast<float>(rng.normal()) : NAN;
          value[i] = at < s.start ? static_cast<float>(rng.normal()) : NAN;
        }
        d.caches.back().write(kLayer, h, at, key.data(), value.data());
      }
    }
    rows += s.rows;
  }
  int64_t first = 0;
  for (size_t i = 0; i < c.sequences.size(); ++i) {
    d.spans.push_back({&d.caches[i], first, c.sequences[i].rows, c.sequences[i].start});
    first += c.sequences[i].rows;
  }
  d.q = normal_tensor(rows, c.heads * c.head_size, 1, 2.0f);
  d.k = normal_tensor(rows, c.kv_heads * c.head_size, 2);
  d.v = normal_tensor(rows, c.kv_heads * c.head_size, 3);
  return d;
}

// Expected value of one query, from what the cache holds.
std::vector<double> reference(const Data& d, const SequenceSpan& span, int64_t row, int64_t head) {
  const AttentionSpec& s = d.spec;
  const int64_t kv = head / (s.heads / s.kv_heads), position = span.start + row;
  const int64_t from = s.window > 0 ? std::max<int64_t>(0, position - s.window + 1) : 0;
  const int64_t to = s.causal ? position : span.start + span.rows - 1;
  const float* q = d.q.row(span.first_row + row) + head * s.head_size;
  std::vector<double> scores;
  std::vector<float> key(static_cast<size_t>(s.head_size)), value(key);
  double most = -1e300;
  for (int64_t p = from; p <= to; ++p) {
    double score = 0;
    span.cache->read(kLayer, kv, p, key.data(), value.data());
    for (size_t i = 0; i < key.size(); ++i) score += double{q[i]} * key[i];
    score *= s.scale;
    if (s.soft_cap > 0) score = s.soft_cap * std::tanh(score / s.soft_cap);
    scores.push_back(score);
    most = std::max(most, score);
  }
  std::vector<double> out(static_cast<size_t>(s.head_size), 0.0);
  double total = 0;
  for (int64_t p = from; p <= to; ++p) {
    const double weight = std::exp(scores[static_cast<size_t>(p - from)] - most);
    total += weight;
    span.cache->read(kLayer, kv, p, key.data(), value.data());
    for (size_t i = 0; i < value.size(); ++i) out[i] += weight * value[i];
  }
  for (double& v : out) v /= total;
  return out;
}

constexpr KvType kTypes[] = {KvType::kF32, KvType::kF16, KvType::kBf16, KvType::kInt8,
                             KvType::kInt4};

class AttentionTest : public ::testing::TestWithParam<Isa> {};

// Against the reference over the values as the cache holds them: the kernels add no error of their
// own to that of the type.
TEST_P(AttentionTest, EqualsTheReference) {
  const auto one = testing::ops_of(GetParam(), 1, Math::kExact);
  const auto three = testing::ops_of(GetParam(), 3, Math::kExact);
  for (Case c : cases()) {
    for (const KvType type : kTypes) {
      c.type = type;
      Data d = make(c), other = make(c);
      const Tensor y = one->attention(d.spec, kLayer, d.spans, d.q, d.k, d.v);
      const Tensor z = three->attention(other.spec, kLayer, other.spans, other.q, other.k, other.v);
      ASSERT_EQ(testing::values_of(y), testing::values_of(z)) << "threads: " << c.repro(GetParam());
      for (const SequenceSpan& span : d.spans) {
        for (int64_t row = 0; row < span.rows; ++row) {
          for (int64_t head = 0; head < c.heads; ++head) {
            const std::vector<double> want = reference(d, span, row, head);
            const float* got = y.row(span.first_row + row) + head * c.head_size;
            for (int64_t i = 0; i < c.head_size; ++i) {
              ASSERT_NEAR(got[i], want[static_cast<size_t>(i)], 1e-5)
                  << c.repro(GetParam()) << "row=" << row << " head=" << head << " i=" << i;
            }
          }
        }
      }
    }
  }
}

// The largest difference of fast from exact math over all cases, below `bound`; the same bits for
// every number of threads.
void largest_error_of_fast_math(Isa isa, KvType type, double bound, double* most) {
  const auto exact = testing::ops_of(isa, 1, Math::kExact);
  const auto one = testing::ops_of(isa, 1), three = testing::ops_of(isa, 3);
  *most = 0;
  for (Case c : cases()) {
    c.type = type;
    Data d = make(c), other = make(c), again = make(c);
    const Tensor want = exact->attention(d.spec, kLayer, d.spans, d.q, d.k, d.v);
    const Tensor y = one->attention(other.spec, kLayer, other.spans, other.q, other.k, other.v);
    const Tensor z = three->attention(again.spec, kLayer, again.spans, again.q, again.k, again.v);
    ASSERT_EQ(testing::values_of(y), testing::values_of(z)) << "threads: " << c.repro(isa);
    for (int64_t i = 0; i < want.size(); ++i) {
      const double error = std::abs(double{want.data()[i]} - y.data()[i]);
      ASSERT_LT(error, bound) << c.repro(isa) << "i=" << i;
      *most = std::max(*most, error);
    }
  }
}

bool has_tiles_of_floats(Isa isa) {
  const cpu::FastKernels* fast = cpu::fast_kernels_of(isa, Math::kFast);
  return fast && fast->multiply_kv;
}

// An int8 cache in integers: queries and weights have 15 bits. Two-sided, so that f32 in their
// place shows.
TEST_P(AttentionTest, IntegersOfAnInt8Cache) {
  double most = 0;
  ASSERT_NO_FATAL_FAILURE(largest_error_of_fast_math(GetParam(), KvType::kInt8, 1e-3, &most));
  if (cpu::fast_kernels_of(GetParam(), Math::kFast)) {
    EXPECT_GT(most, 1e-7);
  } else {
    EXPECT_EQ(most, 0);
  }
}

// A cache of floats in tiles: 16 bits of both sides, two-sided as well; elsewhere fast math is
// exact math.
TEST_P(AttentionTest, FloatsInTiles) {
  for (const KvType type : {KvType::kF32, KvType::kF16, KvType::kBf16, KvType::kInt4}) {
    double most = 0;
    ASSERT_NO_FATAL_FAILURE(largest_error_of_fast_math(GetParam(), type, 1e-4, &most));
    if (has_tiles_of_floats(GetParam())) {
      EXPECT_GT(most, 1e-6) << name_of(type);
    } else {
      EXPECT_EQ(most, 0) << name_of(type);
    }
  }
}

TEST_P(AttentionTest, ErrorOfEachType) {
  struct Bound {
    KvType type;
    double low, high;
  };
  const auto ops = testing::ops_of(GetParam(), 1);
  Case c{8, 2, 64, 0, 0, {{200, 40}}};
  Data exact = make(c);
  const Tensor want = ops->attention(exact.spec, kLayer, exact.spans, exact.q, exact.k, exact.v);
  for (const Bound& bound : {Bound{KvType::kF16, 1e-5, 1e-3}, Bound{KvType::kBf16, 1e-3, 8e-3},
                             Bound{KvType::kInt8, 2e-3, 2e-2}, Bound{KvType::kInt4, 2e-2, 2e-1}}) {
    c.type = bound.type;
    Data d = make(c);
    const Tensor got = ops->attention(d.spec, kLayer, d.spans, d.q, d.k, d.v);
    double difference = 0, size = 0;
    for (int64_t i = 0; i < got.size(); ++i) {
      const double e = double{got.data()[i]} - want.data()[i];
      difference += e * e;
      size += double{want.data()[i]} * want.data()[i];
    }
    const double relative = std::sqrt(difference / size);
    EXPECT_GT(relative, bound.low) << c.repro(GetParam());
    EXPECT_LT(relative, bound.high) << c.repro(GetParam());
  }
}

// Many rows may go through tiles, which keep 16 bits; one row does not.
TEST_P(AttentionTest, PrefillEqualsTokenByToken) {
  const auto ops = testing::ops_of(GetParam(), 2);
  const double bound = has_tiles_of_floats(GetParam()) ? 1e-4 : 1e-5;
  for (const Case& c : cases()) {
    if (c.sequences.size() != 1 || c.sequences[0].rows == 1 || !c.causal) continue;
    Data d = make(c), step = make(c);
    const Tensor whole = ops->attention(d.spec, kLayer, d.spans, d.q, d.k, d.v);
    for (int64_t r = 0; r < d.spans[0].rows; ++r) {
      const std::vector<int64_t> take = {r};
      const SequenceSpan span{&step.caches[0], 0, 1, d.spans[0].start + r};
      const Tensor y = ops->attention(step.spec, kLayer, {&span, 1}, ops->take_rows(take, step.q),
                                      ops->take_rows(take, step.k), ops->take_rows(take, step.v));
      for (int64_t i = 0; i < y.cols(); ++i) {
        ASSERT_NEAR(y.row(0)[i], whole.row(r)[i], bound) << c.repro(GetParam()) << "row=" << r;
      }
    }
  }
}

// Scores that differ by hundreds: the running maximum must keep the sums finite.
TEST_P(AttentionTest, LargeScores) {
  const auto ops = testing::ops_of(GetParam(), 1);
  Data d = make({2, 1, 16, 0, 0, {{0, 200}}});
  d.q = normal_tensor(200, 32, 1, 300.0f);
  const Tensor y = ops->attention(d.spec, kLayer, d.spans, d.q, d.k, d.v);
  for (int64_t row = 0; row < 200; ++row) {
    const std::vector<double> want = reference(d, d.spans[0], row, 1);
    for (int64_t i = 0; i < 16; ++i) {
      ASSERT_NEAR(y.row(row)[16 + i], want[static_cast<size_t>(i)], 2e-3) << row;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Isas, AttentionTest, ::testing::ValuesIn(available_isas()),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace lathe
