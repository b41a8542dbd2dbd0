#include "lathe/base/large_block.h"

#include <sys/mman.h>

#include <new>

namespace lathe {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

std::align_val_t alignment_of(size_t bytes) {
  return std::align_val_t{bytes >= kHugePage ? kHugePage : 64};
}

}  // namespace

void* allocate_block(size_t bytes) {
  void* block = ::operator new(bytes ? bytes : 1, alignment_of(bytes));
  if (bytes >= kHugePage) ::madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return block;
}

void free_block(void* block, size_t bytes) noexcept {
  ::operator delete(block, alignment_of(bytes));
}

}  // namespace lathe
