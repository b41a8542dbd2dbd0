// Panels of sparse matrices as the dense kernels read them.
#pragma once

#include "lathe/backend/cpu/kernels.h"

namespace lathe::cpu {

class Expanded {
 public:
  Expanded(const Kernels& kernels, const PackedView& view);

  // A view for columns [begin, end) of a panel, begin a multiple of kSparseChunk: of the matrix
  // itself where it is dense, else of scratch memory that holds these columns of this panel alone,
  // until the same thread asks for others.
  const PackedView* of(int64_t panel, int64_t begin, int64_t end);
  // Panels that may be asked for at once.
  int64_t at_once(int64_t panels) const { return source_.masks ? 1 : panels; }

 private:
  const Kernels& kernels_;
  const PackedView& source_;
  PackedView dense_;
  uint8_t* codes_ = nullptr;
};

}  // namespace lathe::cpu
