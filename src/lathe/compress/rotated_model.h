// A model in other coordinates: its residual stream is rotated, and so are the values of each head,
// both folded into the weights. It computes the same, and its weights have fewer outliers.
#pragma once

#include "lathe/base/threads.h"
#include "lathe/compress/hadamard.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// Why the residual stream of such a model cannot be rotated; ok where it can.
Status can_rotate(const ModelConfig& config);

class RotatedModel final : public Checkpoint {
 public:
  // Each is left out if empty. Rotating the stream moves the gains of the norms into the matrices
  // that read them; a tied head then has weights of its own. `source` and `pool` must outlive this;
  // can_rotate() has been asked if `stream` is given.
  RotatedModel(const Checkpoint& source, std::optional<Rotation> stream,
               std::optional<Rotation> heads, ThreadPool& pool);

  bool has(const std::string& name) const override {
    return (name == "lm_head" && !config().tied) || source_.has(name);
  }
  // Changed matrices are in f32.
  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override;
  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override;
  std::vector<std::string> weight_files() const override { return source_.weight_files(); }
  std::string tokenizer_path() const override { return source_.tokenizer_path(); }

 private:
  Status rotate_stream(const std::string& name, int64_t rows, int64_t cols,
                       std::vector<float>& w) const;
  void rotate_heads(const std::string& name, int64_t rows, int64_t cols,
                    std::vector<float>& w) const;

  const Checkpoint& source_;
  std::optional<Rotation> stream_, heads_;
  ThreadPool& pool_;
};

}  // namespace lathe
