// llama.cpp's mixtures of ggml block types: which matrix gets which, by its place in the model.
// Source: src/llama-quant.cpp (llama_tensor_get_type), for dense models with separate q, k and v.
// Layers count in the order of the model, as in files that convert_hf_to_gguf.py writes now.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lathe/model/checkpoint.h"

namespace lathe {

// "q4_k_m" or "q3_k_m".
bool is_mixture(std::string_view name);
// What most matrices of a mixture are stored in: "q4_k", "q3_k".
std::string mixture_base(std::string_view mixture);
// A spec, or none for what a mixture says nothing about (learned positions). Rows that are not
// whole blocks of 256 get the next larger type in blocks of 32, and f16 where that does not fit
// either.
std::optional<std::string> mixture_format(std::string_view mixture, const MatrixInfo& info,
                                          const ModelConfig& config);

}  // namespace lathe
