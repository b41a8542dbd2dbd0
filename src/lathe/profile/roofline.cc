#include "lathe/profile/roofline.h"

#include <algorithm>

#include "lathe/profile/phases.h"
#include "lathe/profile/probe_list.h"

namespace lathe {
namespace {

void add_operations(const char* name, const Phase& phase, std::vector<Measurement>& rows) {
  const auto share = [&](const std::string& kind, double seconds, int64_t calls) {
    rows.push_back(probe_row("roofline", fmt::format("{}_share_{}", name, kind),
                             100 * seconds / phase.seconds, calls, "%", ""));
    rows.back().extra["ms"] = 1e3 * seconds;
  };
  double known = 0;
  for (const auto& [kind, total] : phase.by_kind) {
    share(kind, total.seconds, total.calls);
    known += total.seconds;
  }
  // What lies between the operations: the choice of the token, the batch, the clock itself.
  share("other", std::max(0.0, phase.seconds - known), phase.tokens);
}

Result<std::vector<Measurement>> run(const ProbeContext& context, const nlohmann::json& p) {
  const Engine& engine = context.engine;
  LATHE_TRY_IN(const Phases phases,
               time_phases(engine, p["prompt"].get<int64_t>(), p["generate"].get<int64_t>()),
               "probe 'roofline'");
  const Ceilings ceilings = measure_ceilings(engine.ops->threads());
  const Phase &decode = phases.decode, &prefill = phases.prefill;
  const Reached reached = {
      static_cast<double>(decode.weight_bytes + decode.kv_bytes) / decode.seconds,
      (prefill.matrix_flops + prefill.attention_flops) / prefill.seconds, decode.tokens,
      prefill.tokens};
  std::vector<Measurement> rows = ceiling_rows(reached, ceilings, engine.isa);
  add_operations("prefill", prefill, rows);
  add_operations("decode", decode, rows);
  return rows;
}

}  // namespace

std::vector<Measurement> ceiling_rows(const Reached& reached, const Ceilings& ceilings,
                                      const std::string& isa) {
  std::vector<Measurement> rows;
  const auto percent = [&](std::string metric, double value) {
    rows.push_back(probe_row("roofline", std::move(metric), 100 * value, 1, "%", "higher"));
  };
  rows.push_back(probe_row("roofline", "decode_read_gb_per_s", reached.decode_bytes_per_s / 1e9,
                           reached.decode_tokens, "GB/s", "higher"));
  percent("decode_percent_of_read", reached.decode_bytes_per_s / ceilings.read_bytes_per_s);
  rows.push_back(probe_row("roofline", "prefill_gflop_per_s", reached.prefill_flops_per_s / 1e9,
                           reached.prefill_tokens, "GFLOP/s", "higher"));
  for (const auto& a : ceilings.arithmetic) {
    if (name_of(a.isa) == isa) {
      percent("prefill_percent_of_f32_" + isa, reached.prefill_flops_per_s / a.f32_flops_per_s);
    }
  }
  for (const auto& peak : ceilings.peaks) {
    percent(fmt::format("prefill_percent_of_{}_{}", peak.type, peak.unit),
            reached.prefill_flops_per_s / peak.ops_per_s);
  }
  return rows;
}

std::vector<Measurement> latency_ceiling_rows(const Model& model, int64_t prompt, int64_t generated,
                                              const std::vector<Measurement>& latency,
                                              const Ceilings& ceilings, const std::string& isa) {
  const auto speed = [&](const char* metric) {
    const auto it = std::find_if(latency.begin(), latency.end(),
                                 [&](const Measurement& m) { return m.metric == metric; });
    return it == latency.end() ? 0.0 : it->value;
  };
  const double decode = speed("decode_tokens_per_s"), prefill = speed("prefill_tokens_per_s");
  if (decode <= 0 || prefill <= 0) return {};
  // The first of the generated tokens comes out of the prompt's pass.
  const Phases work = work_of(model, prompt, generated - 1);
  const auto bytes = static_cast<double>(work.decode.weight_bytes + work.decode.kv_bytes);
  const double flops = work.prefill.matrix_flops + work.prefill.attention_flops;
  return ceiling_rows({bytes / static_cast<double>(generated - 1) * decode,
                       flops / static_cast<double>(prompt) * prefill, generated - 1, prompt},
                      ceilings, isa);
}

ProbeKind roofline_probe() {
  return {"roofline",
          "prefill and decode as shares of the machine's ceilings, time of each operation",
          {{"prompt", 128}, {"generate", 32}},
          run};
}

}  // namespace lathe
