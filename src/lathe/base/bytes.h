// Bytes: a read-only run of bytes that keeps its owner alive (a mapped file, or a heap block).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace lathe {

class Bytes {
 public:
  Bytes() = default;
  Bytes(const uint8_t* data, size_t size, std::shared_ptr<const void> owner)
      : data_(data), size_(size), owner_(std::move(owner)) {}

  // A new, zeroed heap block aligned to 64 bytes; `writable` receives its address.
  static Bytes allocate(size_t size, uint8_t** writable);
  static Bytes copy_of(std::span<const uint8_t> source);

  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::span<const uint8_t> span() const { return {data_, size_}; }
  // A part of this run that shares its owner. The range must lie inside.
  Bytes slice(size_t offset, size_t size) const;
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_);
  }

 private:
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
  std::shared_ptr<const void> owner_;
};

// A matrix [rows, cols] with elements of `element` bytes as [cols, rows].
Bytes transpose(const Bytes& source, int64_t rows, int64_t cols, int64_t element);

}  // namespace lathe
