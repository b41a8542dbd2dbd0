#include "lathe/compress/hessians.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_number.h"
#include "lathe/base/progress.h"
#include "lathe/base/threads.h"
#include "lathe/compress/calibration.h"

namespace lathe {
namespace {

constexpr const char* kFormat = "lathe-hessians";
constexpr const char* kMakeAnew = "make it anew: lathe calibrate MODEL --hessians";

struct Input {
  std::vector<std::string> sharing;  // in the order of the forward pass
  int64_t size;
};

// Of one block, in the order of the forward pass.
std::vector<Input> inputs_of(const ModelConfig& c, int64_t layer) {
  const std::string at = fmt::format("model.layers.{}.", layer);
  std::vector<Input> out;
  out.push_back(
      {{at + "self_attn.q_proj", at + "self_attn.k_proj", at + "self_attn.v_proj"}, c.hidden});
  out.push_back({{at + "self_attn.o_proj"}, c.heads * c.head_size});
  if (c.gated) {
    out.push_back({{at + "mlp.gate_proj", at + "mlp.up_proj"}, c.hidden});
  } else {
    out.push_back({{at + "mlp.up_proj"}, c.hidden});
  }
  out.push_back({{at + "mlp.down_proj"}, c.ffn});
  return out;
}

int64_t gram_size(int64_t size) { return size * (size + 1) / 2; }

std::span<const uint8_t> bytes_of(const std::vector<float>& values) {
  return {reinterpret_cast<const uint8_t*>(values.data()), values.size() * sizeof(float)};
}

// The upper triangle, row by row, in f32.
Result<std::vector<float>> upper_of(const LinearStats& stats, ThreadPool& pool) {
  const int64_t size = stats.size;
  std::vector<float> out(static_cast<size_t>(gram_size(size)));
  std::vector<uint8_t> finite(static_cast<size_t>(size));
  pool.parallel_for(size, 16, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      float* row = out.data() + i * size - i * (i - 1) / 2 - i;
      bool good = true;
      for (int64_t j = i; j < size; ++j) {
        row[j] = static_cast<float>(stats.gram[size_t(i * size + j)]);
        good &= std::isfinite(row[j]);
      }
      finite[size_t(i)] = good;
    }
  });
  if (std::all_of(finite.begin(), finite.end(), [](uint8_t good) { return good != 0; })) return out;
  return bad_input("the inputs are not finite")
      .with_hint("the model itself gives NaN or infinity on this text");
}

Status append(SafetensorsWriter& writer, const LinearStats& stats, ThreadPool& pool) {
  LATHE_TRY(const std::vector<float> upper, upper_of(stats, pool));
  LATHE_OK(writer.append(bytes_of(upper)));
  LATHE_OK(writer.append(bytes_of({stats.absolute.begin(), stats.absolute.end()})));
  return writer.append(bytes_of(stats.largest));
}

}  // namespace

int64_t hessians_bytes(const ModelConfig& config) {
  int64_t bytes = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Input& input : inputs_of(config, layer)) {
      bytes += (gram_size(input.size) + 2 * input.size) * static_cast<int64_t>(sizeof(float));
    }
  }
  return bytes;
}

Status write_hessians(const std::string& path, const Checkpoint& source, CalibrationData data,
                      const std::string& from, ThreadPool& pool) {
  const ModelConfig& config = source.config();
  std::vector<SafetensorsWriter::Declared> declared;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Input& input : inputs_of(config, layer)) {
      const std::string& name = input.sharing.front();
      declared.push_back({name + ".gram", DType::kF32, {gram_size(input.size)}});
      declared.push_back({name + ".absolute", DType::kF32, {input.size}});
      declared.push_back({name + ".largest", DType::kF32, {input.size}});
    }
  }
  LATHE_TRY(const auto stream, CalibrationStream::create(source, std::move(data.samples), pool));
  LATHE_TRY(SafetensorsWriter writer,
            SafetensorsWriter::create(path, std::move(declared),
                                      {{"format", kFormat},
                                       {"tokens", std::to_string(stream->tokens())},
                                       {"data", from},
                                       {"data_sha256", data.sha256}}));
  Progress progress("collecting Hessians", config.layers, "layers");
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    std::vector<SharedInput> collected;
    LATHE_OK(stream->advance(source, layer, collected));
    for (const Input& input : inputs_of(config, layer)) {
      const auto it = std::find_if(collected.begin(), collected.end(), [&](const auto& shared) {
        return shared.sharing.front() == input.sharing.front();
      });
      LATHE_CHECK(it != collected.end() && it->stats->size == input.size);
      LATHE_OK_IN(append(writer, *it->stats, pool), input.sharing.front());
      it->stats.reset();
    }
    progress.advance();
  }
  return writer.finish();
}

Result<std::unique_ptr<Hessians>> Hessians::open(const std::string& path, const ModelConfig& config,
                                                 ThreadPool& pool) {
  LATHE_TRY(SafetensorsFile file, SafetensorsFile::open(path));
  const auto format = file.metadata().find("format");
  if (format == file.metadata().end() || format->second != kFormat) {
    return bad_input("{}: holds no Hessians", path).with_hint(kMakeAnew);
  }
  std::unique_ptr<Hessians> out(new Hessians(path, std::move(file), pool));
  const auto& metadata = out->file_.metadata();
  const auto tokens = metadata.find("tokens");
  const auto number =
      tokens == metadata.end() ? std::nullopt : parse_number<int64_t>(tokens->second);
  if (!number || *number < 1 || *number > int64_t{1} << 53) {
    return bad_input("{}: a number of tokens of '{}'", path,
                     tokens == metadata.end() ? "" : tokens->second)
        .with_hint(kMakeAnew);
  }
  out->tokens_ = *number;
  size_t known = 0;
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    for (const Input& input : inputs_of(config, layer)) {
      const std::string& name = input.sharing.front();
      size_t found = 0;
      const std::pair<const char*, int64_t> parts[] = {
          {".gram", gram_size(input.size)}, {".absolute", input.size}, {".largest", input.size}};
      for (const auto& [part, size] : parts) {
        const StoredTensor* tensor = out->file_.find(name + part);
        if (!tensor) continue;
        if (tensor->dtype != DType::kF32 || tensor->shape != std::vector<int64_t>{size}) {
          return bad_input("{}: '{}{}' is not F32 of {} numbers, as the model's {} columns need",
                           path, name, part, size, input.size)
              .with_hint("the file belongs to another model");
        }
        ++found;
      }
      if (found == 0) continue;
      if (found < std::size(parts)) {
        return bad_input("{}: '{}' is not whole", path, name).with_hint(kMakeAnew);
      }
      known += found;
      for (const std::string& matrix : input.sharing) out->first_of_[matrix] = name;
      out->sizes_[name] = input.size;
    }
  }
  if (known == out->file_.tensors().size() && known > 0) return out;
  return bad_input("{}: {} of its {} tensors are none of this model", path,
                   out->file_.tensors().size() - known, out->file_.tensors().size())
      .with_hint("the file belongs to another model");
}

bool Hessians::has(const std::string& name) const { return first_of_.contains(name); }

std::vector<std::string> Hessians::sharing(const std::string& name) const {
  std::vector<std::string> out;
  for (const auto& [matrix, first] : first_of_) {
    if (first == first_of_.at(name)) out.push_back(matrix);
  }
  return out;
}

Result<LinearStats> Hessians::of(const std::string& name) const {
  const std::string& first = first_of_.at(name);
  LinearStats stats;
  stats.size = sizes_.at(first);
  stats.tokens = tokens_;
  const auto vector = [&](const char* part) {
    std::vector<float> out(static_cast<size_t>(stats.size));
    std::memcpy(out.data(), file_.find(first + part)->bytes.data(), out.size() * sizeof(float));
    return out;
  };
  const std::vector<float> absolute = vector(".absolute");
  stats.absolute.assign(absolute.begin(), absolute.end());
  stats.largest = vector(".largest");
  const Bytes& upper = file_.find(first + ".gram")->bytes;
  const int64_t size = stats.size;
  stats.gram.resize(static_cast<size_t>(size * size));
  std::vector<uint8_t> good(static_cast<size_t>(size));
  std::vector<double> diagonal(static_cast<size_t>(size));
  pool_.parallel_for(size, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* row = upper.as<float>() + i * size - i * (i - 1) / 2 - i;
      bool finite = true;
      for (int64_t j = i; j < size; ++j) {
        finite &= std::isfinite(row[j]);
        stats.gram[size_t(i * size + j)] = stats.gram[size_t(j * size + i)] = double{row[j]};
      }
      const float a = absolute[size_t(i)], most = stats.largest[size_t(i)];
      good[size_t(i)] =
          finite && row[i] >= 0 && std::isfinite(a) && a >= 0 && std::isfinite(most) && most >= 0;
      diagonal[size_t(i)] = double{row[i]};
    }
  });
  release_pages(upper);
  const auto bad = std::find(good.begin(), good.end(), uint8_t{0});
  if (bad != good.end()) {
    return bad_input("{}: column {} of '{}' holds what no sums of inputs are", path_,
                     bad - good.begin(), first)
        .with_hint(kMakeAnew);
  }
  if (std::all_of(diagonal.begin(), diagonal.end(), [](double sum) { return sum == 0; })) {
    return bad_input("{}: '{}' is all zero", path_, first).with_hint(kMakeAnew);
  }
  return stats;
}

}  // namespace lathe
