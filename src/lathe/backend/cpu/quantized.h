// x as integers (QuantizedView), once per kind of group that the matrices of one call have.
#pragma once

#include <memory>
#include <vector>

#include "lathe/backend/cpu/kernels.h"
#include "lathe/base/threads.h"
#include "lathe/tensor/tensor.h"

namespace lathe::cpu {

// What the groups of a matrix ask of x.
struct QuantizedGroups {
  int64_t columns, span;
  bool operator==(const QuantizedGroups&) const = default;
};
QuantizedGroups groups_for(const PackedView& weights);

int64_t quantized_bytes(int64_t tokens, int64_t cols, const QuantizedGroups& groups);
// Sets the sizes of `q` for T tokens of K columns, and its arrays to their places in `memory`,
// which is aligned to 64, has quantized_bytes() and is zeroed here: what lies behind K, and blocks
// that a short last group does not have, stay 0.
void place_quantized(int64_t tokens, int64_t cols, const QuantizedGroups& groups, uint8_t* memory,
                     QuantizedView* q);

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
