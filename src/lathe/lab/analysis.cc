#include "lathe/lab/analysis.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/hash.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/progress.h"
#include "lathe/compress/pass.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/compress/recipe.h"
#include "lathe/formats/sparse.h"
#include "lathe/io/atomic_file.h"
#include "lathe/lab/analysis_files.h"
#include "lathe/lab/kernel_times.h"
#include "lathe/lab/loss_meter.h"
#include "lathe/profile/environment.h"
#include "lathe/track/run_store.h"

namespace lathe {
namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

Result<Json> key_of(const Checkpoint& source, const AnalysisSpec& spec) {
  LATHE_TRY(const Json model, describe_model(source, 0));
  Json key = {{"model_hash", model["hash"]}, {"method", spec.method}, {"prune", spec.prune}};
  for (const auto& [name, data] : {std::pair{"loss", &spec.loss}, {"inputs", &spec.inputs}}) {
    LATHE_TRY(const std::string hash, sha256_of_file(data->data));
    key[name] = {{"data_sha256", hash},
                 {"samples", data->samples},
                 {"length", data->length},
                 {"seed", data->seed}};
  }
  return key;
}

Linear* linear_of(Model& model, const std::string& name) {
  if (model.head.name == name) return &model.head;
  for (Layer& layer : model.layers) {
    for (Linear* linear :
         {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up, &layer.down}) {
      if (linear->name == name) return linear;
    }
  }
  return nullptr;
}

double dot(const float* a, const float* b, size_t count) {
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

// What a change of the weights does to the outputs, from Σ x xᵀ: ‖Δ·X‖² = ⟨Δ·XᵀX, Δ⟩.
class OutputError {
 public:
  OutputError(Ops& ops, const LinearStats& stats, std::vector<float> weights, int64_t rows)
      : ops_(ops),
        weights_(std::move(weights)),
        rows_(rows),
        cols_(stats.size),
        outputs_(static_cast<double>(stats.tokens) * static_cast<double>(rows)) {
    const std::vector<float> gram(stats.gram.begin(), stats.gram.end());
    gram_ = {"", ops.pack(WeightMatrix::of_floats(gram.data(), cols_, cols_)), {}};
    through_ = times_gram(weights_);
    power_ = dot(through_.data(), weights_.data(), weights_.size());
  }
  void measure(const std::vector<float>& changed, SensitivityRow& row) {
    std::vector<float> difference(weights_.size());
    for (size_t i = 0; i < difference.size(); ++i) difference[i] = changed[i] - weights_[i];
    const Tensor product = times_gram(difference);
    const double error = std::max(0.0, dot(product.data(), difference.data(), difference.size()));
    const double cross = dot(through_.data(), difference.data(), difference.size());
    const double other = power_ + 2 * cross + error;
    row.output_mse = error / outputs_;
    row.output_error = power_ > 0 ? std::sqrt(error / power_) : 0;
    const double norm = std::sqrt(std::max(0.0, power_) * std::max(0.0, other));
    row.cosine = norm > 0 ? std::clamp((power_ + cross) / norm, -1.0, 1.0) : (error > 0 ? 0 : 1);
  }

 private:
  Tensor times_gram(const std::vector<float>& weights) {
    Tensor x(rows_, cols_);
    std::copy(weights.begin(), weights.end(), x.mutable_data());
    return ops_.linear(gram_, x);
  }
  Ops& ops_;
  std::vector<float> weights_;
  int64_t rows_, cols_;
  double outputs_, power_ = 0;
  Linear gram_;
  Tensor through_;
};

class Analyzer {
 public:
  Analyzer(const Checkpoint& source, const AnalysisSpec& spec, Analysis& analysis, Ops& ops,
           ThreadPool& pool)
      : source_(source), spec_(spec), analysis_(analysis), ops_(ops), pool_(pool) {}

  Status run(std::unique_ptr<LossMeter> meter) {
    meter_ = std::move(meter);
    Progress progress("analyzing", total(), "measurements");
    int64_t done = 0;
    for (const Analysis::Matrix& matrix : analysis_.matrices) {
      const std::vector<Candidate> missing = missing_of(matrix);
      if (!missing.empty()) LATHE_OK_IN(measure(matrix, missing, progress, done), matrix.info.name);
      done += std::ssize(spec_.candidates);
      progress.set(done);
    }
    return {};
  }
  bool complete() const {
    return std::all_of(analysis_.matrices.begin(), analysis_.matrices.end(),
                       [&](const auto& matrix) { return missing_of(matrix).empty(); });
  }

 private:
  int64_t total() const { return std::ssize(analysis_.matrices) * std::ssize(spec_.candidates); }

  // A candidate that would be no smaller than the source is of no use to anybody.
  bool wanted(const Analysis::Matrix& matrix, const Candidate& candidate) const {
    const MatrixInfo& info = matrix.info;
    if (candidate.sparsity > 0 && info.layer < 0) return false;
    if (candidate.format == "keep") {
      if (candidate.sparsity == 0) return true;
      const FormatPtr format = parse_format(matrix.format).value();
      return format->encoding() == Encoding::kFloat && format->exact_zero();
    }
    const FormatPtr format = parse_format(candidate.format).value();
    if (!format->supports(info.rows, info.cols).ok()) return false;
    if (format->bytes(info.rows, info.cols, candidate.sparsity) >= matrix.bytes) return false;
    if (candidate.sparsity > 0 && !format->exact_zero()) return false;
    const Pass* pass = find_pass(spec_.method).value();
    return info.layer < 0 || !pass->supports || pass->supports(format, info.rows, info.cols).ok();
  }

  std::vector<Candidate> missing_of(const Analysis::Matrix& matrix) const {
    std::vector<Candidate> out;
    const auto rows = analysis_.rows_of(matrix.info.name);
    for (const Candidate& candidate : spec_.candidates) {
      const bool there = std::any_of(rows.begin(), rows.end(), [&](const SensitivityRow* row) {
        return row->candidate == candidate;
      });
      if (!there && wanted(matrix, candidate)) out.push_back(candidate);
    }
    return out;
  }

  Status measure(const Analysis::Matrix& matrix, const std::vector<Candidate>& candidates,
                 Progress& progress, int64_t before) {
    const MatrixInfo& info = matrix.info;
    LATHE_TRY(const WeightMatrix weights, source_.matrix(info.name, info.rows, info.cols));
    std::shared_ptr<const LinearStats> stats;
    std::unique_ptr<OutputError> outputs;
    if (info.layer >= 0) {
      LATHE_TRY(stats, stats_of(info));
      outputs = std::make_unique<OutputError>(ops_, *stats, weights.decode(pool_), info.rows);
      LATHE_OK(meter_->advance_to(info.layer));
    }
    int64_t done = before + std::ssize(spec_.candidates) - std::ssize(candidates);
    for (const Candidate& candidate : candidates) {
      SensitivityRow row;
      row.matrix = info.name;
      row.candidate = candidate;
      row.bytes = matrix.bytes;
      if (candidate != Candidate{}) {
        LATHE_TRY_IN(const auto applied,
                     apply_candidate(info, weights, candidate, spec_, stats, pool_),
                     candidate.text());
        row.bytes = applied.stored.bytes();
        row.weight_mse = applied.mse;
        row.weight_error = applied.relative_error;
        row.note = applied.note;
        if (outputs) outputs->measure(applied.stored.decode(pool_), row);
        LATHE_TRY_IN(const LossChange change, loss_of(info, applied.stored), candidate.text());
        if (!outputs) {
          row.output_mse = change.output_mse;
          row.output_error = std::sqrt(change.output_mse / change.output_power);
          row.cosine = change.cosine;
        }
        row.kl = change.kl;
        row.top1 = change.top1;
        row.ppl_change = change.ppl - change.base_ppl;
      }
      LATHE_OK(append_line(analysis_.folder + "/rows.jsonl", to_json(row)));
      analysis_.rows.push_back(std::move(row));
      progress.set(++done);
    }
    return {};
  }

  Result<LossChange> loss_of(const MatrixInfo& info, const WeightMatrix& stored) const {
    Model changed = meter_->model();
    if (info.linear) {
      linear_of(changed, info.name)->weight = ops_.pack(stored);
      return meter_->measure(changed, info.layer >= 0 ? info.layer : changed.config.layers);
    }
    if (info.name == "model.embed_positions") {
      changed.positions = stored;
    } else {
      changed.embedding = stored;
      if (changed.config.tied) changed.head.weight = ops_.pack(stored);
    }
    return meter_->measure(changed, -1);
  }

  Result<std::shared_ptr<const LinearStats>> stats_of(const MatrixInfo& info) {
    if (!stream_) {
      LATHE_TRY_IN(auto samples, calibration_samples(spec_.inputs, source_.tokenizer_path()),
                   "calibration");
      LATHE_TRY_IN(stream_, CalibrationStream::create(source_, std::move(samples), pool_),
                   "calibration");
    }
    for (; stream_layer_ < info.layer; ++stream_layer_, sharing_.clear()) {
      LATHE_OK(stream_->advance(source_, stream_layer_));
    }
    if (std::find(sharing_.begin(), sharing_.end(), info.name) == sharing_.end()) {
      LATHE_TRY(stats_, stream_->collect(source_, info.layer, info.name, sharing_));
    }
    return stats_;
  }

  const Checkpoint& source_;
  const AnalysisSpec& spec_;
  Analysis& analysis_;
  Ops& ops_;
  ThreadPool& pool_;
  std::unique_ptr<LossMeter> meter_;
  std::unique_ptr<CalibrationStream> stream_;
  int64_t stream_layer_ = 0;
  std::vector<std::string> sharing_;
  std::shared_ptr<const LinearStats> stats_;
};

Result<Json> new_header(const Checkpoint& source, const Json& key, const AnalysisSpec& spec,
                        const LossMeter& meter) {
  LATHE_TRY(const Json model, describe_model(source, meter.model().parameters));
  LATHE_TRY(const LossChange base, meter.measure(meter.model(), source.config().layers));
  Json matrices = Json::array();
  int64_t matrix_bytes = 0;
  for (const MatrixInfo& info : matrices_of(source.config())) {
    LATHE_TRY(const WeightMatrix matrix, source.matrix(info.name, info.rows, info.cols));
    matrix_bytes += matrix.bytes();
    matrices.push_back({{"name", info.name},
                        {"rows", info.rows},
                        {"cols", info.cols},
                        {"layer", info.layer},
                        {"linear", info.linear},
                        {"format", matrix.format().spec()},
                        {"bytes", matrix.bytes()}});
  }
  return Json{{"lathe_analysis", 1},
              {"key", key},
              {"model", model},
              {"data", {{"loss", to_json(spec.loss)}, {"inputs", to_json(spec.inputs)}}},
              {"parameters", meter.model().parameters},
              {"vector_bytes", meter.model().stored_bytes - matrix_bytes},
              {"base_ppl", base.base_ppl},
              {"tokens", base.tokens},
              {"tied", source.config().tied},
              {"matrices", matrices}};
}

}  // namespace

Result<CandidateResult> apply_candidate(const MatrixInfo& info, const WeightMatrix& source,
                                        const Candidate& candidate, const AnalysisSpec& spec,
                                        std::shared_ptr<const LinearStats> stats,
                                        ThreadPool& pool) {
  WorkMatrix work(info, source);
  work.set_stats(std::move(stats));
  const FormatPtr format =
      candidate.format == "keep" ? source.format_ptr() : parse_format(candidate.format).value();
  const auto apply = [&](const std::string& name, const Json& given,
                         const StepTarget& target) -> Status {
    LATHE_TRY(const Pass* pass, find_pass(name));
    LATHE_TRY(const Json parameters, check_parameters(*pass, given));
    // Each matrix by itself: nothing to look at beforehand.
    LATHE_TRY(const auto run,
              pass->start({parameters, pool, [](const auto&) { return Status(); }}));
    return run->apply(work, target);
  };
  if (info.layer >= 0 && candidate.sparsity > 0) {
    LATHE_OK(apply(spec.prune, {{"sparsity", candidate.sparsity}},
                   {true, candidate.sparsity, true, candidate.pattern(), nullptr}));
  }
  if (info.layer >= 0 && candidate.format != "keep") {
    LATHE_OK(apply(spec.method, {{"format", candidate.format}}, {true, 0, false, "", format}));
  }
  LATHE_OK(work.quantize(format, pool));
  const StorageError error = storage_error(work, pool);
  return CandidateResult{work.stored(), error.mse, error.relative_error, work.note()};
}

std::string Candidate::text() const {
  return sparsity > 0 ? fmt::format("{}@{}", format, sparsity) : format;
}

std::string Candidate::pattern() const {
  return format == "keep" ? "" : fixed_pattern(*parse_format(format).value());
}

Result<Candidate> parse_candidate(const std::string& text) {
  const std::string where = fmt::format("candidate '{}'", text);
  const size_t at = text.find('@');
  Candidate out;
  LATHE_TRY_IN(out.format, storage_from_json(Json(text.substr(0, at))), where);
  LATHE_TRY(const SparsePattern pattern, parse_pattern(out.pattern()));
  out.sparsity = sparsity_of(pattern);
  if (at == std::string::npos) return out;
  const Json number = Json::parse(text.substr(at + 1), nullptr, false);
  if (!number.is_number()) return bad_input("{}: no sparsity", where);
  LATHE_TRY_IN(out.sparsity, sparsity_from_json(number), where);
  LATHE_OK_IN(check_pattern(pattern, out.sparsity), where);
  if (pattern.of > 0 && out.sparsity == 0) {
    return bad_input("{}: nothing else than {} fits this layout", where, out.pattern());
  }
  return out;
}

std::vector<Candidate> default_candidates() {
  std::vector<Candidate> out = {{}};
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    if (!format->can_encode() || format->spec() == "int4:row") continue;
    const bool sparse = format->encoding() == Encoding::kSparse;
    const Candidate candidate{format->spec(), sparse ? 0.5 : 0.0};
    if (std::find(out.begin(), out.end(), candidate) == out.end()) out.push_back(candidate);
  }
  return out;
}

Result<Analysis> analyze(const Checkpoint& source, const AnalysisSpec& given,
                         const std::string& folder, ThreadPool& pool, const AnalyzeParts& parts) {
  AnalysisSpec spec = given;
  if (std::find(spec.candidates.begin(), spec.candidates.end(), Candidate{}) ==
      spec.candidates.end()) {
    spec.candidates.insert(spec.candidates.begin(), Candidate{});
  }
  for (const auto& [name, kind, what] : {std::tuple{spec.method, PassKind::kQuantize, "method"},
                                         {spec.prune, PassKind::kPrune, "prune"}}) {
    LATHE_TRY_IN(const Pass* pass, find_pass(name), what);
    if (pass->kind != kind) return bad_input("{}: '{}' is a pass of the other kind", what, name);
  }
  LATHE_TRY(const RunLock lock, RunFolder(folder).lock());
  LATHE_TRY(const Json key, key_of(source, spec));

  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, chosen_math(Math::kExact));
  const auto ops = make_cpu_ops(isa, pool, math);
  const auto make_meter = [&]() -> Result<std::unique_ptr<LossMeter>> {
    LATHE_TRY(auto samples, calibration_samples(spec.loss, source.tokenizer_path()));
    LATHE_TRY(auto model, load_model(source, *ops));
    return LossMeter::create(std::move(model), *ops, std::move(samples));
  };
  std::unique_ptr<LossMeter> meter;
  const std::string header = folder + "/analysis.json";
  std::error_code error;
  if (!fs::exists(header, error)) {
    LATHE_TRY(meter, make_meter());
    LATHE_TRY(const Json made, new_header(source, key, spec, *meter));
    LATHE_OK(write_atomically(header, made.dump(1) + "\n"));
  }
  LATHE_TRY(Analysis analysis, load_analysis(folder));
  const Json& stored = analysis.header["key"];
  for (const auto& [name, value] : key.items()) {
    if (stored.is_object() && member_or(stored, name, Json()) == value) continue;
    return bad_input("{}: was made with another {}: {} instead of {}", folder, name,
                     stored.is_object() ? member_or(stored, name, Json()).dump() : "nothing",
                     value.dump())
        .with_hint("give the same, or another folder with --analysis");
  }
  Analyzer analyzer(source, spec, analysis, *ops, pool);
  if (parts.loss && !analyzer.complete()) {
    if (!meter) {
      LATHE_TRY(meter, make_meter());
    }
    LATHE_OK(analyzer.run(std::move(meter)));
  }
  meter.reset();
  if (parts.times) LATHE_OK(measure_times(source, analysis, pool));
  return analysis;
}

}  // namespace lathe
