// x as integers (QuantizedView), once per size of group that the matrices of one call have.
#pragma once

#include <memory>
#include <vector>

#include "lathe/backend/cpu/kernels.h"
#include "lathe/base/threads.h"
#include "lathe/tensor/tensor.h"

namespace lathe::cpu {

class QuantizedInputs {
 public:
  // x [T, K] must outlive this.
  explicit QuantizedInputs(const Tensor& x) : x_(x) {}

  // x for a matrix with the groups of `weights`; valid as long as this object.
  const QuantizedView* of(const FastKernels& fast, ThreadPool& pool, const PackedView& weights);

 private:
  struct Entry {
    QuantizedView view;
    std::unique_ptr<uint8_t[]> memory;
  };
  const Tensor& x_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

}  // namespace lathe::cpu
