// CheckOps finds what differs and lets pass what does not; TimedOps counts what passes by; the
// ceilings are plausible; the key-value cache keeps its books.
#include <cmath>

#include "backend_test_util.h"
#include "lathe/backend/ceilings.h"
#include "lathe/backend/check_ops.h"
#include "lathe/backend/tap_ops.h"

namespace lathe {
namespace {

using testing::normal_tensor;

// Every operation once.
void run_all(Ops& ops) {
  std::vector<Linear> w(2);
  for (size_t i = 0; i < 2; ++i) {
    w[i].name = i ? "second" : "first";
    w[i].weight = ops.pack(testing::random_weights(i ? "int4:g32" : "nf4:b64", 64, 64, i));
    w[i].bias.assign(64, 0.25f);
  }
  const WeightMatrix table = testing::random_weights("q8_0", 20, 64, 3);
  const std::vector<int32_t> ids = {3, 1, 4, 1, 5, 9}, positions = {0, 1, 2, 3, 4, 5};
  Norm n;
  n.name = "norm";
  n.weight.assign(64, 1.5f);
  Rope rope;
  rope.inverse_frequency = {1.0f, 0.1f, 0.01f, 0.001f};
  const AttentionSpec spec{4, 2, 16, 0.25f};
  KvCache cache = KvCache::create({1, 2, 16}, 6).value();
  const SequenceSpan span{&cache, 0, 6, 0};

  Tensor x = ops.embed(table, ids, 20.0f);
  const Tensor h = ops.norm(n, x);
  const Linear* both[] = {&w[0], &w[1]};
  std::vector<Tensor> qk = ops.linears(both, h);
  Tensor q = ops.rope(rope, positions, 16, std::move(qk[0]));
  const Tensor half = normal_tensor(6, 32, 8);
  Tensor a = ops.attention(spec, 0, {&span, 1}, q, half, half);
  x = ops.add(std::move(x), ops.linear(w[1], a));
  x = ops.gate(Activation::kSilu, std::move(x), qk[1]);
  x = ops.soft_cap(3.0f, ops.activate(Activation::kGeluErf, std::move(x)));
  const std::vector<int64_t> rows = {5};
  const Tensor last = ops.take_rows(rows, x);
  EXPECT_EQ(last.rows(), 1);
  EXPECT_TRUE(std::isfinite(last.row(0)[0]));
}

TEST(CheckOpsTest, InstructionSetsAgreeWithThePortableOne) {
  for (const Isa isa : available_isas()) {
    CheckOps exact(testing::ops_of(isa, 2, Math::kExact), testing::ops_of(Isa::kPortable, 1));
    EXPECT_EQ(exact.name(), "check(cpu " + name_of(isa) + ", cpu portable)");
    EXPECT_NO_THROW(run_all(exact));
    CheckOps fast(testing::ops_of(isa, 2), testing::ops_of(Isa::kPortable, 1), 1e-2f);
    EXPECT_NO_THROW(run_all(fast));
  }
}

// One operation computes something slightly wrong, in one element.
class FaultyOps final : public WrappedOps {
 public:
  FaultyOps(std::unique_ptr<Ops> inner, float factor)
      : WrappedOps(*inner), owned_(std::move(inner)), factor_(factor) {}
  Tensor gate(Activation f, Tensor gate, const Tensor& up) override {
    Tensor out = inner().gate(f, std::move(gate), up);
    out.mutable_row(2)[7] *= factor_;
    return out;
  }

 private:
  std::unique_ptr<Ops> owned_;
  float factor_;
};

TEST(CheckOpsTest, NamesTheFirstDifference) {
  for (const float factor : {1.1f, NAN, INFINITY}) {
    CheckOps ops(std::make_unique<FaultyOps>(testing::ops_of(Isa::kPortable, 1), factor),
                 testing::ops_of(Isa::kPortable, 1));
    try {
      run_all(ops);
      FAIL() << "the difference was not seen: factor " << factor;
    } catch (const CheckError& e) {
      EXPECT_NE(std::string(e.what()).find("gate: row 2 of 6, column 7 of 64"), std::string::npos)
          << e.what();
    }
  }
}

TEST(TimedOpsTest, CountsCallsTokensAndBytes) {
  const auto inner = testing::ops_of(Isa::kPortable, 1);
  TimedOps ops(*inner);
  run_all(ops);
  ASSERT_TRUE(ops.by_kind().contains("linear"));
  EXPECT_EQ(ops.by_kind().at("linear").calls, 3);
  EXPECT_EQ(ops.by_kind().at("linear").tokens, 18);
  EXPECT_GT(ops.by_kind().at("attention").seconds, 0);
  // Query, key, value; keys and values of 6 positions; the result.
  EXPECT_EQ(ops.by_kind().at("attention").bytes, 4 * (6 * 64 + 2 * 6 * 32 + 6 * 64 + 6 * 64));
  EXPECT_EQ(ops.by_linear().at("first").calls, 1);
  EXPECT_EQ(ops.by_linear().at("second").calls, 2);
  const auto packed = inner->pack(testing::random_weights("nf4:b64", 64, 64, 0));
  EXPECT_EQ(ops.by_linear().at("first").bytes, packed->bytes() + 2 * 6 * 64 * 4);
  ops.clear();
  EXPECT_TRUE(ops.by_kind().empty());
}

TEST(CeilingsTest, ArePlausible) {
  ThreadPool pool(2);
  const Ceilings c = measure_ceilings(pool);
  EXPECT_EQ(c.threads, 2);
  EXPECT_GT(c.read_bytes_per_s, 1e8);
  EXPECT_LT(c.read_bytes_per_s, 1e12);
  ASSERT_EQ(c.arithmetic.size(), available_isas().size());
  for (const auto& a : c.arithmetic) {
    EXPECT_GT(a.f32_flops_per_s, 1e8) << name_of(a.isa);
    // Two cores of today: 2 · 6 GHz · 2 units · 32 operations.
    EXPECT_LT(a.f32_flops_per_s, 1e12) << name_of(a.isa);
  }
}

TEST(KvCacheTest, KeepsItsBooks) {
  const int64_t before = KvCache::live_bytes();
  {
    KvCache a = KvCache::create({2, 3, 16}, 100).value();
    EXPECT_EQ(KvCache::live_bytes(), before);
    a.set_length(10);
    EXPECT_EQ(KvCache::live_bytes() - before, 2 * 2 * 3 * 16 * 10 * 4);
    a.set_length(5);  // what was filled stays counted
    EXPECT_EQ(KvCache::live_bytes() - before, 2 * 2 * 3 * 16 * 10 * 4);
    KvCache b = std::move(a);
    EXPECT_EQ(b.length(), 5);
  }
  EXPECT_EQ(KvCache::live_bytes(), before);
}

}  // namespace
}  // namespace lathe
