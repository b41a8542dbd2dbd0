#include <filesystem>

#include "lathe/cli/analysis_options.h"
#include "lathe/io/atomic_file.h"
#include "lathe/profile/environment.h"
#include "lathe/report/analysis_page.h"
#include "lathe/report/table.h"

namespace lathe::cli {
namespace {

void print_table(const Analysis& analysis) {
  std::vector<std::vector<std::string>> table = {
      {"matrix", "candidate", "bytes", "output error", "cosine", "KL", "perplexity"}};
  for (const SensitivityRow& row : analysis.rows) {
    table.push_back({row.matrix, row.candidate.text(),
                     human(static_cast<double>(row.bytes), "bytes"),
                     fmt::format("{:.4f}", row.output_error), fmt::format("{:.6f}", row.cosine),
                     fmt::format("{:.3g}", row.kl), fmt::format("{:+.4f}", row.ppl_change)});
  }
  fmt::print("{}", plain_table(table, 2));
}

Result<int> run(const AnalysisOptions& options, const Common& common) {
  LATHE_TRY(const std::string path, resolve_model(options.model));
  LATHE_TRY(const AnalysisSpec spec, analysis_spec(options, common, path));
  LATHE_TRY(const auto source, open_checkpoint(path));
  ThreadPool pool(common.threads);
  const std::string folder = analysis_folder(options, path);
  LATHE_TRY(const Analysis analysis,
            analyze(*source, spec, folder, pool, {true, !options.no_times}));
  LATHE_OK(write_atomically(folder + "/report.html", analysis_html(analysis)));
  LATHE_OK(write_atomically(folder + "/report.md", analysis_markdown(analysis)));
  if (!common.json) {
    print_table(analysis);
    fmt::print("{0}/report.html, {0}/report.md\n", folder);
    return kDone;
  }
  nlohmann::json json = json_result("analyze", analysis.header["model"],
                                    {{"cpu", cpu_name()}, {"threads", pool.size()}}, {});
  for (const SensitivityRow& row : analysis.rows) {
    nlohmann::json entry = to_json(row);
    for (const Analysis::Matrix& matrix : analysis.matrices) {
      if (matrix.info.name != row.matrix) continue;
      const auto seconds = analysis.seconds(matrix, row.candidate, pool.size());
      entry["layer"] = matrix.info.layer;
      entry["us_per_token"] = seconds ? nlohmann::json(*seconds * 1e6) : nlohmann::json();
    }
    json["rows"].push_back(std::move(entry));
  }
  json["base_ppl"] = analysis.base_ppl;
  json["folder"] = folder;
  print_json(json);
  return kDone;
}

}  // namespace

void add_analysis_options(CLI::App& app, AnalysisOptions& options) {
  app.add_option("model", options.model, "MODEL")->required();
  app.add_option("-a,--analysis", options.folder,
                 "Folder that holds the analysis; a begun one goes on (NAME.analysis)");
  app.add_option("--candidates", options.candidates,
                 "Formats, or FORMAT@SPARSITY, 'keep' being the source's own: all that there are");
  app.add_option("--method", options.method, "How to quantize (rtn)");
  app.add_option("--prune-method", options.prune, "How to prune (magnitude)");
  app.add_option("--data", options.data, "Text or .jsonl file that the loss is measured on");
  app.add_option("--samples", options.samples, "Samples of it (32)");
  app.add_option("--sample-length", options.length, "Tokens of a sample (256)");
  app.add_option("--calibration", options.calibration,
                 "Text or .jsonl file for the inputs of the matrices (--data)");
  app.add_option("--calibration-samples", options.calibration_samples, "Samples of it (64)");
  app.add_flag("--no-times", options.no_times, "Do not measure kernels; a later run can add them");
}

Result<AnalysisSpec> analysis_spec(const AnalysisOptions& options, const Common& common,
                                   const std::string& path) {
  AnalysisSpec spec;
  spec.method = options.method;
  spec.prune = options.prune;
  if (!options.candidates.empty()) {
    spec.candidates.clear();
    for (const std::string& text : options.candidates) {
      LATHE_TRY(Candidate candidate, parse_candidate(text));
      spec.candidates.push_back(std::move(candidate));
    }
  }
  std::string data = options.data;
  if (data.empty()) {
    // The bundled model brings a text of what it was trained on.
    data = path + "/data/calibration.txt";
    std::error_code error;
    if (!std::filesystem::exists(data, error)) {
      return bad_input("no text to measure the loss on").with_hint("give --data FILE");
    }
  }
  const auto make = [&](const std::string& file, int64_t samples, uint64_t seed) {
    return calibration_from_json(
        {{"data", file}, {"samples", samples}, {"length", options.length}, {"seed", seed}});
  };
  LATHE_TRY_IN(spec.loss, make(data, options.samples, common.seed), "--data");
  // Other places of the text, where it is the same.
  LATHE_TRY_IN(spec.inputs,
               make(options.calibration.empty() ? data : options.calibration,
                    options.calibration_samples, common.seed + 1),
               "--calibration");
  return spec;
}

std::string analysis_folder(const AnalysisOptions& options, const std::string& path) {
  if (!options.folder.empty()) return options.folder;
  auto name = std::filesystem::path(path).lexically_normal();
  if (!name.has_filename()) name = name.parent_path();
  return name.filename().string() + ".analysis";
}

Body add_analyze(CLI::App& app, const Common& common) {
  auto options = std::make_shared<AnalysisOptions>();
  add_analysis_options(app, *options);
  return [options, &common] { return run(*options, common); };
}

}  // namespace lathe::cli
