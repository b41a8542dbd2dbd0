#include "lathe/compress/importances.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "lathe/base/mapped_file.h"
#include "lathe/base/progress.h"
#include "lathe/compress/calibration.h"
#include "lathe/io/gguf_writer.h"
#include "lathe/model/gguf_names.h"

namespace lathe {
namespace {

constexpr uint32_t kF32 = 0;  // ggml type
constexpr const char* kSums = ".in_sum2";
constexpr const char* kCounts = ".counts";
constexpr const char* kMakeAnew = "make it anew: lathe calibrate, or llama-imatrix";

// As a file has it: sums and the rows summed, by name of the GGUF tensor.
struct Entry {
  std::vector<float> sums;
  int64_t rows = 0;
};
using Entries = std::map<std::string, Entry>;

struct TensorNames {
  std::string own, fused;  // fused: empty, or a tensor that may hold the matrix
};
TensorNames tensors_of(const MatrixInfo& info) {
  const std::string prefix = fmt::format("model.layers.{}.", info.layer);
  const std::string block = fmt::format("blk.{}.", info.layer);
  for (const GgufName& name : kGgufBlockNames) {
    if (info.name != prefix + name.canonical) continue;
    return {block + name.source + ".weight", name.fused ? block + name.fused + ".weight" : ""};
  }
  LATHE_CHECK(false);
  return {};
}

std::vector<float> floats_of(const Bytes& bytes) {
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
  return out;
}

Result<Entries> entries_of_gguf(const std::string& path) {
  LATHE_TRY(const GgufFile file, GgufFile::open(path));
  if (file.string("general.type").value_or("imatrix") != "imatrix") {
    return bad_input("{}: is a GGUF file of type '{}', not of importances", path,
                     *file.string("general.type"));
  }
  Entries out;
  for (const GgufTensor& tensor : file.tensors()) {
    const std::string& name = tensor.name;
    if (!name.ends_with(kSums)) {
      if (name.ends_with(kCounts)) continue;
      return bad_input("{}: tensor '{}' is neither {} nor {} of one", path, name, kSums, kCounts)
          .with_hint("is this a model? " + std::string(kMakeAnew));
    }
    const std::string of = name.substr(0, name.size() - std::strlen(kSums));
    const GgufTensor* counts = file.find(of + kCounts);
    if (!counts) return bad_input("{}: '{}' has sums and no counts", path, of);
    if (tensor.type != kF32 || counts->type != kF32) {
      return bad_input("{}: sums and counts of '{}' must be F32", path, of);
    }
    const std::vector<float> rows = floats_of(counts->bytes);
    if (rows.size() != 1) {
      return unsupported("{}: '{}' has counts of {} experts", path, of, rows.size());
    }
    if (!(rows[0] >= 0.5f) || rows[0] > 0x1p53f) {
      return bad_input("{}: '{}' has a count of {}", path, of, rows[0])
          .with_hint("the data did not reach this tensor; " + std::string(kMakeAnew));
    }
    out[of] = {floats_of(tensor.bytes), std::llround(rows[0])};
  }
  return out;
}

// What is read from front to back.
class Reader {
 public:
  explicit Reader(Bytes bytes) : bytes_(std::move(bytes)) {}

  bool at_end() const { return at_ == bytes_.size(); }
  // A length or count that `unit` bytes each must follow.
  bool count(int32_t& value, size_t unit) {
    return copy(&value, sizeof(value)) && value >= 0 &&
           static_cast<size_t>(value) <= (bytes_.size() - at_) / unit;
  }
  bool number(int32_t& value) { return copy(&value, sizeof(value)); }
  bool copy(void* out, size_t size) {
    if (size > bytes_.size() - at_) return false;
    std::memcpy(out, bytes_.data() + at_, size);
    at_ += size;
    return true;
  }

 private:
  Bytes bytes_;
  size_t at_ = 0;
};

Result<Entries> entries_of_dat(const std::string& path, const Bytes& bytes) {
  Reader reader(bytes);
  const auto malformed = [&](int32_t entry) {
    return bad_input("{}: neither GGUF nor a whole .dat file of importances (entry {})", path,
                     entry)
        .with_hint(kMakeAnew);
  };
  Entries out;
  int32_t entries = 0;
  if (!reader.number(entries) || entries < 1) return malformed(0);
  for (int32_t e = 0; e < entries; ++e) {
    int32_t length = 0, calls = 0, size = 0;
    std::string name;
    if (!reader.count(length, 1)) return malformed(e);
    name.resize(static_cast<size_t>(length));
    if (!reader.copy(name.data(), name.size()) || !reader.number(calls) || calls < 0 ||
        !reader.count(size, sizeof(float)) || size < 1) {
      return malformed(e);
    }
    Entry entry;
    entry.sums.resize(static_cast<size_t>(size));
    reader.copy(entry.sums.data(), entry.sums.size() * sizeof(float));
    entry.rows = std::max(calls, 1);
    out[name] = std::move(entry);
  }
  return out;
}

Result<Entries> entries_of(const std::string& path) {
  LATHE_TRY(const Bytes bytes, map_file(path));
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0) return entries_of_gguf(path);
  return entries_of_dat(path, bytes);
}

Result<LinearStats> stats_of(const Entry& entry, const std::string& name, int64_t size) {
  if (static_cast<int64_t>(entry.sums.size()) != size) {
    return bad_input("'{}' has {} values, but the model's matrix has {} columns", name,
                     entry.sums.size(), size)
        .with_hint("the file belongs to another model");
  }
  bool any = false;
  for (const float sum : entry.sums) {
    if (!std::isfinite(sum) || sum < 0) {
      return bad_input("'{}' holds {}, which is no sum of squares", name, sum).with_hint(kMakeAnew);
    }
    any |= sum > 0;
  }
  if (!any) return bad_input("'{}' is all zero", name).with_hint(kMakeAnew);
  LinearStats stats;
  stats.size = size;
  stats.tokens = entry.rows;
  stats.square.assign(entry.sums.begin(), entry.sums.end());
  return stats;
}

}  // namespace

Result<Importances> collect_importances(const Checkpoint& source, Samples samples,
                                        ThreadPool& pool) {
  LATHE_TRY(const auto stream, CalibrationStream::create(source, std::move(samples), pool));
  Importances out;
  Progress progress("collecting importances", source.config().layers, "layers");
  for (int64_t layer = 0; layer < source.config().layers; ++layer) {
    LATHE_OK(stream->advance(source, layer, out));
    progress.advance();
  }
  return out;
}

Result<Importances> read_importances(const std::string& path, const ModelConfig& config) {
  LATHE_TRY(const Entries entries, entries_of(path));
  Importances out;
  for (const MatrixInfo& info : matrices_of(config)) {
    if (info.layer < 0) continue;
    const TensorNames names = tensors_of(info);
    auto it = entries.find(names.own);
    if (it == entries.end()) it = entries.find(names.fused);
    if (it == entries.end()) continue;
    LATHE_TRY_IN(out[info.name], stats_of(it->second, it->first, info.cols), path);
  }
  if (!out.empty()) return out;
  return bad_input("{}: none of its {} entries is a matrix of this model", path, entries.size())
      .with_hint("the file belongs to another model");
}

Status write_importances(const std::string& path, const Importances& importances,
                         const std::string& data, int64_t length) {
  Entries entries;
  int64_t chunks = 0;
  for (const auto& [name, stats] : importances) {
    if (std::any_of(stats.square.begin(), stats.square.end(), [](double sum) {
          return !(sum <= static_cast<double>(std::numeric_limits<float>::max()));
        })) {
      return bad_input("{}: the inputs are not finite", name)
          .with_hint("the model itself gives NaN or infinity on this text");
    }
    MatrixInfo info;
    info.name = name;
    info.layer = std::stoll(name.substr(std::strlen("model.layers.")));
    const TensorNames names = tensors_of(info);
    const Entry entry{{stats.square.begin(), stats.square.end()}, stats.tokens};
    entries[names.own] = entry;
    if (!names.fused.empty()) entries.try_emplace(names.fused, entry);
    chunks = std::max(chunks, stats.tokens / length);
  }
  GgufMetadata metadata;
  metadata.set("general.type", "imatrix");
  const std::vector<std::string> data_sets = {data};
  metadata.set_array("imatrix.datasets", std::span<const std::string>(data_sets));
  metadata.set("imatrix.chunk_count", static_cast<uint32_t>(chunks));
  metadata.set("imatrix.chunk_size", static_cast<uint32_t>(length));
  std::vector<GgufWriter::Declared> declared;
  for (const auto& [name, entry] : entries) {
    declared.push_back({name + kSums, kF32, {static_cast<int64_t>(entry.sums.size())}});
    declared.push_back({name + kCounts, kF32, {1}});
  }
  LATHE_TRY(GgufWriter writer, GgufWriter::create(path, metadata, declared));
  for (const auto& [name, entry] : entries) {
    const auto rows = static_cast<float>(entry.rows);
    for (const std::span<const float> part : {std::span(entry.sums), std::span(&rows, 1)}) {
      LATHE_OK(writer.append({reinterpret_cast<const uint8_t*>(part.data()), part.size_bytes()}));
    }
  }
  return writer.finish();
}

}  // namespace lathe
