// How other tools lay a quantized linear layer out in a Hugging Face directory. The matrix is in a
// format that holds the same weights; nothing is rounded here. Layouts: see model/hf_quantized.h,
// which reads them back.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/formats/weight_matrix.h"

namespace lathe {

struct HfTensor {
  std::string name;  // after the module's name: ".weight"
  DType dtype;
  std::vector<int64_t> shape;
  Bytes bytes;
};

struct HfScheme {
  std::string name;  // "gptq"
  // Whether it has a place for this format; `as_text` of those it has.
  bool (*holds)(const Format& format);
  const char* formats;
  // The matrix as tensors; refuses shapes that do not fill whole words.
  Result<std::vector<HfTensor>> (*pack)(const WeightMatrix& matrix, const std::string& where);
  // "quantization_config"; `plain`: modules that are not quantized.
  nlohmann::json (*config)(const Format& format, const std::vector<std::string>& plain);
};

const std::vector<HfScheme>& hf_schemes();
const HfScheme* find_hf_scheme(const std::string& name);

}  // namespace lathe
