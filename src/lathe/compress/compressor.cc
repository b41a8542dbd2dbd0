#include "lathe/compress/compressor.h"

#include <algorithm>
#include <chrono>
#include <filesystem>

#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/hash.h"
#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/memory.h"
#include "lathe/base/parse_json.h"
#include "lathe/base/progress.h"
#include "lathe/base/version.h"
#include "lathe/compress/block_inputs.h"
#include "lathe/compress/block_progress.h"
#include "lathe/compress/current_model.h"
#include "lathe/compress/output_directory.h"
#include "lathe/compress/plan.h"
#include "lathe/compress/predict.h"
#include "lathe/compress/reshape.h"
#include "lathe/compress/work_block.h"
#include "lathe/io/atomic_file.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/side_files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kLatheCheckpoint = 1;

class Compressor {
 public:
  Compressor(const ReshapedSource& reshaped, const Recipe& recipe, std::vector<MatrixPlan> plans,
             CalibrationData data, ThreadPool& pool)
      : reshaped_(reshaped),
        source_(reshaped.model()),
        recipe_(recipe),
        plans_(std::move(plans)),
        data_(std::move(data)),
        pool_(pool),
        current_(source_) {
    for (const VectorInfo& info : vectors_of(source_.config())) {
      if (!info.optional || source_.has(info.name)) vectors_.push_back(info);
    }
    for (size_t step = 0; step < recipe.steps.size(); ++step) transforming_ |= transforms(step);
  }

  // `identity` and `kept`: see block_progress.h; null where nothing is kept.
  Status run(const std::string& directory, const nlohmann::json& identity, KeptProgress* kept) {
    LATHE_TRY(SafetensorsWriter writer, create_writer(directory));
    LATHE_OK(start_passes());
    LATHE_OK(start_calibration());
    if (!transforming_) LATHE_OK(write_vectors(writer));
    Progress progress("compressing", static_cast<int64_t>(plans_.size()), "matrices");
    if (kept && stream_) LATHE_OK(take_over(*kept, writer));
    const auto first = static_cast<size_t>(report_.taken_over);
    for (size_t i = 0; i < plans_.size(); ++i) {
      if (i >= first) {
        const bool block_begins = plans_[i].info.layer != layer_;
        LATHE_OK(advance_to(plans_[i].info.layer));
        if (block_begins) LATHE_OK(begin_block(directory, identity, i, writer));
        LATHE_OK(compress_matrix(plans_[i], writer));
      }
      progress.advance();
    }
    forget_progress(directory);
    if (transforming_) LATHE_OK(write_vectors(writer));
    LATHE_OK(writer.finish());
    LATHE_OK(copy_side_files(source_, directory));
    if (reshaped_.changed()) LATHE_OK(reshaped_.write_config(directory));
    return write_atomically(directory + "/lathe.json", description().dump(1) + "\n");
  }

  CompressionReport take_report() {
    int64_t elements = 0, block_elements = 0, block_bytes = 0;
    for (const VectorInfo& info : vectors_) elements += info.size;
    for (size_t i = 0; i < plans_.size(); ++i) {
      const MatrixInfo& info = plans_[i].info;
      elements += info.rows * info.cols;
      if (info.layer < 0) continue;
      block_elements += info.rows * info.cols;
      block_bytes += report_.matrices[i].bytes;
    }
    const auto bits = [](int64_t bytes, int64_t weights) {
      return 8.0 * static_cast<double>(bytes) / static_cast<double>(weights);
    };
    report_.bits_per_weight = bits(report_.stored_bytes, elements);
    report_.block_bits_per_weight = bits(block_bytes, block_elements);
    return std::move(report_);
  }

 private:
  // Transforming passes change vectors block by block: these then stand after the matrices.
  Result<SafetensorsWriter> create_writer(const std::string& directory) const {
    std::vector<SafetensorsWriter::Declared> vectors, tensors;
    for (const VectorInfo& info : vectors_) {
      vectors.push_back({info.name, DType::kF32, {info.size}});
    }
    for (const MatrixPlan& plan : plans_) {
      for (const PartSpec& part : plan.stored->parts(plan.info.rows, plan.info.cols)) {
        tensors.push_back({plan.info.name + "." + part.name, part.dtype, part.shape, part.varies});
      }
    }
    tensors.insert(transforming_ ? tensors.end() : tensors.begin(), vectors.begin(), vectors.end());
    return SafetensorsWriter::create(directory + "/model.safetensors", std::move(tensors),
                                     {{"format", "lathe"}});
  }

  Status write_vectors(SafetensorsWriter& writer) {
    for (const VectorInfo& info : vectors_) {
      LATHE_TRY(const std::vector<float> values, current_.vector(info.name, info.size));
      LATHE_OK(writer.append(
          {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)}));
      report_.stored_bytes += info.size * static_cast<int64_t>(sizeof(float));
    }
    return {};
  }

  bool is_calibrated(const MatrixPlan& plan) const {
    for (size_t step = 0; step < plan.steps.size(); ++step) {
      const Pass* pass = find_pass(recipe_.steps[step].pass).value();
      if (plan.steps[step].applies && pass->needs_calibration) return true;
    }
    return false;
  }

  bool transforms(size_t step) const {
    return find_pass(recipe_.steps[step].pass).value()->kind == PassKind::kTransform;
  }

  Status start_calibration() {
    if (transforming_) last_calibrated_ = source_.config().layers - 1;
    for (const MatrixPlan& plan : plans_) {
      if (is_calibrated(plan)) last_calibrated_ = std::max(last_calibrated_, plan.info.layer);
    }
    const bool looked = reshaped_.changed() && recipe_.needs_calibration();
    if (last_calibrated_ < 0 && !looked) return {};
    looked_ = true;
    if (last_calibrated_ < 0) return {};
    std::vector<std::string> wanted;
    for (const MatrixPlan& plan : plans_) {
      if (is_calibrated(plan) || (transforming_ && plan.info.layer >= 0)) {
        wanted.push_back(plan.info.name);
      }
    }
    LATHE_TRY_IN(
        inputs_,
        BlockInputs::create(source_, *recipe_.calibration, std::move(data_), wanted, pool_),
        "calibration");
    data_.sha256 = inputs_->sha256();
    stream_ = inputs_->stream();
    return {};
  }

  // Before the first matrix of a block: takes the calibration data through the block before it, as
  // it has become.
  Status advance_to(int64_t layer) {
    if (layer == layer_) return {};
    if (inputs_ && layer_ >= 0) {
      const bool more_follow = layer >= 0 && layer <= last_calibrated_;
      LATHE_OK_IN(inputs_->finish_block(current_, layer_, more_follow), "calibration");
    }
    tell_how_long(layer);
    layer_ = layer;
    current_.done.clear();
    current_.transformed.clear();
    current_.column_factors.clear();
    return {};
  }

  // Once, when the first block is done: what that took says more than what was predicted.
  void tell_how_long(int64_t layer) {
    if (!inputs_ || layer < 0) return;
    if (layer_ < 0) {
      first_layer_ = layer;
      first_began_ = Clock::now();
    } else if (layer == first_layer_ + 1 && layer <= last_calibrated_) {
      const std::chrono::duration<double> took = Clock::now() - first_began_;
      const auto left = static_cast<double>(last_calibrated_ + 1 - layer);
      if (left * took.count() < 5) return;
      spdlog::info("the first block took {}, the others need about {}", duration_text(took.count()),
                   duration_text(left * took.count()));
    }
  }

  Status begin_block(const std::string& directory, const nlohmann::json& identity, size_t next,
                     SafetensorsWriter& writer) {
    const bool anything_done = layer_ != 0 && static_cast<int64_t>(next) > report_.taken_over;
    if (stream_ && anything_done && keeping_) {
      LATHE_OK(writer.flush());
      const Status kept =
          keep_progress(directory, identity, {done_, current_.vectors, stream_->states()});
      if (!kept.ok()) {
        keeping_ = false;
        spdlog::warn("how far this has come cannot be kept: {}", kept.error().message);
        spdlog::warn("going on; if it is stopped, less or nothing will be taken over");
      }
    }
    return layer_ < 0 ? Status() : transform_block();
  }

  // The matrices that a killed process has finished.
  Status take_over(KeptProgress& kept, SafetensorsWriter& writer) {
    const BlockProgress& progress = kept.progress();
    if (progress.done.size() >= plans_.size()) {
      return failed("more matrices are kept than there are");
    }
    LATHE_OK(stream_->set_states(kept.take_states()));
    current_.vectors = progress.vectors;
    done_ = progress.done;
    for (size_t i = 0; i < done_.size(); ++i) {
      const MatrixPlan& plan = plans_[i];
      LATHE_TRY(MatrixReport report, matrix_report_from_json(done_[i]));
      if (report.name != plan.info.name) return failed("'{}' is kept for another", report.name);
      for (const PartSpec& part : plan.stored->parts(plan.info.rows, plan.info.cols)) {
        LATHE_TRY(const auto bytes, kept.tensor(plan.info.name + "." + part.name));
        LATHE_OK(writer.append(bytes));
      }
      report_.stored_bytes += report.bytes;
      report_.matrices.push_back(std::move(report));
    }
    report_.taken_over = static_cast<int64_t>(done_.size());
    spdlog::info("going on with layer {}, where an earlier run was stopped",
                 plans_[done_.size()].info.layer);
    return {};
  }

  Status transform_block() {
    WorkBlock block(
        current_, layer_,
        [this](const std::string& name) { return inputs_->before_block(current_, layer_, name); },
        [this](const std::string& name) {
          const auto it = std::find_if(plans_.begin(), plans_.end(), [&](const MatrixPlan& plan) {
            return plan.info.name == name;
          });
          return it->stored;
        });
    for (size_t step = 0; step < runs_.size(); ++step) {
      if (!transforms(step)) continue;
      LATHE_OK_IN(runs_[step]->transform(block), fmt::format("model.layers.{}", layer_));
    }
    return {};
  }

  // Each pass may look at the whole model as the passes before it leave it.
  Status start_passes() {
    for (size_t step = 0; step < recipe_.steps.size(); ++step) {
      LATHE_TRY(const Pass* pass, find_pass(recipe_.steps[step].pass));
      const auto sweep =
          [this,
           step](const std::function<Status(WorkMatrix&, const StepTarget&)>& visit) -> Status {
        for (size_t before = 0; before < step; ++before) {
          const Pass* earlier = find_pass(recipe_.steps[before].pass).value();
          if (!earlier->needs_calibration || reshapes(earlier->kind)) continue;
          return bad_input("pass '{}' looks at the whole model, and cannot come after '{}'",
                           recipe_.steps[step].pass, recipe_.steps[before].pass)
              .with_hint("put it first, or let it work matrix by matrix");
        }
        for (const MatrixPlan& plan : plans_) {
          if (!plan.steps[step].applies) continue;
          LATHE_TRY(WorkMatrix matrix, load(plan));
          LATHE_OK(apply_passes(plan, step, matrix));
          LATHE_OK_IN(visit(matrix, plan.steps[step]), plan.info.name);
          release(matrix);
        }
        return {};
      };
      if (reshapes(pass->kind)) {
        runs_.emplace_back();
        continue;
      }
      LATHE_TRY(auto run, pass->start({recipe_.steps[step].parameters, pool_, sweep}));
      runs_.push_back(std::move(run));
    }
    return {};
  }

  Result<WorkMatrix> load(const MatrixPlan& plan) const {
    LATHE_TRY(WeightMatrix matrix, current_.matrix(plan.info.name, plan.info.rows, plan.info.cols));
    return WorkMatrix(plan.info, std::move(matrix));
  }

  // The first `count` passes.
  Status apply_passes(const MatrixPlan& plan, size_t count, WorkMatrix& matrix) {
    for (size_t step = 0; step < count; ++step) {
      if (!plan.steps[step].applies) continue;
      LATHE_OK_IN(runs_[step]->apply(matrix, plan.steps[step]), plan.info.name);
    }
    return {};
  }

  static void release(const WorkMatrix& matrix) {
    for (const Bytes& part : matrix.source().parts()) release_pages(part);
  }

  Status compress_matrix(const MatrixPlan& plan, SafetensorsWriter& writer) {
    LATHE_TRY(WorkMatrix matrix, load(plan));
    if (is_calibrated(plan)) {
      LATHE_TRY_IN(auto stats, inputs_->of(current_, layer_, plan.info.name), plan.info.name);
      matrix.set_stats(std::move(stats));
    }
    LATHE_OK(apply_passes(plan, plan.steps.size(), matrix));
    LATHE_OK_IN(matrix.quantize(plan.stored, pool_), plan.info.name);
    const StorageError error = storage_error(matrix, pool_);
    if (error.lost_zeros > 0) {
      return failed("{}: {} pruned weights are not zero in format {}", plan.info.name,
                    error.lost_zeros, plan.stored->spec());
    }
    for (const Bytes& part : matrix.stored().parts()) LATHE_OK(writer.append(part.span()));
    if (stream_ && plan.info.layer >= 0) current_.done[plan.info.name] = matrix.stored();
    const MatrixReport report{plan.info.name,
                              plan.stored->spec(),
                              plan.info.rows,
                              plan.info.cols,
                              matrix.stored().bytes(),
                              static_cast<double>(error.zeros) / static_cast<double>(matrix.size()),
                              error.mse,
                              error.relative_error,
                              matrix.note()};
    report_.stored_bytes += report.bytes;
    report_.matrices.push_back(report);
    if (stream_) done_.push_back(with_hashes(report, matrix.stored()));
    release(matrix);
    return {};
  }

  static nlohmann::json with_hashes(const MatrixReport& report, const WeightMatrix& stored) {
    nlohmann::json out = to_json(report);
    const auto specs = stored.format().parts(stored.rows(), stored.cols());
    for (size_t i = 0; i < specs.size(); ++i) {
      Sha256 hash;
      hash.update(stored.parts()[i].span());
      out["sha256"][report.name + "." + specs[i].name] = hash.hex();
    }
    return out;
  }

  nlohmann::json calibration() const {
    const CalibrationSpec& spec = *recipe_.calibration;
    if (!spec.importances.empty()) return {{"importances_sha256", data_.sha256}};
    if (!spec.hessians.empty()) return {{"hessians_sha256", data_.sha256}};
    return {{"tokens", spec.samples * spec.length},
            {spec.temperature ? "generated_sha256" : "data_sha256", data_.sha256}};
  }

  // No times and no paths: the same source and recipe give the same text.
  nlohmann::json description() const {
    nlohmann::json matrices, files = nlohmann::json::array(), layers = nlohmann::json::array();
    for (const MatrixReport& report : report_.matrices) {
      matrices[report.name] = {
          {"format", report.format}, {"rows", report.rows}, {"cols", report.cols}};
      layers.push_back(to_json(report));
    }
    for (const std::string& file : source_.weight_files()) {
      std::error_code error;
      const auto bytes = fs::file_size(file, error);
      files.push_back({{"name", fs::path(file).filename().string()},
                       {"bytes", error ? 0 : static_cast<int64_t>(bytes)}});
    }
    std::error_code error;
    fs::path path = fs::absolute(source_.path(), error).lexically_normal();
    if (!path.has_filename()) path = path.parent_path();
    nlohmann::json out = {
        {"lathe_checkpoint", kLatheCheckpoint},
        {"lathe", kVersion},
        {"config", to_json(source_.config())},
        {"matrices", std::move(matrices)},
        {"recipe", to_json(recipe_)},
        {"recipe_hash", recipe_.hash()},
        {"source", {{"name", path.filename().string()}, {"files", std::move(files)}}},
        {"layers", std::move(layers)}};
    if (looked_) out["calibration"] = calibration();
    if (reshaped_.changed()) out["reshaped"] = reshaped_.report();
    return out;
  }

  const ReshapedSource& reshaped_;
  const Checkpoint& source_;
  const Recipe& recipe_;
  std::vector<MatrixPlan> plans_;
  CalibrationData data_;
  std::vector<VectorInfo> vectors_;
  ThreadPool& pool_;
  bool transforming_ = false;
  std::vector<std::unique_ptr<PassRun>> runs_;
  CompressionReport report_;
  // Calibration; the rest is of the block that is being worked on.
  std::unique_ptr<BlockInputs> inputs_;
  CalibrationStream* stream_ = nullptr;  // of inputs_, where there is one
  bool looked_ = false;                  // at data or at stored statistics
  bool keeping_ = true;                  // progress
  int64_t last_calibrated_ = -1, layer_ = -1, first_layer_ = -1;
  Clock::time_point first_began_;
  CurrentModel current_;
  std::vector<nlohmann::json> done_;  // for keep_progress()
};

// What a compression is of: one that differs in any of it gives other bytes.
Result<nlohmann::json> identity_of(const Checkpoint& source, const Recipe& recipe) {
  nlohmann::json files = nlohmann::json::array();
  for (const std::string& file : source.weight_files()) {
    std::error_code error;
    const auto bytes = fs::file_size(file, error);
    const auto written = fs::last_write_time(file, error);
    if (error) return failed("{}: {}", file, error.message());
    files.push_back({fs::absolute(file).string(), bytes, written.time_since_epoch().count()});
  }
  std::string data;  // what is generated follows from source and recipe
  if (!recipe.calibration->temperature) {
    LATHE_TRY_IN(data, sha256_of_file(recipe.calibration->data), "calibration");
  }
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_TRY(const Math math, calibration_math());
  return nlohmann::json{{"lathe", kVersion}, {"recipe", recipe.hash()}, {"files", std::move(files)},
                        {"data", data},      {"isa", name_of(isa)},     {"math", name_of(math)}};
}

struct Prepared {
  std::vector<MatrixPlan> plans;
  Cost cost;
};

// All that can be refused before any work.
Result<Prepared> prepare(const Checkpoint& source, const Recipe& recipe, ThreadPool& pool) {
  LATHE_TRY_IN(const ReshapedSource preview, ReshapedSource::preview(source, recipe, pool),
               source.path());
  Prepared out;
  LATHE_TRY_IN(out.plans, make_plan(preview.model(), recipe), source.path());
  LATHE_OK(check_memory(source, out.plans));
  LATHE_OK(check_calibration(recipe));
  if (!recipe.needs_calibration()) return out;
  LATHE_TRY(const ProductSpeeds speeds, measure_products(pool));
  out.cost = cost_of(preview.model().config(), out.plans, recipe, speeds);
  return out;
}

}  // namespace

Result<Cost> predicted_cost(const Checkpoint& source, const Recipe& recipe, ThreadPool& pool) {
  LATHE_TRY(const Prepared prepared, prepare(source, recipe, pool));
  return prepared.cost;
}

nlohmann::json to_json(const MatrixReport& report) {
  nlohmann::json out = {{"name", report.name},   {"format", report.format},
                        {"rows", report.rows},   {"cols", report.cols},
                        {"bytes", report.bytes}, {"sparsity", report.sparsity},
                        {"mse", report.mse},     {"relative_error", report.relative_error}};
  if (!report.note.empty()) out["note"] = report.note;
  return out;
}

Result<MatrixReport> matrix_report_from_json(const nlohmann::json& json) {
  MatrixReport report;
  try {
    json.at("name").get_to(report.name);
    json.at("format").get_to(report.format);
    json.at("rows").get_to(report.rows);
    json.at("cols").get_to(report.cols);
    json.at("bytes").get_to(report.bytes);
    json.at("sparsity").get_to(report.sparsity);
    json.at("mse").get_to(report.mse);
    json.at("relative_error").get_to(report.relative_error);
    report.note = member_or(json, "note", "");
  } catch (const nlohmann::json::exception& exception) {
    return bad_input("the report of a matrix: {}", exception.what());
  }
  return report;
}

Result<CompressionReport> compress(const Checkpoint& source, const Recipe& recipe,
                                   const std::string& out_directory, ThreadPool& pool,
                                   const CompressOptions& options) {
  const auto start = Clock::now();
  std::error_code error;
  if (fs::equivalent(source.path(), out_directory, error)) {
    return bad_input("{}: is the model itself; write the compressed one elsewhere", out_directory);
  }
  LATHE_TRY(Prepared prepared, prepare(source, recipe, pool));
  if (recipe.needs_calibration())
    LATHE_OK_IN(announce("compressing", prepared.cost), source.path());
  nlohmann::json identity;
  std::unique_ptr<KeptProgress> kept;
  const bool samples = recipe.needs_calibration() && !recipe.calibration->stored();
  if (samples) {
    LATHE_TRY(identity, identity_of(source, recipe));
    kept = KeptProgress::find(out_directory, identity);
  }
  LATHE_TRY(OutputDirectory directory, OutputDirectory::create(out_directory, options.overwrite));
  CalibrationData data;
  if (samples) {
    LATHE_TRY_IN(data, calibration_data(*recipe.calibration, source, pool), "calibration");
  }
  LATHE_TRY_IN(const ReshapedSource reshaped,
               ReshapedSource::create(source, recipe, data.samples, pool), source.path());
  Compressor compressor(reshaped, recipe, std::move(prepared.plans), std::move(data), pool);
  LATHE_OK_IN(compressor.run(directory.path(), identity, kept.get()), source.path());
  LATHE_OK(directory.commit());
  CompressionReport report = compressor.take_report();
  report.predicted = prepared.cost;
  report.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  report.peak_rss_bytes = peak_rss_bytes();
  return report;
}

}  // namespace lathe
