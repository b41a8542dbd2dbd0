#include "lathe/backend/cpu/expanded.h"

#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {

Expanded::Expanded(const Kernels& kernels, const PackedView& view)
    : kernels_(kernels), source_(view), dense_(view) {
  if (!view.masks) return;
  codes_ = reinterpret_cast<uint8_t*>(scratch(Slot::kCodes, (view.panel_bytes + 3) / 4));
  dense_.data = codes_;
  dense_.panel_bytes = 0;  // every panel lies there
  dense_.masks = nullptr;
}

const PackedView* Expanded::of(int64_t panel, int64_t begin, int64_t end) {
  if (!source_.masks) return &source_;
  kernels_.expand(&source_, panel, begin, end, codes_);
  return &dense_;
}

}  // namespace lathe::cpu
