// A model directory: one safetensors file, or the shards that an index names.
#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_json.h"
#include "lathe/io/safetensors.h"
#include "lathe/io/safetensors_header.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kSingle = "model.safetensors";
constexpr std::string_view kIndex = "model.safetensors.index.json";

// What else the directory holds, as advice.
Error nothing_to_load(const std::string& directory) {
  std::string pickle, gguf, other;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pt" || extension == ".pth" || extension == ".ckpt") {
      pickle = std::max(pickle, name);
    } else if (extension == ".gguf") {
      gguf = name;
    } else if (extension == ".safetensors") {
      other = name;
    }
  }
  Error error = not_found("{}: neither {} nor {} is there", directory, kSingle, kIndex);
  if (!gguf.empty()) {
    return std::move(error).with_hint(fmt::format("give the GGUF file: {}/{}", directory, gguf));
  }
  if (!other.empty()) {
    return std::move(error).with_hint(
        fmt::format("{} is there; rename it to {} if it is the model", other, kSingle));
  }
  if (!pickle.empty()) {
    return unsupported(
               "{}: the weights are only there as {}, and pickle files are never loaded: they can "
               "run code",
               directory, pickle)
        .with_hint(
            "convert where you trust the file, for example with transformers: "
            "AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(OUT, "
            "safe_serialization=True)");
  }
  return std::move(error).with_hint("is this the directory of a model, and is it complete?");
}

}  // namespace

Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   const std::string& path) {
  LATHE_TRY_IN(const auto index, parse_json(text), path);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return bad_input("{}: there is no \"weight_map\" object in it", path);
  }
  std::map<std::string, std::string> where;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string()) return bad_input("{}: '{}' names no file", path, tensor);
    const auto& name = file.get_ref<const std::string&>();
    if (name.empty() || name[0] == '.' || name.find_first_of("/\\") != std::string::npos ||
        name.find('\0') != std::string::npos) {
      return bad_input("{}: '{}' is said to be in '{}', which is no file of this directory", path,
                       tensor, name);
    }
    where.emplace(tensor, name);
  }
  if (where.empty()) return bad_input("{}: its weight_map is empty", path);
  return where;
}

Result<SafetensorsFile> SafetensorsFile::open_model(const std::string& directory) {
  const std::string single = fmt::format("{}/{}", directory, kSingle);
  const std::string index_path = fmt::format("{}/{}", directory, kIndex);
  std::error_code ignored;
  if (!fs::exists(directory, ignored)) return not_found("{}: no such directory", directory);
  if (!fs::is_directory(directory, ignored)) return bad_input("{}: not a directory", directory);
  if (fs::exists(single, ignored)) return open(single);
  if (!fs::exists(index_path, ignored)) return nothing_to_load(directory);

  LATHE_TRY(const std::string index, read_text(index_path));
  LATHE_TRY(const auto where, parse_safetensors_index(index, index_path));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : where) shards.insert(shard);

  SafetensorsFile model;
  for (const std::string& shard : shards) {
    const std::string path = fmt::format("{}/{}", directory, shard);
    if (!fs::exists(path, ignored)) {
      return not_found("{}: no such file, but {} names it", path, kIndex)
          .with_hint("an incomplete download? fetch the model again");
    }
    LATHE_TRY(SafetensorsFile part, open(path));
    model.file_bytes_ += part.file_bytes_;
    model.metadata_.merge(part.metadata_);
    for (auto& [name, tensor] : part.tensors_) {
      const auto listed = where.find(name);
      if (listed != where.end() && listed->second != shard) {
        return bad_input("{}: holds tensor '{}', which {} places in {}", path, name, kIndex,
                         listed->second);
      }
      if (!model.tensors_.emplace(name, std::move(tensor)).second) {
        return bad_input("{}: holds tensor '{}', which another shard holds too", path, name);
      }
    }
  }
  for (const auto& [name, shard] : where) {
    if (!model.find(name)) {
      return bad_input("{}/{}: tensor '{}' is not in it, but {} says so", directory, shard, name,
                       kIndex)
          .with_hint("index and shards do not belong together; fetch the model again");
    }
  }
  return model;
}

}  // namespace lathe
