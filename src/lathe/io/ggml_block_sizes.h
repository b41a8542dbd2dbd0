// Block sizes of the ggml tensor types, by type number: what the reader needs to check ranges.
// Source: ggml's ggml_type enum and its block structs; checked against gguf-py's GGML_QUANT_SIZES
// by tests/io.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace lathe {

struct GgmlBlock {
  uint32_t type;
  std::string_view name;
  int64_t elements, bytes;
};

std::span<const GgmlBlock> ggml_blocks();
const GgmlBlock* ggml_block(uint32_t type);                // nullptr: unknown or withdrawn
const GgmlBlock* ggml_block_named(std::string_view name);  // "Q4_K"

}  // namespace lathe
