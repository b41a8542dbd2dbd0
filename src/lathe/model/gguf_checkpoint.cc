// A GGUF file under canonical names. Tensor names are the same for all architectures.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/base/mapped_file.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/io/gguf.h"
#include "lathe/model/checkpoint_kinds.h"
#include "lathe/model/gguf_config.h"
#include "lathe/model/gguf_names.h"

namespace lathe {
namespace {

class GgufCheckpoint : public Checkpoint {
 public:
  GgufCheckpoint(std::string path, ModelConfig config, GgufFile file)
      : Checkpoint(std::move(path), std::move(config)),
        file_(std::move(file)),
        permuted_(file_.string("general.architecture") == "llama") {}

  bool has(const std::string& name) const override { return locate(name).tensor != nullptr; }
  std::vector<std::string> weight_files() const override { return {path()}; }

  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const Place place = locate(name);
    if (!place.tensor) return missing(name, place);
    const auto& shape = place.tensor->shape;
    const int64_t first = place.fused ? first_row(name, place.part) : 0;
    if (shape.size() != 2 || shape[1] != cols || first + rows > shape[0] ||
        (!place.fused && shape[0] != rows)) {
      return check_shape(place.source, shape, {rows, cols}).error();
    }
    const FormatPtr format = gguf_format(place.tensor->type);
    if (!format) {
      return unsupported("{}: tensor '{}' has ggml type {}, which Lathe cannot read", path(),
                         place.source, place.tensor->type);
    }
    const auto row_bytes = static_cast<size_t>(format->bytes(1, cols));
    Bytes bytes = place.tensor->bytes.slice(static_cast<size_t>(first) * row_bytes,
                                            static_cast<size_t>(rows) * row_bytes);
    if (const int64_t heads = permuted_heads(name))
      bytes = unpermute(bytes, rows, heads, row_bytes);
    return WeightMatrix::create(format, rows, cols, {std::move(bytes)}, place.source);
  }

  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    const Place place = locate(name);
    if (!place.tensor) return missing(name, place);
    const auto& shape = place.tensor->shape;
    const int64_t first = place.fused ? first_row(name, place.part) : 0;
    if (shape.size() != 1 || first + size > shape[0] || (!place.fused && shape[0] != size)) {
      return check_shape(place.source, shape, {size}).error();
    }
    const FormatPtr format = gguf_format(place.tensor->type);
    if (!format || format->encoding() != Encoding::kFloat) {
      return unsupported("{}: tensor '{}' must be F32, F16 or BF16", path(), place.source);
    }
    const int64_t element = format->bytes(1, 1);
    Bytes bytes = place.tensor->bytes.slice(static_cast<size_t>(first * element),
                                            static_cast<size_t>(size * element));
    if (const int64_t heads = permuted_heads(name)) {
      bytes = unpermute(bytes, size, heads, static_cast<size_t>(element));
    }
    LATHE_TRY(const WeightMatrix row, WeightMatrix::create(format, 1, size, {bytes}, place.source));
    return row.decode();
  }

 private:
  struct Place {
    std::string source;
    const GgufTensor* tensor = nullptr;
    bool fused = false;
    int part = 0;
  };

  Place locate(const std::string& name) const {
    const bool bias = name.ends_with(".bias");
    const std::string base = bias ? name.substr(0, name.size() - 5) : name;
    const char* suffix = bias ? ".bias" : ".weight";
    const auto plain = [&](const char* source) {
      return Place{std::string(source) + suffix, file_.find(std::string(source) + suffix)};
    };
    if (base == "model.embed_tokens") return plain("token_embd");
    if (base == "model.embed_positions") return plain("position_embd");
    if (base == "model.norm") return plain("output_norm");
    if (base == "lm_head") return plain("output");
    static const std::string kLayers = "model.layers.";
    const size_t dot = base.find('.', kLayers.size());
    const std::string layer = base.substr(kLayers.size(), dot - kLayers.size());
    const std::string rest = base.substr(dot + 1);
    for (const GgufName& entry : kGgufBlockNames) {
      if (rest != entry.canonical) continue;
      const std::string block = "blk." + layer + ".";
      Place place = plain((block + entry.source).c_str());
      if (config().gated && rest == "mlp.up_proj" && !file_.find(block + "ffn_gate.weight")) {
        place.fused = true;  // gate and up in one tensor
        place.part = 1;
      } else if (!place.tensor && entry.fused) {
        place = plain((block + entry.fused).c_str());
        place.fused = true;
        place.part = entry.part;
      }
      return place;
    }
    return {name, nullptr};
  }

  int64_t first_row(const std::string& name, int part) const {
    const ModelConfig& c = config();
    if (name.find(".mlp.") != std::string::npos) return part * c.ffn;
    const int64_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
    return part == 0 ? 0 : part == 1 ? q : q + kv;
  }

  // Number of heads whose rows are interleaved for ggml's rotary layout; 0 for none.
  int64_t permuted_heads(const std::string& name) const {
    if (!permuted_) return 0;
    if (name.find(".q_proj") != std::string::npos) return config().heads;
    if (name.find(".k_proj") != std::string::npos) return config().kv_heads;
    return 0;
  }

  // File row h·D + 2i + j is row h·D + j·D/2 + i of the half-rotation layout.
  static Bytes unpermute(const Bytes& source, int64_t rows, int64_t heads, size_t row_bytes) {
    uint8_t* out = nullptr;
    Bytes bytes = Bytes::allocate(source.size(), &out);
    const int64_t size = rows / heads, half = size / 2;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t head = r / size, j = r % size / half, i = r % half;
      const int64_t from = head * size + 2 * i + j;
      std::memcpy(out + static_cast<size_t>(r) * row_bytes,
                  source.data() + static_cast<size_t>(from) * row_bytes, row_bytes);
    }
    release_pages(source);  // the copy takes its place
    return bytes;
  }

  Error missing(const std::string& name, const Place& place) const {
    return not_found("{}: tensor '{}' ({}) is missing", path(), place.source, name);
  }

  GgufFile file_;
  bool permuted_;
};

}  // namespace

Result<std::unique_ptr<const Checkpoint>> open_gguf_checkpoint(const std::string& path) {
  LATHE_TRY(GgufFile file, GgufFile::open(path));
  LATHE_TRY_IN(ModelConfig config, config_from_gguf(file), path);
  return std::unique_ptr<const Checkpoint>(
      std::make_unique<GgufCheckpoint>(path, std::move(config), std::move(file)));
}

}  // namespace lathe
