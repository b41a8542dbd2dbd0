// A directory written by `lathe compress`:
//   lathe.json           {"lathe_checkpoint": 1, "config": …, "matrices": {name: {format, rows,
//   cols}}, …} model.safetensors    each matrix as <name>.<part> for every part of its format;
//   vectors as F32 <name> tokenizer files      as in the source (or tokenizer.gguf: the metadata of
//   a GGUF source)
#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/io/safetensors.h"
#include "lathe/model/checkpoint_kinds.h"

namespace lathe {
namespace {

class LatheCheckpoint : public Checkpoint {
 public:
  LatheCheckpoint(std::string path, ModelConfig config, SafetensorsFile file,
                  std::map<std::string, StoredMatrix> matrices)
      : Checkpoint(std::move(path), std::move(config)),
        file_(std::move(file)),
        matrices_(std::move(matrices)) {}

  bool has(const std::string& name) const override {
    return matrices_.count(name) > 0 || file_.find(name) != nullptr;
  }

  std::vector<std::string> weight_files() const override { return {path() + "/model.safetensors"}; }

  Result<WeightMatrix> matrix(const std::string& name, int64_t rows, int64_t cols) const override {
    const auto it = matrices_.find(name);
    if (it == matrices_.end()) return not_found("{}: matrix '{}' is missing", path(), name);
    const StoredMatrix& stored = it->second;
    const int64_t shape[] = {stored.rows, stored.cols};
    LATHE_OK(check_shape(name, shape, {rows, cols}));
    LATHE_OK_IN(stored.format->supports(rows, cols), name);
    std::vector<Bytes> parts;
    for (const PartSpec& part : stored.format->parts(rows, cols)) {
      const std::string tensor_name = name + "." + part.name;
      const StoredTensor* tensor = file_.find(tensor_name);
      if (!tensor) return not_found("{}: tensor '{}' is missing", path(), tensor_name);
      const bool fits = part.varies ? tensor->shape.size() == 1 && tensor->shape[0] <= part.shape[0]
                                    : tensor->shape == part.shape;
      if (tensor->dtype != part.dtype || !fits) {
        return bad_input("{}: tensor '{}' is {} [{}], format {} needs {} [{}{}]", path(),
                         tensor_name, name_of(tensor->dtype), fmt::join(tensor->shape, ", "),
                         stored.format->spec(), name_of(part.dtype), part.varies ? "up to " : "",
                         fmt::join(part.shape, ", "));
      }
      parts.push_back(tensor->bytes);
    }
    return WeightMatrix::create(stored.format, rows, cols, std::move(parts), name);
  }

  Result<std::vector<float>> vector(const std::string& name, int64_t size) const override {
    const StoredTensor* tensor = file_.find(name);
    if (!tensor) return not_found("{}: tensor '{}' is missing", path(), name);
    LATHE_OK(check_shape(name, tensor->shape, {size}));
    if (tensor->dtype != DType::kF32) return bad_input("{}: tensor '{}' must be F32", path(), name);
    std::vector<float> out(static_cast<size_t>(size));
    std::memcpy(out.data(), tensor->bytes.data(), tensor->bytes.size());
    for (const float value : out) {
      if (!std::isfinite(value)) return bad_input("{}: tensor '{}' holds {}", path(), name, value);
    }
    return out;
  }

 private:
  SafetensorsFile file_;
  std::map<std::string, StoredMatrix> matrices_;
};

}  // namespace

Result<LatheDescription> parse_lathe_json(std::string_view text, const std::string& path) {
  LATHE_TRY_IN(const auto json, parse_json(text), path);
  if (!json.is_object()) return bad_input("{}: not a JSON object", path);
  if (!json.contains("lathe_checkpoint") || json["lathe_checkpoint"] != 1) {
    return unsupported("{}: not a version 1 checkpoint", path)
        .with_hint("compress the model again with this version of Lathe");
  }
  if (!json.contains("config") || !json.contains("matrices") || !json["matrices"].is_object()) {
    return bad_input("{}: 'config' or 'matrices' is missing", path);
  }
  LatheDescription out;
  LATHE_TRY_IN(out.config, config_from_json(json["config"]), path);
  for (const auto& [name, entry] : json["matrices"].items()) {
    if (!entry.is_object() || !entry.contains("format") || !entry["format"].is_string() ||
        !entry.contains("rows") || !entry["rows"].is_number_integer() || !entry.contains("cols") ||
        !entry["cols"].is_number_integer()) {
      return bad_input("{}: entry '{}' needs format, rows and cols", path, name);
    }
    LATHE_TRY_IN(FormatPtr format, parse_format(entry["format"].get<std::string>()), path);
    out.matrices.emplace(name, StoredMatrix{std::move(format), entry["rows"].get<int64_t>(),
                                            entry["cols"].get<int64_t>()});
  }
  return out;
}

Result<std::unique_ptr<const Checkpoint>> open_lathe_checkpoint(const std::string& directory) {
  const std::string path = directory + "/lathe.json";
  LATHE_TRY(const std::string text, read_text(path, size_t{64} << 20));
  LATHE_TRY(LatheDescription described, parse_lathe_json(text, path));
  LATHE_TRY(SafetensorsFile file, SafetensorsFile::open(directory + "/model.safetensors"));
  return std::unique_ptr<const Checkpoint>(std::make_unique<LatheCheckpoint>(
      directory, std::move(described.config), std::move(file), std::move(described.matrices)));
}

}  // namespace lathe
