#include "lathe/model/hf_quantized.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lathe/model/checkpoint_kinds.h"

namespace lathe {

// 4-bit codes as in int4.cc: rows × cols / 2 bytes, the even column in the low nibble; scales and
// zero points rows × groups.
struct HfQuantization::Codes {
  Bytes packed, scales, zeros;
  bool symmetric = true;  // every zero point is 8
};

namespace {

constexpr int64_t kMostRowGroup = 65536;  // of int4:gN

template <typename T>
T load(const StoredTensor& tensor, int64_t index) {
  T value;
  std::memcpy(&value, tensor.bytes.data() + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

Result<const StoredTensor*> need(const SafetensorsFile& file, const std::string& name, DType dtype,
                                 std::initializer_list<int64_t> shape) {
  const StoredTensor* tensor = file.find(name);
  if (!tensor) return not_found("tensor '{}' is missing", name);
  LATHE_OK(check_shape(name, tensor->shape, shape));
  if (tensor->dtype != dtype) {
    return bad_input("tensor '{}' is {}, expected {}", name, name_of(tensor->dtype),
                     name_of(dtype));
  }
  return tensor;
}

// Scales of F16, BF16 or F32 as F16, where that is the same number. `by_group`: stored [G, N], else
// [N, G]. The result is [N, G].
Result<Bytes> f16_scales(const SafetensorsFile& file, const std::string& name, int64_t rows,
                         int64_t groups, bool by_group) {
  const StoredTensor* tensor = file.find(name);
  if (!tensor) return not_found("tensor '{}' is missing", name);
  LATHE_OK(by_group ? check_shape(name, tensor->shape, {groups, rows})
                    : check_shape(name, tensor->shape, {rows, groups}));
  const DType dtype = tensor->dtype;
  if (dtype != DType::kF16 && dtype != DType::kBF16 && dtype != DType::kF32) {
    return bad_input("tensor '{}' is {}, scales are F16, BF16 or F32", name, name_of(dtype));
  }
  uint8_t* out = nullptr;
  Bytes bytes = Bytes::allocate(static_cast<size_t>(2 * rows * groups), &out);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t at = by_group ? g * rows + r : r * groups + g;
      float scale;
      widen(dtype, tensor->bytes.data() + at * size_of(dtype), 1, &scale);
      const uint16_t half = f32_to_f16(scale);
      if (f16_to_f32(half) != scale) {
        return unsupported("tensor '{}': the scale {} is not an F16 number, as int4 formats need",
                           name, scale);
      }
      std::memcpy(out + 2 * (r * groups + g), &half, 2);
    }
  }
  return bytes;
}

void set_nibble(uint8_t* row, int64_t column, uint32_t code) {
  uint8_t& byte = row[column / 2];
  byte = static_cast<uint8_t>(column % 2 ? (byte & 15) | code << 4 : (byte & 0xf0) | code);
}

Result<int64_t> whole(const nlohmann::json& j, const char* key, int64_t otherwise) {
  const auto it = j.find(key);
  if (it == j.end() || it->is_null()) return otherwise;
  if (it->is_number_integer()) return it->get<int64_t>();
  return bad_input("'{}' must be a whole number", key);
}
std::string text_at(const nlohmann::json& j, const char* key) {
  const auto it = j.find(key);
  return it != j.end() && it->is_string() ? it->get<std::string>() : std::string();
}

Status expect_4_bits(const nlohmann::json& j, const char* key) {
  LATHE_TRY(const int64_t bits, whole(j, key, 4));
  if (bits == 4) return {};
  return unsupported("{} bits per weight; Lathe reads this kind of checkpoint with 4", bits);
}

// group_size: −1 is the whole row.
Result<int64_t> group_of(const nlohmann::json& j) {
  LATHE_TRY(const int64_t group, whole(j, "group_size", -1));
  if (group == -1 || group == 0) return int64_t{0};
  if (group < 16 || group % 16 || group > kMostRowGroup) {
    return unsupported("groups of {} columns; int4 has multiples of 16 up to {}", group,
                       kMostRowGroup);
  }
  return group;
}

}  // namespace

Result<HfQuantization> HfQuantization::from_json(const nlohmann::json& config) {
  if (!config.is_object()) return bad_input("'quantization_config' is not an object");
  HfQuantization q;
  const std::string method = text_at(config, "quant_method");
  if (method == "bitsandbytes") return q;
  if (method == "gptq") {
    q.method_ = Method::kGptq;
    LATHE_OK(expect_4_bits(config, "bits"));
    LATHE_TRY(q.group_, group_of(config));
    const std::string layout = text_at(config, "checkpoint_format");
    if (!layout.empty() && layout != "gptq" && layout != "gptq_v2") {
      return unsupported("checkpoint_format '{}'", layout).with_hint("known: gptq, gptq_v2");
    }
    q.zero_minus_one_ = layout != "gptq_v2";
    return q;
  }
  if (method == "awq") {
    q.method_ = Method::kAwq;
    LATHE_OK(expect_4_bits(config, config.contains("bits") ? "bits" : "w_bit"));
    LATHE_TRY(q.group_, group_of(config));
    std::string version = text_at(config, "version");
    std::transform(version.begin(), version.end(), version.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (!version.empty() && version != "gemm") {
      return unsupported("AWQ version '{}'", version).with_hint("known: gemm");
    }
    return q;
  }
  if (method == "compressed-tensors") {
    q.method_ = Method::kCompressedTensors;
    if (const std::string format = text_at(config, "format"); format != "pack-quantized") {
      return unsupported("compressed-tensors format '{}'", format)
          .with_hint("known: pack-quantized");
    }
    const auto groups = config.find("config_groups");
    if (groups == config.end() || !groups->is_object() || groups->size() != 1) {
      return unsupported("compressed-tensors with other than one entry in 'config_groups'");
    }
    const nlohmann::json& scheme = groups->begin().value();
    if (!scheme.is_object() || !scheme.contains("weights") || !scheme["weights"].is_object()) {
      return bad_input("'config_groups' has no 'weights'");
    }
    const nlohmann::json& weights = scheme["weights"];
    LATHE_OK(expect_4_bits(weights, "num_bits"));
    if (text_at(weights, "type") != "int") return unsupported("weights that are not integers");
    if (scheme.contains("input_activations") && !scheme["input_activations"].is_null()) {
      return unsupported("quantized activations ('input_activations')");
    }
    const std::string strategy = text_at(weights, "strategy");
    if (strategy != "group" && strategy != "channel") {
      return unsupported("quantization strategy '{}'", strategy).with_hint("known: group, channel");
    }
    if (strategy == "group") {
      LATHE_TRY(q.group_, group_of(weights));
    }
    return q;
  }
  return unsupported("'quantization_config': a checkpoint quantized by '{}'", method)
      .with_hint("known: bitsandbytes, gptq, awq, compressed-tensors; or use the original");
}

const StoredTensor* HfQuantization::marker(const SafetensorsFile& file,
                                           const std::string& module) const {
  switch (method_) {
    case Method::kBitsandbytes:
      for (const char* suffix : {".SCB", ".weight.absmax"}) {
        if (const StoredTensor* tensor = file.find(module + suffix)) return tensor;
      }
      return nullptr;
    case Method::kGptq:
    case Method::kAwq:
      return file.find(module + ".qweight");
    case Method::kCompressedTensors:
      return file.find(module + ".weight_packed");
  }
  return nullptr;
}

Result<WeightMatrix> HfQuantization::read_bitsandbytes(const SafetensorsFile& file,
                                                       const std::string& module, int64_t rows,
                                                       int64_t cols) const {
  if (file.find(module + ".SCB")) {
    LATHE_TRY(const StoredTensor* codes, need(file, module + ".weight", DType::kI8, {rows, cols}));
    LATHE_TRY(const StoredTensor* scales, need(file, module + ".SCB", DType::kF32, {rows}));
    LATHE_TRY(const FormatPtr format, parse_format("int8:row"));
    return WeightMatrix::create(format, rows, cols, {codes->bytes, scales->bytes}, module);
  }
  for (const char* kind : {"nf4", "fp4"}) {
    const std::string state_name = module + ".weight.quant_state.bitsandbytes__" + kind;
    const StoredTensor* state = file.find(state_name);
    if (!state) continue;
    const auto* text = state->bytes.as<char>();
    const auto json = nlohmann::json::parse(text, text + state->bytes.size(), nullptr, false);
    if (!json.is_object()) return bad_input("tensor '{}' is not a JSON object", state_name);
    LATHE_TRY_IN(const int64_t block, whole(json, "blocksize", 64), state_name);
    const bool nested = file.find(module + ".weight.nested_absmax") != nullptr;
    LATHE_TRY_IN(const FormatPtr format,
                 parse_format(fmt::format("{}:b{}{}", kind, block, nested ? ",dq" : "")),
                 state_name);
    LATHE_OK_IN(format->supports(rows, cols), module);
    std::vector<Bytes> parts;
    for (const PartSpec& part : format->parts(rows, cols)) {
      const StoredTensor* tensor = file.find(module + "." + part.name);
      if (!tensor) return not_found("tensor '{}.{}' is missing", module, part.name);
      if (tensor->dtype != part.dtype) {
        return bad_input("tensor '{}.{}' is {}, expected {}", module, part.name,
                         name_of(tensor->dtype), name_of(part.dtype));
      }
      parts.push_back(tensor->bytes);
    }
    return WeightMatrix::create(format, rows, cols, std::move(parts), module);
  }
  return not_found("tensor '{}.weight.quant_state.bitsandbytes__nf4' is missing", module);
}

// qweight I32 [K/8, N]: eight rows of codes to a word, lowest bits first; qzeros I32 [G, N/8];
// scales [G, N]; g_idx I32 [K], the group of each column.
Result<HfQuantization::Codes> HfQuantization::read_gptq(const SafetensorsFile& file,
                                                        const std::string& module, int64_t rows,
                                                        int64_t cols) const {
  if (rows % 8 || cols % 8) return bad_input("{}: {} × {} is no multiple of 8", module, rows, cols);
  const int64_t group = group_ ? group_ : cols, groups = (cols + group - 1) / group;
  LATHE_TRY(const StoredTensor* codes,
            need(file, module + ".qweight", DType::kI32, {cols / 8, rows}));
  LATHE_TRY(const StoredTensor* zeros,
            need(file, module + ".qzeros", DType::kI32, {groups, rows / 8}));
  if (file.find(module + ".g_idx")) {
    LATHE_TRY(const StoredTensor* order, need(file, module + ".g_idx", DType::kI32, {cols}));
    for (int64_t k = 0; k < cols; ++k) {
      if (load<int32_t>(*order, k) == k / group) continue;
      return unsupported(
                 "{}: its columns were quantized in another order (act-order: column {} is in "
                 "group {}), which no format of Lathe holds",
                 module, k, load<int32_t>(*order, k))
          .with_hint("use a checkpoint made with desc_act = false");
    }
  }
  Codes out;
  LATHE_TRY(out.scales, f16_scales(file, module + ".scales", rows, groups, true));
  uint8_t* packed = nullptr;
  out.packed = Bytes::allocate(static_cast<size_t>(rows * cols / 2), &packed);
  for (int64_t word = 0; word < cols / 8; ++word) {
    for (int64_t r = 0; r < rows; ++r) {
      const auto bits = load<uint32_t>(*codes, word * rows + r);
      // The same order as ours: eight columns are four bytes.
      std::memcpy(packed + r * cols / 2 + word * 4, &bits, 4);
    }
  }
  uint8_t* zero = nullptr;
  out.zeros = Bytes::allocate(static_cast<size_t>(rows * groups), &zero);
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t r = 0; r < rows; ++r) {
      const uint32_t bits = load<uint32_t>(*zeros, g * (rows / 8) + r / 8) >> (4 * (r % 8));
      const uint32_t value = (bits & 15) + (zero_minus_one_ ? 1 : 0);
      if (value > 15) {
        return unsupported("{}: a zero point of 16, which 4 bits do not hold", module)
            .with_hint("checkpoint_format may be gptq_v2, but config.json says gptq");
      }
      zero[r * groups + g] = static_cast<uint8_t>(value);
      out.symmetric = out.symmetric && value == 8;
    }
  }
  return out;
}

// qweight I32 [K, N/8]: eight outputs to a word, in the order 0 2 4 6 1 3 5 7; qzeros I32 [G, N/8]
// likewise; scales [G, N].
Result<HfQuantization::Codes> HfQuantization::read_awq(const SafetensorsFile& file,
                                                       const std::string& module, int64_t rows,
                                                       int64_t cols) const {
  constexpr int kOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};
  if (rows % 8 || cols % 2) return bad_input("{}: {} × {} does not fit words", module, rows, cols);
  const int64_t group = group_ ? group_ : cols, groups = (cols + group - 1) / group;
  LATHE_TRY(const StoredTensor* codes,
            need(file, module + ".qweight", DType::kI32, {cols, rows / 8}));
  LATHE_TRY(const StoredTensor* zeros,
            need(file, module + ".qzeros", DType::kI32, {groups, rows / 8}));
  Codes out;
  LATHE_TRY(out.scales, f16_scales(file, module + ".scales", rows, groups, true));
  uint8_t* packed = nullptr;
  out.packed = Bytes::allocate(static_cast<size_t>(rows * cols / 2), &packed);
  uint8_t* zero = nullptr;
  out.zeros = Bytes::allocate(static_cast<size_t>(rows * groups), &zero);
  for (int64_t word = 0; word < rows / 8; ++word) {
    for (int64_t k = 0; k < cols; ++k) {
      const auto bits = load<uint32_t>(*codes, k * (rows / 8) + word);
      for (int i = 0; i < 8; ++i) {
        set_nibble(packed + (word * 8 + kOrder[i]) * cols / 2, k, bits >> (4 * i) & 15);
      }
    }
    for (int64_t g = 0; g < groups; ++g) {
      const auto bits = load<uint32_t>(*zeros, g * (rows / 8) + word);
      for (int i = 0; i < 8; ++i) {
        const auto value = static_cast<uint8_t>(bits >> (4 * i) & 15);
        zero[(word * 8 + kOrder[i]) * groups + g] = value;
        out.symmetric = out.symmetric && value == 8;
      }
    }
  }
  return out;
}

// weight_packed I32 [N, K/8]: code + 8, lowest bits first, which is our own order; weight_scale
// [N, G]; weight_zero_point I32 [N/8, G]: + 8, packed along N.
Result<HfQuantization::Codes> HfQuantization::read_compressed(const SafetensorsFile& file,
                                                              const std::string& module,
                                                              int64_t rows, int64_t cols) const {
  if (cols % 8) return bad_input("{}: {} columns are no multiple of 8", module, cols);
  const int64_t group = group_ ? group_ : cols, groups = (cols + group - 1) / group;
  LATHE_TRY(const StoredTensor* codes,
            need(file, module + ".weight_packed", DType::kI32, {rows, cols / 8}));
  if (const StoredTensor* shape = file.find(module + ".weight_shape")) {
    const bool right = (shape->dtype == DType::kI64 && shape->bytes.size() == 16 &&
                        load<int64_t>(*shape, 0) == rows && load<int64_t>(*shape, 1) == cols) ||
                       (shape->dtype == DType::kI32 && shape->bytes.size() == 8 &&
                        load<int32_t>(*shape, 0) == rows && load<int32_t>(*shape, 1) == cols);
    if (!right) return bad_input("tensor '{}.weight_shape' is not [{}, {}]", module, rows, cols);
  }
  if (const StoredTensor* order = file.find(module + ".weight_g_idx")) {
    if (order->dtype != DType::kI32 || static_cast<int64_t>(order->bytes.size()) != 4 * cols) {
      return bad_input("tensor '{}.weight_g_idx' must hold {} I32 numbers", module, cols);
    }
    for (int64_t k = 0; k < cols; ++k) {
      const auto value = load<int32_t>(*order, k);
      if (value == k / group || value == -1) continue;
      return unsupported("{}: its columns were quantized in another order (weight_g_idx)", module)
          .with_hint("use a checkpoint made without activation ordering");
    }
  }
  Codes out;
  out.packed = codes->bytes;
  LATHE_TRY(out.scales, f16_scales(file, module + ".weight_scale", rows, groups, false));
  if (!file.find(module + ".weight_zero_point")) return out;
  LATHE_TRY(const StoredTensor* zeros,
            need(file, module + ".weight_zero_point", DType::kI32, {(rows + 7) / 8, groups}));
  uint8_t* zero = nullptr;
  out.zeros = Bytes::allocate(static_cast<size_t>(rows * groups), &zero);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < groups; ++g) {
      const uint32_t bits = load<uint32_t>(*zeros, r / 8 * groups + g) >> (4 * (r % 8));
      zero[r * groups + g] = static_cast<uint8_t>(bits & 15);
      out.symmetric = out.symmetric && (bits & 15) == 8;
    }
  }
  return out;
}

Result<WeightMatrix> HfQuantization::read(const SafetensorsFile& file, const std::string& module,
                                          int64_t rows, int64_t cols) const {
  if (method_ == Method::kBitsandbytes) return read_bitsandbytes(file, module, rows, cols);
  if (!group_ && (cols % 16 || cols > kMostRowGroup)) {
    return unsupported("{}: one scale for a row of {} columns", module, cols)
        .with_hint("int4 groups are multiples of 16 columns");
  }
  LATHE_TRY(Codes codes, method_ == Method::kGptq  ? read_gptq(file, module, rows, cols)
                         : method_ == Method::kAwq ? read_awq(file, module, rows, cols)
                                                   : read_compressed(file, module, rows, cols));
  LATHE_TRY(const FormatPtr format, parse_format(fmt::format("int4:g{}{}", group_ ? group_ : cols,
                                                             codes.symmetric ? "" : ",asym")));
  std::vector<Bytes> parts = {codes.packed, codes.scales};
  if (!codes.symmetric) parts.push_back(codes.zeros);
  return WeightMatrix::create(format, rows, cols, std::move(parts), module);
}

Result<WeightMatrix> slice_rows(const WeightMatrix& matrix, int64_t first, int64_t rows,
                                std::string_view where) {
  if (first == 0 && rows == matrix.rows()) return matrix;
  if (!matrix.format().rows_independent()) {
    return unsupported("{}: parts of a fused matrix cannot be cut out of format {}", where,
                       matrix.format().spec());
  }
  std::vector<Bytes> parts;
  for (const Bytes& part : matrix.parts()) {
    const size_t per_row = part.size() / static_cast<size_t>(matrix.rows());
    parts.push_back(
        part.slice(static_cast<size_t>(first) * per_row, static_cast<size_t>(rows) * per_row));
  }
  return WeightMatrix::create(matrix.format_ptr(), rows, matrix.cols(), std::move(parts), where);
}

}  // namespace lathe
