// CheckOps runs two backends side by side, operation by operation, and throws on the first
// difference. Every operation is given the same inputs (the results of the first backend go on), so
// that an error is found where it arises. `--device check` and the tests use it.
#pragma once

#include <memory>
#include <stdexcept>

#include "lathe/backend/ops.h"

namespace lathe {

// Names the operation (and the Linear or Norm), the row and column of the largest difference, both
// values, and the row's relative difference.
class CheckError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class CheckOps final : public Ops {
 public:
  // A row differs when ‖a − b‖₂ > tolerance · ‖b‖₂, or when one of them alone has a NaN. The
  // tolerance is for sums whose terms do not cancel; 1e-4 leaves room for those that do.
  CheckOps(std::unique_ptr<Ops> tested, std::unique_ptr<Ops> reference, float tolerance = 1e-4f);
  ~CheckOps() override;

  std::string name() const override;
  ThreadPool& threads() override { return tested_->threads(); }
  // Holds the packed weights of both: twice the memory.
  std::shared_ptr<const PackedMatrix> pack(WeightMatrix weights) override;
  Tensor embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) override;
  Tensor linear(const Linear& w, const Tensor& x) override;
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override;
  Tensor norm(const Norm& n, const Tensor& x) override;
  Tensor add(Tensor a, const Tensor& b) override;
  Tensor activate(Activation f, Tensor x) override;
  Tensor gate(Activation f, Tensor gate, const Tensor& up) override;
  Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
              Tensor x) override;
  // Both write the same keys and values into the same caches.
  Tensor attention(const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
                   const Tensor& q, const Tensor& k, const Tensor& v) override;
  Tensor soft_cap(float cap, Tensor x) override;
  Tensor take_rows(std::span<const int64_t> rows, const Tensor& x) override;

 private:
  Tensor compare(const std::string& what, Tensor tested, const Tensor& reference) const;

  std::unique_ptr<Ops> tested_, reference_;
  float tolerance_;
};

}  // namespace lathe
