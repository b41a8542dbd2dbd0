#include "lathe/cli/command.h"
#include "lathe/compress/compressor.h"
#include "lathe/compress/predict.h"
#include "lathe/io/yaml.h"
#include "lathe/profile/environment.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

struct Options {
  std::string model, out, recipe, format, method, prune, calibration, importances, hessians;
  std::vector<std::string> keep;
  int64_t samples = 0, length = 0;
  bool self_calibration = false, overwrite = false, layers = false, dry_run = false;
};

Result<Recipe> given_recipe(const Options& options) {
  const bool flags = !options.format.empty() || !options.method.empty() || !options.prune.empty();
  if (!options.recipe.empty()) {
    if (flags) return bad_input("give a recipe file, or --format, --method and --prune, not both");
    return load_recipe(options.recipe);
  }
  if (!flags && options.keep.empty()) {
    return bad_input("nothing to do")
        .with_hint("give --format SPEC, --prune METHOD:SPARSITY or -r FILE");
  }
  nlohmann::json j = nlohmann::json::object();
  if (!options.format.empty()) j["format"] = options.format;
  if (!options.method.empty()) j["method"] = options.method;
  if (!options.prune.empty()) {
    const size_t colon = options.prune.find(':');
    if (colon == std::string::npos) {
      return bad_input("--prune '{}': expected METHOD:SPARSITY, for example magnitude:0.5",
                       options.prune);
    }
    const auto sparsity = nlohmann::json::parse(options.prune.substr(colon + 1), nullptr, false);
    if (!sparsity.is_number()) {
      return bad_input("--prune '{}': '{}' is no number", options.prune,
                       options.prune.substr(colon + 1));
    }
    j["prune"] = {{"method", options.prune.substr(0, colon)}, {"sparsity", sparsity}};
  }
  return recipe_from_json(j);
}

// With the calibration of the command line in place of the recipe's.
Result<Recipe> recipe_of(const Options& options, const Common& common) {
  LATHE_TRY(Recipe recipe, given_recipe(options));
  for (const std::string& entry : options.keep) {
    LATHE_OK_IN(keep(recipe, entry), fmt::format("--keep '{}'", entry));
  }
  CalibrationSpec spec = recipe.calibration.value_or(CalibrationSpec());
  const int given = static_cast<int>(!options.calibration.empty()) +
                    static_cast<int>(!options.importances.empty()) +
                    static_cast<int>(!options.hessians.empty()) +
                    static_cast<int>(options.self_calibration);
  if (given > 1) {
    return bad_input("give one of --calibration, --self-calibration, --importances and --hessians");
  }
  if (given == 1) {
    spec.data = options.calibration;
    spec.importances = options.importances;
    spec.hessians = options.hessians;
    spec.temperature.reset();
    if (options.self_calibration) spec.temperature = 1.0;
    spec.seed = static_cast<int64_t>(common.seed);
  } else if (!recipe.calibration && !options.samples && !options.length) {
    return recipe;
  }
  if (options.samples) spec.samples = options.samples;
  if (options.length) spec.length = options.length;
  LATHE_TRY_IN(recipe.calibration, calibration_from_json(to_json(spec)), "calibration");
  return recipe;
}

// What would be done, and what it would take.
Result<int> dry_run(const Options& options, const Common& common, const std::string& path,
                    const Checkpoint& source, const Recipe& recipe, ThreadPool& pool) {
  LATHE_TRY(const int64_t bytes, predicted_bytes(source, recipe));
  LATHE_TRY(const Cost cost, predicted_cost(source, recipe, pool));
  if (common.json) {
    Measurement size;
    size.task = "size";
    size.metric = "disk_bytes";
    size.value = static_cast<double>(bytes);
    size.unit = "bytes";
    size.better = "lower";
    size.n = 1;
    nlohmann::json json = json_result("compress", {{"path", path}},
                                      {{"cpu", cpu_name()}, {"threads", pool.size()}}, {size});
    json["dry_run"] = true;
    json["predicted"] = to_json(cost);
    json["recipe"] = to_json(recipe);
    print_json(json);
    return kDone;
  }
  fmt::print("{}: would take {}", options.out, human(static_cast<double>(bytes), "bytes"));
  if (recipe.needs_calibration()) {
    fmt::print(" on disk, about {} and {} of memory", duration_text(cost.seconds),
               human(static_cast<double>(cost.memory_bytes), "bytes"));
  }
  fmt::print("\n");
  return kDone;
}

Result<int> run(const Options& options, const Common& common) {
  LATHE_TRY(const Recipe recipe, recipe_of(options, common));
  LATHE_TRY(const std::string path, resolve_model(options.model));
  LATHE_TRY(const auto source, open_checkpoint(path));
  ThreadPool pool(common.threads);
  if (options.dry_run) return dry_run(options, common, path, *source, recipe, pool);
  LATHE_TRY(const CompressionReport report,
            compress(*source, recipe, options.out, pool, {.overwrite = options.overwrite}));
  if (!common.json) {
    if (options.layers) {
      for (const MatrixReport& m : report.matrices) {
        fmt::print("{:<44} {:<14} {:>6} × {:<6} {:>9}  sparsity {:.3f}  mse {:.3g}\n", m.name,
                   m.format, m.rows, m.cols, human(static_cast<double>(m.bytes), "bytes"),
                   m.sparsity, m.mse);
      }
    }
    fmt::print("{}: {}, {:.3f} bits per weight in the linear layers, {:.1f} s\n", options.out,
               human(static_cast<double>(report.stored_bytes), "bytes"), report.bits_per_weight,
               report.seconds);
    if (recipe.needs_calibration()) {
      fmt::print("predicted {} and {} of memory, used {} and {}\n",
                 duration_text(report.predicted.seconds),
                 human(static_cast<double>(report.predicted.memory_bytes), "bytes"),
                 duration_text(report.seconds),
                 human(static_cast<double>(report.peak_rss_bytes), "bytes"));
    }
    return kDone;
  }
  nlohmann::json layers = nlohmann::json::array();
  for (const MatrixReport& m : report.matrices) {
    layers.push_back({{"name", m.name},
                      {"format", m.format},
                      {"rows", m.rows},
                      {"cols", m.cols},
                      {"bytes", m.bytes},
                      {"sparsity", m.sparsity},
                      {"mse", m.mse}});
  }
  Measurement bytes, bits;
  bytes.task = bits.task = "size";
  bytes.metric = "disk_bytes";
  bytes.value = static_cast<double>(report.stored_bytes);
  bytes.unit = "bytes";
  bits.metric = "bits_per_weight";
  bits.value = report.bits_per_weight;
  bits.unit = "bits";
  bytes.better = bits.better = "lower";
  bytes.n = bits.n = 1;
  nlohmann::json json = json_result("compress", {{"path", path}},
                                    {{"cpu", cpu_name()}, {"threads", pool.size()}}, {bytes, bits});
  json["out"] = options.out;
  json["seconds"] = report.seconds;
  json["peak_rss_bytes"] = report.peak_rss_bytes;
  if (recipe.needs_calibration()) json["predicted"] = to_json(report.predicted);
  json["recipe"] = to_json(recipe);
  json["layers"] = layers;
  print_json(json);
  return kDone;
}

}  // namespace

Body add_compress(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("model", options->model, "MODEL")->required();
  app.add_option("-o,--out", options->out, "Folder for the compressed model")->required();
  app.add_option("-r,--recipe", options->recipe, "Recipe file (see docs/compression.md)");
  app.add_option("--format", options->format, "Format of the linear layers, for example int4:g128");
  app.add_option("--method", options->method, "How to quantize (default: rtn)");
  app.add_option("--prune", options->prune, "METHOD:SPARSITY, for example magnitude:0.5");
  app.add_option("--keep", options->keep,
                 "PATTERN[=FORMAT[@SPARSITY]]: matrices that are stored otherwise, for example "
                 "'model.layers.0.*=bf16'; may be given several times")
      ->allow_extra_args(false);
  app.add_option("--calibration", options->calibration,
                 "Text or .jsonl file that gptq, awq, clip, imatrix, wanda and sparsegpt look at");
  app.add_flag("--self-calibration", options->self_calibration,
               "They look at text that the model itself writes");
  app.add_option(
      "--importances", options->importances,
      "File of lathe calibrate or llama-imatrix, in place of a text, for imatrix and wanda");
  app.add_option("--hessians", options->hessians,
                 "File of lathe calibrate --hessians, in place of a text, for every such method");
  app.add_option("--samples", options->samples, "Samples of it (128)");
  app.add_option("--sample-length", options->length, "Tokens of a sample (512)");
  app.add_flag("--overwrite", options->overwrite, "Replace an earlier compressed model");
  app.add_flag(
      "--dry-run", options->dry_run,
      "Print how large the result would be, and how long and how much memory it would take");
  app.add_flag("--layers", options->layers, "Print each matrix");
  std::string help = "Formats:\n";
  for (const FormatKind& kind : format_kinds()) {
    help += fmt::format("  {:<34} {}\n", kind.syntax, kind.description);
  }
  app.footer(help +
             "MODEL is a directory, a GGUF file, a hub id in the local cache, or 'bundled'.");
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
