// A Hugging Face directory: config.json and safetensors, through a family's names.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <optional>

#include "lathe/base/mapped_file.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/checkpoint_kinds.h"
#include "lathe/model/family.h"
#include "lathe/model/hf_names.h"
#include "lathe/model/hf_quantized.h"

namespace lathe {
namespace {

class HfCheckpoint : public Checkpoint {
 public:
  HfCheckpoint(std::string path, ModelConfig config, const Family& family, SafetensorsFile file,
               std::vector<std::string> files, std::optional<HfQuantization> quantization)
      : Checkpoint(std::move(path), std::move(config)),
        family_(family),
        file_(std::move(file)),
        files_(std::move(files)),
        quantization_(quantization) {}

  bool has(const std::string& name) const override { return locate(name).tensor != nullptr; }
  std::vector<std::string> weight_files() const override { return files_; }

  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const Place place = locate(name);
    if (!place.tensor) return missing(name, place);
    if (place.quantized) return quantized_matrix(name, place, rows, cols);
    const auto& shape = place.tensor->shape;
    if (shape.size() != 2) return check_shape(place.source, shape, {rows, cols}).error();
    const FormatPtr format = format_of(place.tensor->dtype);
    if (!format) return wrong_dtype(place);
    const int64_t total_rows = place.transposed ? shape[1] : shape[0];
    const int64_t total_cols = place.transposed ? shape[0] : shape[1];
    LATHE_TRY(const int64_t first, first_row(name, place, total_rows));
    if (total_cols != cols || first + rows > total_rows || (place.part < 0 && total_rows != rows)) {
      return check_shape(place.source, shape, {rows, cols}).error();
    }
    Bytes bytes = place.transposed
                      ? transpose_part(*place.tensor, first, rows)
                      : place.tensor->bytes.slice(
                            static_cast<size_t>(first * cols * size_of(place.tensor->dtype)),
                            static_cast<size_t>(rows * cols * size_of(place.tensor->dtype)));
    return WeightMatrix::create(format, rows, cols, {std::move(bytes)}, place.source);
  }

  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    const Place place = locate(name);
    if (!place.tensor) return missing(name, place);
    const auto& shape = place.tensor->shape;
    if (shape.size() != 1) return check_shape(place.source, shape, {size}).error();
    if (!format_of(place.tensor->dtype)) return wrong_dtype(place);
    LATHE_TRY(const int64_t first, first_row(name, place, shape[0]));
    if (first + size > shape[0] || (place.part < 0 && shape[0] != size)) {
      return check_shape(place.source, shape, {size}).error();
    }
    std::vector<float> out(static_cast<size_t>(size));
    widen(place.tensor->dtype, place.tensor->bytes.data() + first * size_of(place.tensor->dtype),
          size, out.data());
    const bool norm_weight = name.ends_with("norm");
    for (float& value : out) {
      if (!std::isfinite(value)) return bad_input("tensor '{}' holds {}", place.source, value);
      if (norm_weight && family_.norm_plus_one) value += 1.0f;
    }
    return out;
  }

 private:
  struct Place {
    std::string source;  // full tensor name
    const StoredTensor* tensor = nullptr;
    int part = -1;
    bool transposed = false;
    bool quantized = false;  // by another tool; `source` is then the module's name
  };

  Result<WeightMatrix> quantized_matrix(const std::string& name, const Place& place, int64_t rows,
                                        int64_t cols) const {
    if (place.transposed) {
      return unsupported("{}: '{}' is quantized and stored transposed, which Lathe does not read",
                         path(), place.source);
    }
    const ModelConfig& c = config();
    const bool mlp = name.find("mlp") != std::string::npos;
    const int64_t total = place.part < 0 ? rows
                          : mlp          ? 2 * c.ffn
                                         : (c.heads + 2 * c.kv_heads) * c.head_size;
    LATHE_TRY(const int64_t first, first_row(name, place, total));
    LATHE_TRY_IN(const WeightMatrix whole, quantization_->read(file_, place.source, total, cols),
                 path());
    return slice_rows(whole, first, rows, place.source);
  }

  Place locate(const std::string& name) const {
    const bool bias = name.ends_with(".bias");
    const LayerPattern pattern = split_layer(bias ? name.substr(0, name.size() - 5) : name);
    const char* suffix = bias ? ".bias" : ".weight";
    Place place;
    // A family may list several sources for a name (fused or not); the first one present is taken.
    std::vector<HfName> candidates;
    for (const HfName& entry : family_.names) {
      if (entry.canonical == pattern.text) candidates.push_back(entry);
    }
    candidates.push_back({pattern.text, pattern.text});
    for (const HfName& entry : candidates) {
      for (const std::string& prefix : family_.prefixes) {
        const std::string module = prefix + with_layer(entry.source, pattern.layer);
        const std::string source = module + suffix;
        if (place.source.empty()) place.source = source;
        if (quantization_ && !bias) {
          if (const StoredTensor* tensor = quantization_->marker(file_, module)) {
            return {module, tensor, entry.part, entry.transposed, true};
          }
        }
        if (const StoredTensor* tensor = file_.find(source)) {
          return {source, tensor, entry.part, entry.transposed};
        }
      }
    }
    return place;
  }

  // Fused matrices hold q, k, v (or gate, up) one after another.
  Result<int64_t> first_row(const std::string& name, const Place& place, int64_t total) const {
    if (place.part < 0) return int64_t{0};
    const ModelConfig& c = config();
    if (name.find("mlp") != std::string::npos) return place.part * c.ffn;
    const int64_t q = c.heads * c.head_size, kv = c.kv_heads * c.head_size;
    if (total != q + 2 * kv) {
      return bad_input("tensor '{}' has {} rows, q, k and v need {}", place.source, total,
                       q + 2 * kv);
    }
    return place.part == 0 ? int64_t{0} : place.part == 1 ? q : q + kv;
  }

  static Bytes transpose_part(const StoredTensor& tensor, int64_t first, int64_t rows) {
    const int64_t cols = tensor.shape[0], stride = tensor.shape[1], size = size_of(tensor.dtype);
    uint8_t* out = nullptr;
    Bytes bytes = Bytes::allocate(static_cast<size_t>(rows * cols * size), &out);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        std::memcpy(out + (r * cols + c) * size,
                    tensor.bytes.data() + (c * stride + first + r) * size,
                    static_cast<size_t>(size));
      }
    }
    return bytes;
  }

  static FormatPtr format_of(DType dtype) {
    switch (dtype) {
      case DType::kF32:
        return parse_format("f32").value();
      case DType::kF16:
        return parse_format("f16").value();
      case DType::kBF16:
        return parse_format("bf16").value();
      default:
        return nullptr;
    }
  }

  Error missing(const std::string& name, const Place& place) const {
    return not_found("{}: tensor '{}' ({}) is missing", path(), place.source, name)
        .with_hint("the checkpoint is incomplete, or config.json belongs to another model");
  }
  static Error wrong_dtype(const Place& place) {
    return unsupported("tensor '{}' is {}; weights may be F32, F16 or BF16", place.source,
                       name_of(place.tensor->dtype));
  }

  const Family& family_;
  SafetensorsFile file_;
  std::vector<std::string> files_;
  std::optional<HfQuantization> quantization_;
};

}  // namespace

Result<HfDescription> read_hf_config(const std::string& directory) {
  const std::string path = directory + "/config.json";
  LATHE_TRY(const std::string text, read_text(path, size_t{16} << 20));
  HfDescription out;
  out.json = nlohmann::json::parse(text, nullptr, false);
  if (out.json.is_discarded() || !out.json.is_object()) {
    return bad_input("{}: not a JSON object", path);
  }
  const auto type = out.json.find("model_type");
  if (type == out.json.end() || !type->is_string()) {
    return bad_input("{}: 'model_type' is missing", path);
  }
  LATHE_TRY_IN(out.family, family_of_model_type(type->get<std::string>()), path);
  LATHE_TRY_IN(out.config, out.family->from_config(out.json), path);
  out.config.family = out.family->name;
  return out;
}

Result<std::unique_ptr<const Checkpoint>> open_hf_checkpoint(const std::string& directory) {
  LATHE_TRY(HfDescription description, read_hf_config(directory));
  ModelConfig config = std::move(description.config);
  const Family& family = *description.family;
  std::optional<HfQuantization> quantization;
  if (const auto it = description.json.find("quantization_config");
      it != description.json.end() && !it->is_null()) {
    LATHE_TRY_IN(quantization, HfQuantization::from_json(*it), directory + "/config.json");
  }
  LATHE_TRY(SafetensorsFile file, SafetensorsFile::open_model(directory));
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == ".safetensors") files.push_back(entry.path().string());
  }
  std::sort(files.begin(), files.end());
  // Where config.json does not say whether the head is tied, what the file holds decides.
  const auto has_head = [&] {
    for (const std::string& prefix : family.prefixes) {
      if (file.find(prefix + "lm_head.weight")) return true;
    }
    return file.find("lm_head.weight") != nullptr;
  };
  if (!config.encoder && !description.json.contains("tie_word_embeddings"))
    config.tied = !has_head();
  return std::unique_ptr<const Checkpoint>(std::make_unique<HfCheckpoint>(
      directory, std::move(config), family, std::move(file), std::move(files), quantization));
}

}  // namespace lathe
