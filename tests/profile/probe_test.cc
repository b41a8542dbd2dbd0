// Probes on the bundled model: what they count, not how fast it was.
#include "lathe/profile/probe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "lathe/backend/ceilings.h"
#include "lathe/profile/phases.h"
#include "lathe/profile/roofline.h"

namespace lathe {
namespace {

class ProbeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    EngineOptions options;
    options.threads = 2;
    auto engine = open_engine("bundled", options);
    ASSERT_TRUE(engine.ok()) << engine.error().message;
    engine_ = std::move(*engine);
    auto checkpoint = open_checkpoint(engine_.model->path);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.error().message;
    checkpoint_ = std::move(*checkpoint);
  }

  std::vector<Measurement> run(const std::string& name, const nlohmann::json& parameters) {
    auto rows = run_probe(name, {engine_, *checkpoint_}, parameters);
    EXPECT_TRUE(rows.ok()) << rows.error().message;
    return rows.ok() ? *rows : std::vector<Measurement>{};
  }
  Error refusal(const std::string& name, const nlohmann::json& parameters) {
    auto rows = run_probe(name, {engine_, *checkpoint_}, parameters);
    EXPECT_FALSE(rows.ok());
    return rows.ok() ? Error{} : rows.error();
  }

  Engine engine_;
  decltype(open_checkpoint("").value()) checkpoint_;
};

std::map<std::string, Measurement> by_metric(const std::vector<Measurement>& rows) {
  std::map<std::string, Measurement> out;
  for (const Measurement& m : rows) out[m.metric] = m;
  return out;
}

TEST_F(ProbeTest, SharesOfTheCeilingsFollowFromTheSpeeds) {
  const Model& model = *engine_.model;
  const Phases timed = time_phases(engine_, 20, 5).value(), work = work_of(model, 20, 5);
  for (const auto& [a, b] :
       {std::pair(&timed.prefill, &work.prefill), std::pair(&timed.decode, &work.decode)}) {
    EXPECT_EQ(a->tokens, b->tokens);
    EXPECT_EQ(a->weight_bytes, b->weight_bytes);
    EXPECT_EQ(a->kv_bytes, b->kv_bytes);
    EXPECT_EQ(a->matrix_flops, b->matrix_flops);
    EXPECT_EQ(a->attention_flops, b->attention_flops);
  }
  std::vector<Measurement> latency(2);
  latency[0].metric = "decode_tokens_per_s";
  latency[0].value = 50;
  latency[1].metric = "prefill_tokens_per_s";
  latency[1].value = 1000;
  const Ceilings ceilings{2, 1e9, {{Isa::kPortable, 4e9}}, {{"int8", "amx", 8e9}}};
  const auto rows = by_metric(latency_ceiling_rows(model, 20, 6, latency, ceilings, "portable"));
  const double bytes = static_cast<double>(work.decode.weight_bytes + work.decode.kv_bytes) / 5;
  const double flops = (work.prefill.matrix_flops + work.prefill.attention_flops) / 20;
  EXPECT_DOUBLE_EQ(rows.at("decode_read_gb_per_s").value, bytes * 50 / 1e9);
  EXPECT_DOUBLE_EQ(rows.at("decode_percent_of_read").value, 100 * bytes * 50 / 1e9);
  EXPECT_DOUBLE_EQ(rows.at("prefill_gflop_per_s").value, flops * 1000 / 1e9);
  EXPECT_DOUBLE_EQ(rows.at("prefill_percent_of_f32_portable").value, 100 * flops * 1000 / 4e9);
  EXPECT_DOUBLE_EQ(rows.at("prefill_percent_of_int8_amx").value, 100 * flops * 1000 / 8e9);
  EXPECT_EQ(rows.size(), 5u);
  EXPECT_TRUE(latency_ceiling_rows(model, 20, 6, {}, ceilings, "portable").empty());
}

TEST_F(ProbeTest, PhasesCountWork) {
  const Phases phases = time_phases(engine_, 20, 5).value();
  const ModelConfig& c = engine_.model->config;
  EXPECT_EQ(phases.prefill.tokens, 20);
  EXPECT_EQ(phases.decode.tokens, 5);

  // Multiply-adds of one token in all matrices but the head, which sees the last token alone.
  const double layer =
      static_cast<double>(2 * c.hidden * c.heads * c.head_size +
                          2 * c.hidden * c.kv_heads * c.head_size + 3 * c.hidden * c.ffn);
  const double body = layer * static_cast<double>(c.layers);
  const auto head = static_cast<double>(c.hidden * c.vocab);
  EXPECT_EQ(phases.prefill.matrix_flops, 2 * (20 * body + head));
  EXPECT_EQ(phases.decode.matrix_flops, 2 * 5 * (body + head));
  const auto width = static_cast<double>(c.layers * c.heads * c.head_size);
  EXPECT_EQ(phases.prefill.attention_flops, 2 * width * 20 * 21);
  EXPECT_EQ(phases.decode.attention_flops, 4 * width * (21 + 22 + 23 + 24 + 25));
  EXPECT_EQ(phases.decode.kv_bytes,
            KvCache::bytes_for(engine_.model->kv_shape(), 21 + 22 + 23 + 24 + 25));

  // Each operation as often as the model has it.
  const auto calls = [](const Phase& phase, const char* kind) {
    const auto it = phase.by_kind.find(kind);
    return it == phase.by_kind.end() ? 0 : it->second.calls;
  };
  EXPECT_EQ(calls(phases.prefill, "attention"), c.layers);
  EXPECT_EQ(calls(phases.decode, "attention"), 5 * c.layers);
  EXPECT_EQ(calls(phases.decode, "linear"), 5 * (7 * c.layers + 1));
  EXPECT_EQ(phases.decode.by_linear.size(), static_cast<size_t>(7 * c.layers + 1));
  double known = 0;
  for (const auto& [kind, total] : phases.decode.by_kind) known += total.seconds;
  EXPECT_GT(known, 0);
  EXPECT_LE(known, phases.decode.seconds);
}

TEST_F(ProbeTest, TraceIsChromes) {
  const Phases phases = time_phases(engine_, 8, 2).value();
  const nlohmann::json trace = chrome_trace(phases);
  ASSERT_EQ(trace["traceEvents"].size(),
            phases.prefill.events.size() + phases.decode.events.size());
  double end = 0;
  int64_t decode = 0;
  for (const auto& e : trace["traceEvents"]) {
    EXPECT_EQ(e["ph"], "X");
    EXPECT_GE(e["ts"].get<double>(), end - 1e-3) << e;  // one after the other
    EXPECT_GE(e["dur"].get<double>(), 0);
    end = e["ts"].get<double>() + e["dur"].get<double>();
    if (e["args"]["phase"] == "decode") {
      ++decode;
      EXPECT_EQ(e["args"]["tokens"], 1);
    }
  }
  EXPECT_EQ(decode, static_cast<int64_t>(phases.decode.events.size()));
}

TEST_F(ProbeTest, SlowRooflineSharesAddUp) {
  const auto rows = run("roofline", {{"prompt", 16}, {"generate", 4}});
  double prefill = 0, decode = 0;
  for (const Measurement& m : rows) {
    EXPECT_TRUE(std::isfinite(m.value) && m.value >= 0) << m.metric;
    if (m.metric.rfind("prefill_share_", 0) == 0) prefill += m.value;
    if (m.metric.rfind("decode_share_", 0) == 0) decode += m.value;
  }
  EXPECT_NEAR(prefill, 100, 0.5);
  EXPECT_NEAR(decode, 100, 0.5);
  const auto named = by_metric(rows);
  EXPECT_EQ(named.count("decode_percent_of_read"), 1u);
  EXPECT_EQ(named.count("prefill_percent_of_f32_" + engine_.isa), 1u);
}

TEST_F(ProbeTest, BatchNamesItsSequences) {
  const auto rows = run("batch", {{"sequences", 3}, {"prompt", 4}, {"generate", 2}});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].extra["sequences"], 3);
  EXPECT_EQ(rows[0].n, 3);
  EXPECT_GT(rows[0].value, 0);
  EXPECT_LE(*rows[0].low, rows[0].value);
}

TEST_F(ProbeTest, SlowSparsityHasACrossoverForEachFormat) {
  std::map<std::string, int> times;
  int crossovers = 0;
  for (const Measurement& m : run("sparsity", {{"repetitions", 1}})) {
    if (m.metric.starts_with("crossover_sparsity_")) {
      ++crossovers;
      EXPECT_TRUE(0 <= m.value && m.value <= 1) << m.value;
      EXPECT_TRUE(m.format.starts_with("sparse:"));
      continue;
    }
    EXPECT_TRUE(m.metric.starts_with("matrix_us_" + m.format)) << m.metric;
    EXPECT_GT(m.value, 0);
    ++times[m.format];
  }
  EXPECT_EQ(crossovers, 3);
  EXPECT_EQ(times["int8:row"], 1);
  EXPECT_EQ(times["sparse:int8:row"], 10);
}

TEST_F(ProbeTest, BadParameters) {
  EXPECT_NE(refusal("batch", {{"sequences", 0}}).message.find("sequences"), std::string::npos);
  EXPECT_NE(refusal("batch", {{"prompt", 1 << 20}}).message.find("context"), std::string::npos);
  EXPECT_NE(refusal("sparsity", {{"repetitions", 0}}).message.find("repetitions"),
            std::string::npos);
  EXPECT_NE(refusal("roofline", {{"generate", 1 << 20}}).message.find("context"),
            std::string::npos);
  EXPECT_NE(refusal("roofline", {{"promt", 1}}).hint.find("prompt"), std::string::npos);
  EXPECT_NE(refusal("rofline", {}).hint.find("roofline"), std::string::npos);
}

TEST(CeilingsTest, SlowPeaksHaveNames) {
  ThreadPool pool(1);
  const Ceilings c = measure_ceilings(pool);
  EXPECT_EQ(c.threads, 1);
  EXPECT_GT(c.read_bytes_per_s, 0);
  EXPECT_EQ(c.arithmetic.size(), available_isas().size());
  for (const auto& peak : c.peaks) {
    EXPECT_GT(peak.ops_per_s, 0) << peak.type;
    EXPECT_TRUE(peak.type == "bf16" || peak.type == "int8") << peak.type;
    EXPECT_TRUE(peak.unit == "avx512" || peak.unit == "amx") << peak.unit;
  }
}

}  // namespace
}  // namespace lathe
