// ggml's tensor types, as they lie in a GGUF file: numbers, block sizes, and the Format of each.
// Source: ggml's ggml.h (enum ggml_type) and ggml-common.h (block layouts).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "lathe/formats/weight_matrix.h"

namespace lathe {

enum class GgmlType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kBF16 = 30,
};

struct GgmlTypeInfo {
  GgmlType type;
  std::string_view name;  // the format spec: "q4_k", "f16"
  int64_t block_elems;    // columns per block; rows are whole blocks
  int64_t block_bytes;
};

// All types that Lathe reads, floats included, by ascending number.
const std::vector<GgmlTypeInfo>& ggml_types();
// nullptr for a type that Lathe does not know.
const GgmlTypeInfo* ggml_type_info(uint32_t ggml_type);
// "q4_k", or "type 99" for an unknown one; for error messages.
std::string ggml_type_name(uint32_t ggml_type);

// The format of a tensor of this type (F32, F16, BF16 included); nullptr if unknown.
FormatPtr gguf_format(uint32_t ggml_type);
// The type number under which a GGUF file stores this format: Encoding::kGguf and kFloat only.
Result<uint32_t> ggml_type_of(const Format& format);
// rows × cols weights in a ggml block type, with scales and minima found by a search for the least
// Σ importance[k] · (ŵ − w)²; `importance` has K finite numbers ≥ 0, nullptr means all alike. Runs
// over rows in parallel; the bytes do not depend on the number of threads. Refuses other formats,
// weights that are not finite or out of range, and importances that are not finite or negative.
Result<WeightMatrix> encode_weighted(const FormatPtr& format, const float* weights, int64_t rows,
                                     int64_t cols, const float* importance, std::string_view where,
                                     ThreadPool& pool);
// Bytes of a row of `cols` elements; an error if the type is unknown, or `cols` is no multiple of
// its block.
Result<int64_t> gguf_row_bytes(uint32_t ggml_type, int64_t cols);

}  // namespace lathe
