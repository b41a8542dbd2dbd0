#include <algorithm>
#include <chrono>

#include "lathe/base/memory.h"
#include "lathe/cli/command.h"
#include "lathe/compress/cost.h"
#include "lathe/compress/hessians.h"
#include "lathe/compress/importances.h"
#include "lathe/profile/environment.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, out;
  CalibrationSpec spec;
  bool self_calibration = false, hessians = false;
};

// The number of matrices whose inputs were looked at.
Result<int64_t> collect(const Options& options, const Checkpoint& source, CalibrationData data,
                        const std::string& from, const CalibrationSpec& spec, ThreadPool& pool) {
  if (options.hessians) {
    LATHE_OK(write_hessians(options.out, source, std::move(data), from, pool));
    const std::vector<MatrixInfo> all = matrices_of(source.config());
    return std::count_if(all.begin(), all.end(),
                         [](const MatrixInfo& info) { return info.layer >= 0; });
  }
  LATHE_TRY(const Importances importances,
            collect_importances(source, std::move(data.samples), pool));
  LATHE_OK(write_importances(options.out, importances, from, spec.length));
  return static_cast<int64_t>(importances.size());
}

Result<int> run(const Options& options, const Common& common) {
  const auto start = std::chrono::steady_clock::now();
  CalibrationSpec asked = options.spec;
  asked.seed = static_cast<int64_t>(common.seed);
  if (asked.data.empty() != options.self_calibration) {
    return bad_input("give either --data FILE or --self-calibration");
  }
  if (options.self_calibration) asked.temperature = 1.0;
  LATHE_TRY_IN(const CalibrationSpec spec, calibration_from_json(to_json(asked)), "calibration");
  LATHE_TRY(const std::string path, resolve_model(options.model));
  LATHE_TRY(const auto source, open_checkpoint(path));
  ThreadPool pool(common.threads);
  LATHE_TRY(const ProductSpeeds speeds, measure_products(pool));
  const Cost cost = cost_of_collecting(*source, spec, options.hessians, speeds);
  LATHE_OK_IN(announce("calibrating", cost), path);
  LATHE_TRY_IN(CalibrationData data, calibration_data(spec, *source, pool), "calibration");
  const std::string from = options.self_calibration ? "the model's own text" : spec.data;
  LATHE_TRY(const int64_t matrices, collect(options, *source, std::move(data), from, spec, pool));
  Measurement tokens;
  tokens.task = "calibration";
  tokens.metric = "tokens";
  tokens.value = static_cast<double>(spec.samples * spec.length);
  tokens.unit = "tokens";
  tokens.n = spec.samples;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (common.json) {
    nlohmann::json json = json_result("calibrate", {{"path", path}},
                                      {{"cpu", cpu_name()}, {"threads", pool.size()}}, {tokens});
    json["out"] = options.out;
    json["matrices"] = matrices;
    json["kind"] = options.hessians ? "hessians" : "importances";
    json["seconds"] = seconds;
    json["predicted"] = to_json(cost);
    json["peak_rss_bytes"] = peak_rss_bytes();
    print_json(json);
    return kDone;
  }
  fmt::print("{}: {} of {} matrices from {} tokens, {:.1f} s (predicted: {})\n", options.out,
             options.hessians ? "Hessians" : "importances", matrices, spec.samples * spec.length,
             seconds, duration_text(cost.seconds));
  return kDone;
}

}  // namespace

Body add_calibrate(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_option(
         "-o,--out", options->out,
         "GGUF file for the importances, as llama.cpp reads it; with --hessians safetensors")
      ->required();
  app.add_option("--data", options->spec.data, "Text or .jsonl file");
  app.add_flag("--self-calibration", options->self_calibration,
               "Text that the model itself writes, in place of a file");
  app.add_flag("--hessians", options->hessians,
               "Store all that gptq, awq, clip and others look at, not importances alone");
  app.add_option("--samples", options->spec.samples, "Samples of it (128)");
  app.add_option("--sample-length", options->spec.length, "Tokens of a sample (512)");
  app.footer("MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
