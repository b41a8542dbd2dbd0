// What the reshaping passes of a recipe make of a source: checkpoints in front of it, one per pass,
// that rotate its weights or leave some of them out. Everything else sees only the last of them.
#pragma once

#include <memory>
#include <vector>

#include "lathe/compress/recipe.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

class ThreadPool;

class ReshapedSource {
 public:
  // The shapes and formats of the result, before any data is looked at. Refuses what the passes
  // cannot do with this model, and what its config.json could not say. `source` must outlive this.
  static Result<ReshapedSource> preview(const Checkpoint& source, const Recipe& recipe,
                                        ThreadPool& pool);
  // `samples`: empty where no pass looks at data.
  static Result<ReshapedSource> create(const Checkpoint& source, const Recipe& recipe,
                                       const Samples& samples, ThreadPool& pool);

  const Checkpoint& model() const { return chain_.empty() ? source_ : *chain_.back(); }
  bool changed() const { return !chain_.empty(); }
  // What each pass did, for lathe.json.
  const nlohmann::json& report() const { return report_; }
  // Replaces config.json in a directory to which the source's has been copied.
  Status write_config(const std::string& directory) const;

 private:
  explicit ReshapedSource(const Checkpoint& source) : source_(source) {}
  Status reshape(const Recipe& recipe, ThreadPool& pool, const Samples* samples);

  const Checkpoint& source_;
  std::vector<std::unique_ptr<const Checkpoint>> chain_;
  nlohmann::json report_ = nlohmann::json::array();
};

}  // namespace lathe
