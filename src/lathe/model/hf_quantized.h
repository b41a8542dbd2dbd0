// Linear layers in Hugging Face directories that other tools have quantized, as the formats of
// formats/ that hold exactly the same weights:
//   bitsandbytes 4-bit → nf4, fp4 (the parts are the same)     LLM.int8 → int8:row
//   GPTQ (v1, v2), AWQ GEMM, compressed-tensors pack-quantized → int4:gN, int4:gN,asym
// Layouts: bitsandbytes' nn/modules.py; AutoGPTQ and GPTQModel's qlinear/torch; AutoAWQ's
// modules/linear/gemm; compressed-tensors' compressors/pack_quantized.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lathe/formats/weight_matrix.h"
#include "lathe/io/safetensors.h"

namespace lathe {

class HfQuantization {
 public:
  // "quantization_config" of config.json. Refuses what no format holds exactly.
  static Result<HfQuantization> from_json(const nlohmann::json& config);

  // The tensor that shows that `module` ("model.layers.0.mlp.up_proj") is quantized: for its shape
  // and dtype only. nullptr: stored as plain floats.
  const StoredTensor* marker(const SafetensorsFile& file, const std::string& module) const;
  // All rows × cols weights of a module that has a marker.
  Result<WeightMatrix> read(const SafetensorsFile& file, const std::string& module, int64_t rows,
                            int64_t cols) const;

 private:
  enum class Method : uint8_t { kBitsandbytes, kGptq, kAwq, kCompressedTensors };
  struct Codes;

  Result<WeightMatrix> read_bitsandbytes(const SafetensorsFile& file, const std::string& module,
                                         int64_t rows, int64_t cols) const;
  Result<Codes> read_gptq(const SafetensorsFile& file, const std::string& module, int64_t rows,
                          int64_t cols) const;
  Result<Codes> read_awq(const SafetensorsFile& file, const std::string& module, int64_t rows,
                         int64_t cols) const;
  Result<Codes> read_compressed(const SafetensorsFile& file, const std::string& module,
                                int64_t rows, int64_t cols) const;

  Method method_ = Method::kBitsandbytes;
  int64_t group_ = 0;            // columns; 0: the whole row
  bool zero_minus_one_ = false;  // GPTQ v1 stores zero points less one
};

// Rows [first, first + rows) of a matrix whose format stores rows one by one.
Result<WeightMatrix> slice_rows(const WeightMatrix& matrix, int64_t first, int64_t rows,
                                std::string_view where);

}  // namespace lathe
