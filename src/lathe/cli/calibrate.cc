#include <chrono>

#include "lathe/cli/command.h"
#include "lathe/compress/importances.h"
#include "lathe/profile/environment.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, out;
  CalibrationSpec spec;
  bool self_calibration = false;
};

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
  LATHE_TRY_IN(CalibrationData data, calibration_data(spec, *source, pool), "calibration");
  LATHE_TRY(const Importances importances,
            collect_importances(*source, std::move(data.samples), pool));
  const std::string from = options.self_calibration ? "the model's own text" : spec.data;
  LATHE_OK(write_importances(options.out, importances, from, spec.length));
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
    json["matrices"] = importances.size();
    json["seconds"] = seconds;
    print_json(json);
    return kDone;
  }
  fmt::print("{}: importances of {} matrices from {} tokens, {:.1f} s\n", options.out,
             importances.size(), spec.samples * spec.length, seconds);
  return kDone;
}

}  // namespace

Body add_calibrate(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_option("-o,--out", options->out, "GGUF file for the importances, as llama.cpp reads it")
      ->required();
  app.add_option("--data", options->spec.data, "Text or .jsonl file");
  app.add_flag("--self-calibration", options->self_calibration,
               "Text that the model itself writes, in place of a file");
  app.add_option("--samples", options->spec.samples, "Samples of it (128)");
  app.add_option("--sample-length", options->spec.length, "Tokens of a sample (512)");
  app.footer("MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
