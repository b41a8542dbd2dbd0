#include "lathe/model/checkpoint.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/io/hub.h"
#include "lathe/model/checkpoint_kinds.h"

namespace lathe {
namespace fs = std::filesystem;

std::vector<MatrixInfo> matrices_of(const ModelConfig& c) {
  std::vector<MatrixInfo> out;
  out.push_back({"model.embed_tokens", c.vocab, c.hidden, -1, false});
  if (c.learned_positions) {
    out.push_back(
        {"model.embed_positions", c.max_positions + c.position_offset, c.hidden, -1, false});
  }
  if (c.token_types > 0) {
    out.push_back({"model.embed_token_types", c.token_types, c.hidden, -1, false});
  }
  const int64_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    out.push_back({layer + "self_attn.q_proj", q, c.hidden, i, true});
    out.push_back({layer + "self_attn.k_proj", kv, c.hidden, i, true});
    out.push_back({layer + "self_attn.v_proj", kv, c.hidden, i, true});
    out.push_back({layer + "self_attn.o_proj", c.hidden, q, i, true});
    if (c.gated) out.push_back({layer + "mlp.gate_proj", c.ffn, c.hidden, i, true});
    out.push_back({layer + "mlp.up_proj", c.ffn, c.hidden, i, true});
    out.push_back({layer + "mlp.down_proj", c.hidden, c.ffn, i, true});
  }
  if (!c.tied && !c.encoder) out.push_back({"lm_head", c.vocab, c.hidden, -1, true});
  return out;
}

std::vector<VectorInfo> vectors_of(const ModelConfig& c) {
  std::vector<VectorInfo> out;
  const auto norm = [&](const std::string& name, int64_t size, int64_t layer) {
    out.push_back({name, size, layer});
    if (c.norm == NormKind::kLayer) out.push_back({name + ".bias", size, layer, !c.post_norm});
  };
  const int64_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
  const bool after = c.output_norms || c.post_norm;
  if (c.embedding_norm) norm("model.embed_norm", c.hidden, -1);
  for (int64_t i = 0; i < c.layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    if (!c.post_norm) norm(layer + "input_norm", c.hidden, i);
    if (after) norm(layer + "attention_output_norm", c.hidden, i);
    if (!c.post_norm && !c.parallel_residual) norm(layer + "mlp_input_norm", c.hidden, i);
    if (after) norm(layer + "mlp_output_norm", c.hidden, i);
    if (c.qk_norm) {
      out.push_back({layer + "self_attn.q_norm", c.head_size, i});
      out.push_back({layer + "self_attn.k_norm", c.head_size, i});
    }
    if (c.qkv_bias) {
      out.push_back({layer + "self_attn.q_proj.bias", q, i});
      out.push_back({layer + "self_attn.k_proj.bias", kv, i});
      out.push_back({layer + "self_attn.v_proj.bias", kv, i});
    }
    if (c.o_bias) out.push_back({layer + "self_attn.o_proj.bias", c.hidden, i});
    if (c.mlp_bias) {
      if (c.gated) out.push_back({layer + "mlp.gate_proj.bias", c.ffn, i});
      out.push_back({layer + "mlp.up_proj.bias", c.ffn, i});
      out.push_back({layer + "mlp.down_proj.bias", c.hidden, i});
    }
  }
  if (!c.encoder) norm("model.norm", c.hidden, -1);
  if (c.head_bias) out.push_back({"lm_head.bias", c.vocab, -1});
  return out;
}

Result<std::string> resolve_model(const std::string& model) {
  if (model == "bundled") {
    if (const char* folder = std::getenv("LATHE_BUNDLED")) return std::string(folder);
    const std::string folder = LATHE_BUNDLED_DIR;
    if (fs::exists(folder)) return folder;
    return not_found("the bundled model is not at {}", folder)
        .with_hint("set LATHE_BUNDLED to the folder models/tiny of the source tree");
  }
  std::error_code error;
  if (fs::exists(model, error)) return model;
  if (looks_like_repo_id(model)) {
    if (auto snapshot = find_in_hub_cache(model)) return *snapshot;
    return not_found("{}: no such file or directory, and not in the local hub cache ({})", model,
                     hub_cache_directory())
        .with_hint(fmt::format("to download it: lathe pull {}", model));
  }
  return not_found("{}: no such file or directory", model);
}

namespace {

bool has_safetensors(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return false;
}

Result<std::unique_ptr<const Checkpoint>> open_any(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) return not_found("{}: no such file or directory", path);
  if (!fs::is_directory(path, error)) {
    if (fs::path(path).extension() == ".gguf") return open_gguf_checkpoint(path);
    if (fs::path(path).extension() == ".onnx") return open_onnx_checkpoint(path);
    return bad_input("{}: not a model", path)
        .with_hint("a model is a directory with config.json and *.safetensors, or a .gguf file");
  }
  if (fs::exists(fs::path(path) / "lathe.json", error)) return open_lathe_checkpoint(path);
  if (fs::exists(fs::path(path) / "config.json", error)) {
    const std::string onnx = (fs::path(path) / "model.onnx").string();
    return fs::exists(onnx, error) && !has_safetensors(path) ? open_onnx_checkpoint(onnx)
                                                             : open_hf_checkpoint(path);
  }
  std::vector<std::string> ggufs;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.path().extension() == ".gguf") ggufs.push_back(entry.path().string());
  }
  if (ggufs.size() == 1) return open_gguf_checkpoint(ggufs[0]);
  if (ggufs.size() > 1) {
    return bad_input("{}: holds {} GGUF files", path, ggufs.size()).with_hint("name one of them");
  }
  return not_found("{}: no config.json here", path)
      .with_hint("a model is a directory with config.json and *.safetensors, or a .gguf file");
}

}  // namespace

Result<std::unique_ptr<const Checkpoint>> open_checkpoint(const std::string& path,
                                                          ModelKind wanted) {
  LATHE_TRY(auto checkpoint, open_any(path));
  const ModelConfig& config = checkpoint->config();
  if (config.encoder && wanted == ModelKind::kDecoder) {
    return unsupported("{}: an encoder ({}), which turns texts into vectors and generates nothing",
                       path, config.family)
        .with_hint("it can be the 'encoder' of a task (docs/tasks.md)");
  }
  if (!config.encoder && wanted == ModelKind::kEncoder) {
    return unsupported("{}: a model that generates ({}), not an encoder", path, config.family)
        .with_hint("an encoder is, for example, sentence-transformers/all-MiniLM-L6-v2");
  }
  return checkpoint;
}

Status check_shape(const std::string& name, std::span<const int64_t> found,
                   std::initializer_list<int64_t> expected) {
  if (std::equal(found.begin(), found.end(), expected.begin(), expected.end())) return {};
  return bad_input("tensor '{}' has shape [{}], the configuration needs [{}]", name,
                   fmt::join(found, ", "), fmt::join(expected, ", "));
}

}  // namespace lathe
