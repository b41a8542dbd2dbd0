// Prefill and decode as shares of what the machine can do, and where their time goes.
#include "lathe/backend/ceilings.h"
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
  std::vector<Measurement> rows;
  const auto percent = [&](std::string metric, double value) {
    rows.push_back(probe_row("roofline", std::move(metric), 100 * value, 1, "%", "higher"));
  };

  const Phase& decode = phases.decode;
  const double read = static_cast<double>(decode.weight_bytes + decode.kv_bytes) / decode.seconds;
  rows.push_back(
      probe_row("roofline", "decode_read_gb_per_s", read / 1e9, decode.tokens, "GB/s", "higher"));
  percent("decode_percent_of_read", read / ceilings.read_bytes_per_s);

  const Phase& prefill = phases.prefill;
  const double flops = (prefill.matrix_flops + prefill.attention_flops) / prefill.seconds;
  rows.push_back(probe_row("roofline", "prefill_gflop_per_s", flops / 1e9, prefill.tokens,
                           "GFLOP/s", "higher"));
  for (const auto& a : ceilings.arithmetic) {
    if (name_of(a.isa) == engine.isa) {
      percent("prefill_percent_of_f32_" + engine.isa, flops / a.f32_flops_per_s);
    }
  }
  for (const auto& peak : ceilings.peaks) {
    percent(fmt::format("prefill_percent_of_{}_{}", peak.type, peak.unit), flops / peak.ops_per_s);
  }
  add_operations("prefill", prefill, rows);
  add_operations("decode", decode, rows);
  return rows;
}

}  // namespace

ProbeKind roofline_probe() {
  return {"roofline",
          "prefill and decode as shares of the machine's ceilings, time of each operation",
          {{"prompt", 128}, {"generate", 32}},
          run};
}

}  // namespace lathe
