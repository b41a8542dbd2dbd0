// What GGUF files call the tensors of a block: the same for all architectures. Used by the reader
// and the exporter alike.
#pragma once

#include <array>

namespace lathe {

struct GgufName {
  const char* canonical;  // after "model.layers.N."
  const char* source;     // after "blk.N."
  const char* fused;      // or nullptr: a fused tensor that may hold it
  int part = 0;
};

inline constexpr std::array<GgufName, 13> kGgufBlockNames = {{
    {"input_norm", "attn_norm", nullptr},
    {"attention_output_norm", "post_attention_norm", nullptr},
    {"mlp_input_norm", "ffn_norm", nullptr},
    {"mlp_output_norm", "post_ffw_norm", nullptr},
    {"self_attn.q_norm", "attn_q_norm", nullptr},
    {"self_attn.k_norm", "attn_k_norm", nullptr},
    {"self_attn.q_proj", "attn_q", "attn_qkv", 0},
    {"self_attn.k_proj", "attn_k", "attn_qkv", 1},
    {"self_attn.v_proj", "attn_v", "attn_qkv", 2},
    {"self_attn.o_proj", "attn_output", nullptr},
    {"mlp.gate_proj", "ffn_gate", "ffn_up", 0},
    {"mlp.up_proj", "ffn_up", nullptr, 1},
    {"mlp.down_proj", "ffn_down", nullptr},
}};

}  // namespace lathe
