// Llama-shaped model directories of any size, for tests of memory: random weights, or none at all
// (a sparse file takes no room on the disk).
#pragma once

#include <cmath>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "lathe/base/rng.h"
#include "support/files.h"

namespace lathe::test {

struct LlamaShape {
  int64_t hidden = 256, ffn = 768, layers = 4, heads = 8, vocab = 2048;
};

struct NamedTensor {
  std::string name;
  std::vector<int64_t> shape;
  int64_t elements() const {
    int64_t count = 1;
    for (const int64_t dim : shape) count *= dim;
    return count;
  }
};

inline std::vector<NamedTensor> llama_tensors(const LlamaShape& s) {
  std::vector<NamedTensor> out = {{"model.embed_tokens.weight", {s.vocab, s.hidden}}};
  for (int64_t i = 0; i < s.layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    out.push_back({layer + "input_layernorm.weight", {s.hidden}});
    out.push_back({layer + "post_attention_layernorm.weight", {s.hidden}});
    for (const char* name : {"q_proj", "k_proj", "v_proj", "o_proj"}) {
      out.push_back({layer + "self_attn." + name + ".weight", {s.hidden, s.hidden}});
    }
    out.push_back({layer + "mlp.gate_proj.weight", {s.ffn, s.hidden}});
    out.push_back({layer + "mlp.up_proj.weight", {s.ffn, s.hidden}});
    out.push_back({layer + "mlp.down_proj.weight", {s.hidden, s.ffn}});
  }
  out.push_back({"model.norm.weight", {s.hidden}});
  return out;
}

// Small normal numbers as bf16, the upper half of an f32.
inline std::vector<uint16_t> random_bf16(int64_t count, Rng& rng, float scale) {
  std::vector<uint16_t> out(static_cast<size_t>(count));
  for (uint16_t& value : out) {
    const float f = static_cast<float>(rng.normal()) * scale;
    uint32_t bits;
    std::memcpy(&bits, &f, 4);
    value = static_cast<uint16_t>(bits >> 16);
  }
  return out;
}

// A directory with the tokenizer of the bundled model, the head tied to the embedding, in BF16.
// `random`: false leaves the weights as a hole in the file (they read as 0).
inline void write_llama_directory(const std::string& path, const LlamaShape& shape, bool random) {
  namespace fs = std::filesystem;
  fs::create_directories(path);
  for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"}) {
    fs::copy_file(source_file("models/tiny/") + name, path + "/" + name,
                  fs::copy_options::overwrite_existing);
  }
  std::ofstream(path + "/config.json") << nlohmann::json{{"model_type", "llama"},
                                                         {"hidden_act", "silu"},
                                                         {"tie_word_embeddings", true},
                                                         {"bos_token_id", 0},
                                                         {"eos_token_id", 1},
                                                         {"vocab_size", shape.vocab},
                                                         {"hidden_size", shape.hidden},
                                                         {"intermediate_size", shape.ffn},
                                                         {"num_hidden_layers", shape.layers},
                                                         {"num_attention_heads", shape.heads},
                                                         {"num_key_value_heads", shape.heads},
                                                         {"max_position_embeddings", 1024},
                                                         {"rope_theta", 10000.0},
                                                         {"rms_norm_eps", 1e-5}};
  nlohmann::ordered_json header;
  int64_t at = 0;
  const auto tensors = llama_tensors(shape);
  for (const NamedTensor& tensor : tensors) {
    const int64_t end = at + 2 * tensor.elements();
    header[tensor.name] = {{"dtype", "BF16"}, {"shape", tensor.shape}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  const uint64_t length = text.size();
  const std::string file = path + "/model.safetensors";
  std::ofstream out(file, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(&length), 8);
  out << text;
  Rng rng(7);
  for (const NamedTensor& tensor : tensors) {
    if (!random) break;
    const auto values = random_bf16(tensor.elements(), rng, 0.02f);
    out.write(reinterpret_cast<const char*>(values.data()),
              static_cast<std::streamsize>(2 * values.size()));
  }
  out.close();
  if (!random) fs::resize_file(file, 8 + text.size() + static_cast<uint64_t>(at));
}

}  // namespace lathe::test
