#include "lathe/compress/block_inputs.h"

#include <algorithm>

#include "lathe/base/hash.h"
#include "lathe/compress/importances.h"

namespace lathe {

Result<std::unique_ptr<BlockInputs>> BlockInputs::create(const Checkpoint& source,
                                                         const CalibrationSpec& spec,
                                                         CalibrationData data,
                                                         const std::vector<std::string>& wanted,
                                                         ThreadPool& pool) {
  std::unique_ptr<BlockInputs> out(new BlockInputs);
  if (!spec.importances.empty()) {
    LATHE_OK(out->take_importances(spec, source.config(), wanted));
  } else if (!spec.hessians.empty()) {
    LATHE_OK(out->open_hessians(spec, source.config(), wanted, pool));
  } else {
    out->sha256_ = std::move(data.sha256);
    LATHE_TRY(out->stream_, CalibrationStream::create(source, std::move(data.samples), pool));
  }
  return out;
}

// All that is needed must be there before any work.
Status BlockInputs::take_importances(const CalibrationSpec& spec, const ModelConfig& config,
                                     const std::vector<std::string>& wanted) {
  const std::string& path = spec.importances;
  LATHE_TRY(sha256_, sha256_of_file(path));
  LATHE_TRY(Importances importances, read_importances(path, config));
  for (const std::string& name : wanted) {
    const auto it = importances.find(name);
    if (it == importances.end()) {
      return bad_input("{}: no importances of '{}'", path, name)
          .with_hint("make the file from this model, or override the format of this matrix");
    }
    importances_[name] = std::make_shared<const LinearStats>(std::move(it->second));
  }
  return {};
}

Status BlockInputs::open_hessians(const CalibrationSpec& spec, const ModelConfig& config,
                                  const std::vector<std::string>& wanted, ThreadPool& pool) {
  LATHE_TRY(sha256_, sha256_of_file(spec.hessians));
  LATHE_TRY(hessians_, Hessians::open(spec.hessians, config, pool));
  for (const std::string& name : wanted) {
    if (hessians_->has(name)) continue;
    return bad_input("{}: nothing of the input of '{}'", spec.hessians, name)
        .with_hint("make the file from this model: lathe calibrate --hessians");
  }
  return {};
}

Status BlockInputs::finish_block(const CurrentModel& current, int64_t layer, bool more_follow) {
  stats_.reset();
  sharing_.clear();
  return stream_ && more_follow ? stream_->advance(current, layer) : Status();
}

Result<std::shared_ptr<const LinearStats>> BlockInputs::stored(const CurrentModel& current,
                                                               const std::string& name) {
  if (!hessians_) return importances_.at(name);
  LATHE_TRY(LinearStats stats, hessians_->of(name));
  // What a transforming pass has multiplied the columns by, the inputs are divided by.
  const auto it = current.column_factors.find(name);
  if (it != current.column_factors.end()) stats.divide(it->second);
  return std::make_shared<const LinearStats>(std::move(stats));
}

Result<std::shared_ptr<const LinearStats>> BlockInputs::before_block(const CurrentModel& current,
                                                                     int64_t layer,
                                                                     const std::string& name) {
  std::vector<std::string> sharing;
  return stream_ ? stream_->collect(current, layer, name, sharing) : stored(current, name);
}

Result<std::shared_ptr<const LinearStats>> BlockInputs::of(const CurrentModel& current,
                                                           int64_t layer, const std::string& name) {
  if (std::find(sharing_.begin(), sharing_.end(), name) != sharing_.end()) return stats_;
  stats_.reset();
  if (!stream_) {
    LATHE_TRY(stats_, stored(current, name));
    sharing_ = hessians_ ? hessians_->sharing(name) : std::vector<std::string>{name};
    return stats_;
  }
  // The attention of a block is done when the turn of its MLP has come.
  if (name.find(".mlp.") != std::string::npos) {
    LATHE_OK(stream_->advance_attention(current, layer));
  }
  LATHE_TRY(stats_, stream_->collect(current, layer, name, sharing_));
  return stats_;
}

}  // namespace lathe
