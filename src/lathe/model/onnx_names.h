// What the nodes and tensors of an ONNX model are called: the names of onnxruntime-genai's model
// builder, so that either side reads the other's files. Used by the reader and the exporter alike.
//
// A linear layer is the node "/model/layers.0/attn/q_proj/MatMul" (MatMulNBits there may have more
// letters behind), its tensors begin with the same name with dots: "model.layers.0.attn.q_proj.
// MatMul.weight". Its bias is "….q_proj.Add.bias".
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>

#include "lathe/model/config.h"
#include "lathe/model/hf_names.h"

namespace lathe {

struct OnnxName {
  const char* canonical;  // after "model.layers.N."
  const char* source;     // after "/model/layers.N/"
  const char* fused;      // or nullptr: a layer that may hold it, in the order of its parts
  int part = 0;
};

inline constexpr std::array<OnnxName, 7> kOnnxLinears = {{
    {"self_attn.q_proj", "attn/q_proj", "attn/qkv_proj", 0},
    {"self_attn.k_proj", "attn/k_proj", "attn/qkv_proj", 1},
    {"self_attn.v_proj", "attn/v_proj", "attn/qkv_proj", 2},
    {"self_attn.o_proj", "attn/o_proj", nullptr},
    {"mlp.gate_proj", "mlp/gate_proj", "mlp/gate_up_proj", 0},
    {"mlp.up_proj", "mlp/up_proj", "mlp/gate_up_proj", 1},
    {"mlp.down_proj", "mlp/down_proj", nullptr},
}};

// Where a linear layer lies: "/model/layers.3/attn/q_proj", and the fused one that may hold it.
struct OnnxPlace {
  std::string source, fused;
  int part = 0;
};

// `name`: canonical, without ".bias". nullopt: no linear layer.
inline std::optional<OnnxPlace> onnx_place(const std::string& name) {
  if (name == "lm_head") return OnnxPlace{"/lm_head", "", 0};
  const LayerPattern pattern = split_layer(name);
  static const std::string kLayers = "model.layers.{}.";
  for (const OnnxName& entry : kOnnxLinears) {
    if (pattern.text != kLayers + entry.canonical) continue;
    const std::string folder = "/model/layers." + pattern.layer + "/";
    return OnnxPlace{folder + entry.source, entry.fused ? folder + entry.fused : "", entry.part};
  }
  return std::nullopt;
}

// "/model/layers.3/attn/q_proj/MatMul" → "model.layers.3.attn.q_proj.MatMul".
inline std::string onnx_tensor_prefix(std::string_view node) {
  std::string out(node.substr(1));
  std::replace(out.begin(), out.end(), '/', '.');
  return out;
}

// The tensor of a norm's weight without ".weight". Builders number the last norm as one more layer.
inline std::string onnx_norm(const ModelConfig& config, const std::string& canonical) {
  if (canonical == "model.norm") {
    return fmt::format("model.layers.{}.final_norm_layernorm", config.layers);
  }
  const LayerPattern pattern = split_layer(canonical);
  const std::string rest = pattern.text.substr(std::string_view("model.layers.{}.").size());
  const std::string folder = "model.layers." + pattern.layer + ".";
  if (rest == "self_attn.q_norm") return folder + "attn.q_norm.layernorm";
  if (rest == "self_attn.k_norm") return folder + "attn.k_norm.layernorm";
  if (rest == "input_norm") return folder + "input_layernorm";
  if (rest == "attention_output_norm") return folder + "post_attention_layernorm";
  if (rest == "mlp_output_norm") return folder + "post_feedforward_layernorm";
  return folder + (config.output_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm");
}

inline constexpr const char* kOnnxEmbedding = "/model/embed_tokens/Gather";
inline constexpr const char* kOnnxPositions = "/model/embed_positions/Gather";

}  // namespace lathe
