#include "lathe/backend/cpu/scratch.h"

#include <array>
#include <memory>

#include "lathe/base/large_block.h"

namespace lathe::cpu {
namespace {

struct Free {
  size_t bytes = 0;
  void operator()(float* p) const { free_block(p, bytes); }
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
    const size_t bytes = static_cast<size_t>(floats) * sizeof(float);
    b.data = {static_cast<float*>(allocate_block(bytes)), Free{bytes}};
    b.floats = floats;
  }
  return b.data.get();
}

}  // namespace lathe::cpu
