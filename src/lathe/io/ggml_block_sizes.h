// Block sizes of every ggml tensor type that a file may hold, including those that no format of
// Lathe decodes (formats/gguf_types.h lists those that one does): ranges in a file are checked for
// all its tensors, so that a model with one foreign tensor can still be inspected.
// Source: ggml's ggml_type enum and block structs; checked against gguf-py by tests/io.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lathe {

struct GgmlBlock {
  std::string_view name;  // "q4_k"
  int64_t elements, bytes;
};

// nullopt: unknown, withdrawn from ggml, or never stored (Q8_1).
std::optional<GgmlBlock> ggml_block(uint32_t type);

}  // namespace lathe
