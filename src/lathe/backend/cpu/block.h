// Memory that a decode step walks through from end to end.
#pragma once

#include <cstdint>
#include <memory>

namespace lathe::cpu {

// A zeroed block of memory aligned to 64 bytes. All but the smallest share chunks of 32 MB in huge
// pages: a matrix of 2 MB in small pages is read at two thirds of the speed. A chunk lives as long
// as a block in it.
class Block {
 public:
  Block() = default;
  explicit Block(int64_t bytes);
  uint8_t* data() const { return data_.get(); }
  int64_t size() const { return size_; }

  Block(Block&& other) noexcept = default;
  Block& operator=(Block&& other) noexcept = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() = default;

 private:
  std::shared_ptr<uint8_t> data_;
  int64_t size_ = 0;
};

}  // namespace lathe::cpu
