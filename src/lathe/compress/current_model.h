// The model as the passes have left it so far: a source with some of its tensors replaced.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lathe/model/checkpoint.h"

namespace lathe {

class CurrentModel final : public Checkpoint {
 public:
  // `source` must outlive this.
  explicit CurrentModel(const Checkpoint& source)
      : Checkpoint(source.path(), source.config()), source_(source) {}

  // Of the block that is being worked on: transformed, and compressed already.
  std::map<std::string, WeightMatrix> transformed, done;
  // Of matrices in `transformed`: what their columns have been multiplied by, and their inputs
  // divided by.
  std::map<std::string, std::vector<float>> column_factors;
  std::map<std::string, std::vector<float>> vectors;  // of all blocks

  bool has(const std::string& name) const override { return source_.has(name); }
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    for (const auto* replaced : {&done, &transformed}) {
      if (const auto it = replaced->find(name); it != replaced->end()) return it->second;
    }
    return source_.matrix(name, rows, cols);
  }
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    const auto it = vectors.find(name);
    if (it == vectors.end()) return source_.vector(name, size);
    return it->second;
  }
  std::vector<std::string> weight_files() const override { return source_.weight_files(); }

 private:
  const Checkpoint& source_;
};

}  // namespace lathe
