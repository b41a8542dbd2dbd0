#include <filesystem>

#include "lathe/backend/ceilings.h"
#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/rng.h"
#include "lathe/base/version.h"
#include "lathe/cli/command.h"
#include "lathe/io/hub.h"
#include "lathe/profile/environment.h"

namespace lathe::cli {
namespace {

struct Options {
  bool explain = false;
};

Measurement row(const char* metric, double value, const char* unit) {
  Measurement m;
  m.task = "doctor";
  m.metric = metric;
  m.value = value;
  m.unit = unit;
  m.better = "higher";
  m.n = 1;
  return m;
}

void add_rows(const Ceilings& c, std::vector<Measurement>& rows) {
  const auto add = [&](const std::string& metric, double value, const char* unit) {
    rows.push_back(row(metric.c_str(), value, unit));
    rows.back().extra["threads"] = c.threads;
    return &rows.back();
  };
  add("read_gb_per_s", c.read_bytes_per_s / 1e9, "GB/s");
  for (const auto& a : c.arithmetic) {
    add("f32_gflop_per_s", a.f32_flops_per_s / 1e9, "GFLOP/s")->extra["isa"] = name_of(a.isa);
  }
  for (const auto& peak : c.peaks) {
    add(peak.type + "_gop_per_s", peak.ops_per_s / 1e9, "GOP/s")->extra["isa"] = peak.unit;
  }
}

// Which kernel each format gets on this machine, and why not a better one.
void explain(Isa isa) {
  fmt::print("\nkernels for a 1024 × 1024 matrix\n");
  std::vector<float> weights(1024 * 1024);
  Rng rng(0);
  for (float& w : weights) w = static_cast<float>(rng.normal()) * 0.02f;
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    if (!format->can_encode()) continue;
    const auto matrix = WeightMatrix::encode(format, weights.data(), 1024, 1024, spec);
    if (!matrix.ok()) continue;
    std::string text;
    for (const KernelChoice& choice : explain_cpu_kernel(isa, *matrix)) {
      text += choice.reason.empty() ? choice.kernel
                                    : fmt::format("not {} ({}); ", choice.kernel, choice.reason);
    }
    fmt::print("  {:<18} {}\n", spec, text);
  }
}

Result<int> examine(const Options& options, const Common& common) {
  LATHE_TRY(const Isa isa, chosen_isa());
  ThreadPool pool(common.threads), alone(1);
  std::vector<Ceilings> ceilings = {measure_ceilings(pool)};
  if (pool.size() > 1) ceilings.push_back(measure_ceilings(alone));
  std::vector<Measurement> rows;
  for (const Ceilings& c : ceilings) add_rows(c, rows);
  const bool gpu = std::filesystem::exists("/proc/driver/nvidia/version");
  if (common.json) {
    nlohmann::json environment = {{"cpu", cpu_name()},
                                  {"isa", name_of(isa)},
                                  {"threads", pool.size()},
                                  {"memory_bytes", available_memory_bytes()},
                                  {"cuda", false}};
    print_json(json_result("doctor", nullptr, environment, rows));
    return kDone;
  }
  fmt::print("lathe {}\n", kVersion);
  fmt::print("cpu            {}, {} threads in use\n", cpu_name(), pool.size());
  std::string isas;
  for (const Isa each : available_isas())
    isas += name_of(each) + (each == isa ? " (in use) " : " ");
  fmt::print("kernels        {}\n", isas);
  fmt::print("memory         {:.1f} GB free\n",
             static_cast<double>(available_memory_bytes()) / 1e9);
  for (const Measurement& m : rows) {
    const std::string what = m.metric.substr(0, m.metric.find('_'));
    const std::string unit =
        m.extra.contains("isa") ? " with " + m.extra["isa"].get<std::string>() : "";
    fmt::print("{:<14} {:.{}f} {}{}, threads: {}\n", what, m.value, m.value < 100 ? 1 : 0, m.unit,
               unit, m.extra["threads"].get<int>());
  }
  fmt::print("gpu            {}\n",
             gpu ? "an NVIDIA driver is here; this build has no CUDA backend" : "none found");
  fmt::print("hub cache      {}{}\n", hub_cache_directory(),
             std::filesystem::exists(hub_cache_directory()) ? "" : " (empty)");
  const auto bundled = resolve_model("bundled");
  fmt::print("bundled model  {}\n", bundled.ok() ? *bundled : bundled.error().message);
  if (options.explain) explain(isa);
  return kDone;
}

}  // namespace

Body add_doctor(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_flag("--explain", options->explain, "Print the kernel that each format gets, and why");
  return [options, &common] { return examine(*options, common); };
}

}  // namespace lathe::cli
