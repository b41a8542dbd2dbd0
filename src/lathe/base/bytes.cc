#include "lathe/base/bytes.h"

#include <cstring>

#include "lathe/base/check.h"
#include "lathe/base/large_block.h"

namespace lathe {

Bytes Bytes::allocate(size_t size, uint8_t** writable) {
  auto* data = static_cast<uint8_t*>(allocate_block(size));
  std::memset(data, 0, size);
  std::shared_ptr<const void> owner(
      data, [size](const void* p) { free_block(const_cast<void*>(p), size); });
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
