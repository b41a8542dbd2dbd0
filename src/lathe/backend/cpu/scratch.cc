#include "lathe/backend/cpu/scratch.h"

#include <array>
#include <memory>
#include <new>

namespace lathe::cpu {
namespace {

constexpr std::align_val_t kAlignment{64};

struct Free {
  void operator()(float* p) const { ::operator delete[](p, kAlignment); }
};

struct Buffer {
  std::unique_ptr<float[], Free> data;
  int64_t floats = 0;
};

}  // namespace

float* scratch(Slot slot, int64_t floats) {
  thread_local std::array<Buffer, static_cast<size_t>(Slot::kCount)> buffers;
  Buffer& b = buffers[static_cast<size_t>(slot)];
  if (b.floats < floats) {
    b.data.reset();
    b.floats = 0;
    b.data.reset(new (kAlignment) float[static_cast<size_t>(floats)]);
    b.floats = floats;
  }
  return b.data.get();
}

}  // namespace lathe::cpu
