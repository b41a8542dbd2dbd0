#include "lathe/base/bytes.h"

#include <sys/mman.h>

#include <cstring>
#include <new>

#include "lathe/base/check.h"

namespace lathe {

namespace {

// Blocks of this size lie in huge pages: handing out small ones takes the system longer than it
// takes to fill them.
constexpr size_t kHugePage = size_t{2} << 20, kLarge = 2 * kHugePage;

}  // namespace

Bytes Bytes::allocate(size_t size, uint8_t** writable) {
  const std::align_val_t alignment{size >= kLarge ? kHugePage : 64};
  auto* data = static_cast<uint8_t*>(::operator new(size ? size : 1, alignment));
  if (size >= kLarge) ::madvise(data, size / kHugePage * kHugePage, MADV_HUGEPAGE);
  std::memset(data, 0, size);
  std::shared_ptr<const void> owner(
      data, [alignment](const void* p) { ::operator delete(const_cast<void*>(p), alignment); });
  *writable = data;
  return Bytes(data, size, std::move(owner));
}

Bytes Bytes::copy_of(std::span<const uint8_t> source) {
  uint8_t* data = nullptr;
  Bytes bytes = allocate(source.size(), &data);
  if (!source.empty()) std::memcpy(data, source.data(), source.size());
  return bytes;
}

Bytes Bytes::slice(size_t offset, size_t size) const {
  LATHE_CHECK(offset <= size_ && size <= size_ - offset);
  return Bytes(data_ + offset, size, owner_);
}

Bytes transpose(const Bytes& source, int64_t rows, int64_t cols, int64_t element) {
  uint8_t* out = nullptr;
  Bytes bytes = Bytes::allocate(source.size(), &out);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < cols; ++c) {
      std::memcpy(out + (c * rows + r) * element, source.data() + (r * cols + c) * element,
                  static_cast<size_t>(element));
    }
  }
  return bytes;
}

}  // namespace lathe
