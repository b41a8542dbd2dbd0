// What fuzzers share.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lathe/base/bytes.h"

namespace lathe {

// A block of exactly the input's size, so that the address sanitizer sees a read past its end, at
// an address aligned as a mapped file's is.
inline Bytes fuzz_bytes(const uint8_t* data, size_t size) { return Bytes::copy_of({data, size}); }

inline std::string_view fuzz_text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// Reads every byte, so that a view outside of its owner is caught.
inline void touch(const Bytes& bytes) {
  uint8_t sum = 0;
  for (const uint8_t b : bytes.span()) sum ^= b;
  asm volatile("" : : "r"(sum));  // keeps the loop
}

}  // namespace lathe
