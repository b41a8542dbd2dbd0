#include "lathe/compress/block_progress.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "lathe/base/hash.h"
#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"
#include "lathe/io/atomic_file.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr uint64_t kMostHeaderBytes = uint64_t{100} << 20;

std::span<const uint8_t> bytes_of(const float* data, int64_t count) {
  return {reinterpret_cast<const uint8_t*>(data), static_cast<size_t>(count) * sizeof(float)};
}

}  // namespace

Status keep_progress(const std::string& directory, const Json& identity,
                     const BlockProgress& progress) {
  const std::string folder = directory + "/progress";
  std::error_code error;
  fs::create_directory(folder, error);
  const std::string data = fmt::format("data-{}.bin", progress.done.size());
  Json described = {{"identity", identity}, {"done", progress.done}, {"data", data}};
  described["vectors"] = Json::object();
  described["states"] = Json::array();
  LATHE_TRY(AtomicFile file, AtomicFile::create(folder + "/" + data));
  Sha256 hash;
  const auto write = [&](std::span<const uint8_t> bytes) {
    hash.update(bytes);
    return file.write(bytes);
  };
  for (const Tensor& state : progress.states) {
    described["states"].push_back({state.rows(), state.cols()});
    LATHE_OK(write(bytes_of(state.data(), state.size())));
  }
  for (const auto& [name, values] : progress.vectors) {
    described["vectors"][name] = values.size();
    LATHE_OK(write(bytes_of(values.data(), static_cast<int64_t>(values.size()))));
  }
  LATHE_OK(file.commit());
  described["data_sha256"] = hash.hex();
  LATHE_OK(write_atomically(folder + "/progress.json", described.dump()));
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("data-") && name != data) fs::remove(entry.path(), error);
  }
  return {};
}

void forget_progress(const std::string& directory) {
  std::error_code error;
  fs::remove_all(directory + "/progress", error);
}

std::unique_ptr<KeptProgress> KeptProgress::find(const std::string& target, const Json& identity) {
  std::unique_ptr<KeptProgress> furthest;
  for (LeftFolder& folder : left_folders(target)) {
    std::error_code error;
    if (!fs::exists(folder.path() + "/progress/progress.json", error)) continue;
    std::unique_ptr<KeptProgress> kept(new KeptProgress(std::move(folder)));
    if (const Status loaded = kept->load(identity); !loaded.ok()) {
      spdlog::warn("what is left of an earlier compression cannot be used: {}",
                   loaded.error().message);
      continue;
    }
    if (furthest && furthest->progress_.done.size() >= kept->progress_.done.size()) continue;
    furthest = std::move(kept);
  }
  return furthest;
}

Status KeptProgress::load(const Json& identity) {
  const std::string path = folder_.path() + "/progress/progress.json";
  LATHE_TRY(const std::string text, read_text(path));
  const Json described = Json::parse(text, nullptr, false);
  if (!described.is_object() || !described.contains("identity") || !described.contains("done") ||
      !described["done"].is_array()) {
    return bad_input("{}: not what Lathe writes", path);
  }
  if (described["identity"] != identity) return bad_input("it was of another model or recipe");
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder_.path(), error)) {
    if (!entry.path().filename().string().starts_with("model.safetensors.tmp-")) continue;
    weights_ = entry.path().string();
  }
  std::ifstream file(weights_, std::ios::binary);
  uint64_t length = 0;
  file.read(reinterpret_cast<char*>(&length), sizeof length);
  if (!file || length > kMostHeaderBytes) return bad_input("its weights are missing");
  std::string header(length, '\0');
  file.read(header.data(), static_cast<std::streamsize>(length));
  const auto tensors = Json::parse(header, nullptr, false);
  if (!file || !tensors.is_object()) return bad_input("its weights are missing");
  try {
    for (const auto& [name, tensor] : tensors.items()) {
      if (name == "__metadata__") continue;
      const auto start = static_cast<int64_t>(length) + 8;
      places_[name] = {start + tensor.at("data_offsets").at(0).get<int64_t>(),
                       start + tensor.at("data_offsets").at(1).get<int64_t>()};
    }
    progress_.done = described["done"].get<std::vector<Json>>();
    LATHE_OK(load_data(described));
    return check_matrices();
  } catch (const Json::exception& exception) {
    return bad_input("{}: {}", path, exception.what());
  }
}

Status KeptProgress::load_data(const Json& described) {
  const std::string path = folder_.path() + "/progress/" + described.at("data").get<std::string>();
  LATHE_TRY(const Bytes bytes, map_file(path));
  Sha256 hash;
  hash.update(bytes.span());
  if (hash.hex() != described.at("data_sha256")) return bad_input("{}: damaged", path);
  size_t at = 0;
  const auto take = [&](float* out, int64_t count) -> Status {
    const size_t size = static_cast<size_t>(count) * sizeof(float);
    if (count < 0 || size > bytes.size() - at) return bad_input("{}: too short", path);
    std::copy_n(bytes.data() + at, size, reinterpret_cast<uint8_t*>(out));
    at += size;
    return {};
  };
  for (const Json& shape : described.at("states")) {
    Tensor state(shape.at(0).get<int64_t>(), shape.at(1).get<int64_t>());
    LATHE_OK(take(state.mutable_data(), state.size()));
    progress_.states.push_back(std::move(state));
  }
  for (const auto& [name, size] : described.at("vectors").items()) {
    std::vector<float> values(size.get<size_t>());
    LATHE_OK(take(values.data(), static_cast<int64_t>(values.size())));
    progress_.vectors[name] = std::move(values);
  }
  return {};
}

Status KeptProgress::check_matrices() const {
  for (const Json& report : progress_.done) {
    for (const auto& [name, expected] : report.at("sha256").items()) {
      LATHE_TRY(const std::vector<uint8_t> bytes, tensor(name));
      Sha256 hash;
      hash.update(bytes);
      if (hash.hex() != expected) return bad_input("tensor '{}' is damaged", name);
    }
  }
  return {};
}

Result<std::vector<uint8_t>> KeptProgress::tensor(const std::string& name) const {
  const auto it = places_.find(name);
  if (it == places_.end()) return not_found("{}: tensor '{}' is missing", weights_, name);
  std::ifstream file(weights_, std::ios::binary);
  std::vector<uint8_t> bytes(static_cast<size_t>(it->second.end - it->second.begin));
  file.seekg(it->second.begin);
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!file) return failed("{}: cannot read tensor '{}'", weights_, name);
  return bytes;
}

}  // namespace lathe
