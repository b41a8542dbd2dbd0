#include "lathe/export/hf_schemes.h"

#include <cstring>

#include "lathe/formats/layouts.h"

namespace lathe {
namespace {

using Json = nlohmann::json;

bool is_row_int8(const Format& format) { return format.spec() == "int8:row"; }
bool is_codebook(const Format& format) { return format.encoding() == Encoding::kCodebook4; }
bool is_grouped_int4(const Format& format) {
  return format.encoding() == Encoding::kInt4 && int_layout(format).group > 0;
}

// The parts already carry bitsandbytes' names.
Result<std::vector<HfTensor>> pack_bitsandbytes(const WeightMatrix& m, const std::string&) {
  std::vector<HfTensor> out;
  const std::vector<PartSpec> specs = m.format().parts(m.rows(), m.cols());
  for (size_t i = 0; i < specs.size(); ++i) {
    const bool scales = specs[i].name == "weight.scb";
    std::vector<int64_t> shape = specs[i].shape;
    // The JSON may be of another length where it was read from a file.
    if (specs[i].name.find("quant_state") != std::string::npos) {
      shape = {static_cast<int64_t>(m.parts()[i].size())};
    }
    out.push_back(
        {scales ? ".SCB" : "." + specs[i].name, specs[i].dtype, std::move(shape), m.parts()[i]});
  }
  return out;
}

Json bitsandbytes_config(const Format& format, const std::vector<std::string>& plain) {
  Json j = {{"quant_method", "bitsandbytes"}, {"llm_int8_skip_modules", plain}};
  j["load_in_8bit"] = is_row_int8(format);
  j["load_in_4bit"] = !is_row_int8(format);
  if (is_row_int8(format)) return j;
  j["bnb_4bit_quant_type"] = format.spec().substr(0, 3);
  j["bnb_4bit_use_double_quant"] = codebook4_layout(format).nested;
  j["bnb_4bit_compute_dtype"] = "float32";
  j["bnb_4bit_quant_storage"] = "uint8";
  return j;
}

// Codes, scales and zero points of a grouped int4 matrix, whatever the layout.
struct Int4 {
  explicit Int4(const WeightMatrix& m)
      : rows(m.rows()), cols(m.cols()), layout(int_layout(m.format())), parts(m.parts()) {
    groups = (cols + layout.group - 1) / layout.group;
  }
  uint32_t code(int64_t r, int64_t k) const {
    return parts[0].data()[r * ((cols + 1) / 2) + k / 2] >> (k % 2 ? 4 : 0) & 15;
  }
  uint32_t zero(int64_t r, int64_t g) const {
    return layout.asymmetric ? parts[2].data()[r * groups + g] : 8;
  }
  // [G, N], as GPTQ and AWQ have them.
  Bytes scales_by_group() const {
    uint8_t* out = nullptr;
    Bytes bytes = Bytes::allocate(static_cast<size_t>(2 * rows * groups), &out);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t g = 0; g < groups; ++g) {
        std::memcpy(out + 2 * (g * rows + r), parts[1].data() + 2 * (r * groups + g), 2);
      }
    }
    return bytes;
  }

  int64_t rows, cols, groups;
  IntLayout layout;
  std::span<const Bytes> parts;
};

Status whole_words(const WeightMatrix& m, const std::string& where, bool by_rows) {
  const Int4 w(m);
  if (m.cols() % 8 || (by_rows && m.rows() % 8)) {
    return unsupported("{}: {} × {} codes do not fill words of eight", where, m.rows(), m.cols());
  }
  if (m.cols() % w.layout.group) {
    return unsupported("{}: {} columns are not whole groups of {}", where, m.cols(),
                       w.layout.group);
  }
  return {};
}

// Fills words of I32 [count] with eight nibbles each, lowest first.
template <typename Code>
Bytes words(int64_t count, Code code) {
  uint8_t* out = nullptr;
  Bytes bytes = Bytes::allocate(static_cast<size_t>(4 * count), &out);
  for (int64_t i = 0; i < count; ++i) {
    uint32_t word = 0;
    for (int n = 0; n < 8; ++n) word |= code(i, n) << (4 * n);
    std::memcpy(out + 4 * i, &word, 4);
  }
  return bytes;
}

Result<std::vector<HfTensor>> pack_gptq(const WeightMatrix& m, const std::string& where) {
  LATHE_OK(whole_words(m, where, true));
  const Int4 w(m);
  const int64_t n = w.rows;
  uint8_t* order = nullptr;
  Bytes g_idx = Bytes::allocate(static_cast<size_t>(4 * w.cols), &order);
  for (int64_t k = 0; k < w.cols; ++k) {
    const auto group = static_cast<int32_t>(k / w.layout.group);
    std::memcpy(order + 4 * k, &group, 4);
  }
  for (int64_t r = 0; r < n; ++r) {
    for (int64_t g = 0; g < w.groups; ++g) {
      if (w.zero(r, g) == 0) {
        return unsupported(
                   "{}: GPTQ's first layout, which all its readers know, has no zero point "
                   "of 0",
                   where)
            .with_hint("--to awq and --to compressed-tensors hold it");
      }
    }
  }
  return std::vector<HfTensor>{
      {".qweight",
       DType::kI32,
       {w.cols / 8, n},
       words(w.cols / 8 * n, [&](int64_t i, int j) { return w.code(i % n, i / n * 8 + j); })},
      {".qzeros",
       DType::kI32,
       {w.groups, n / 8},
       words(w.groups * (n / 8),
             [&](int64_t i, int j) { return w.zero(i % (n / 8) * 8 + j, i / (n / 8)) - 1; })},
      {".scales", DType::kF16, {w.groups, n}, w.scales_by_group()},
      {".g_idx", DType::kI32, {w.cols}, std::move(g_idx)}};
}

Json gptq_config(const Format& format, const std::vector<std::string>& /*plain*/) {
  const IntLayout layout = int_layout(format);
  return {{"quant_method", "gptq"},     {"bits", 4},
          {"group_size", layout.group}, {"desc_act", false},
          {"sym", !layout.asymmetric},  {"checkpoint_format", "gptq"},
          {"lm_head", false},           {"pack_dtype", "int32"}};
}

constexpr int kAwqOrder[8] = {0, 2, 4, 6, 1, 3, 5, 7};

Result<std::vector<HfTensor>> pack_awq(const WeightMatrix& m, const std::string& where) {
  LATHE_OK(whole_words(m, where, true));
  const Int4 w(m);
  const int64_t n = w.rows, per_row = n / 8;
  return std::vector<HfTensor>{{".qweight",
                                DType::kI32,
                                {w.cols, per_row},
                                words(w.cols * per_row,
                                      [&](int64_t i, int j) {
                                        return w.code(i % per_row * 8 + kAwqOrder[j], i / per_row);
                                      })},
                               {".qzeros",
                                DType::kI32,
                                {w.groups, per_row},
                                words(w.groups * per_row,
                                      [&](int64_t i, int j) {
                                        return w.zero(i % per_row * 8 + kAwqOrder[j], i / per_row);
                                      })},
                               {".scales", DType::kF16, {w.groups, n}, w.scales_by_group()}};
}

Json awq_config(const Format& format, const std::vector<std::string>& plain) {
  return {{"quant_method", "awq"}, {"bits", 4},         {"group_size", int_layout(format).group},
          {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", plain}};
}

Result<std::vector<HfTensor>> pack_compressed(const WeightMatrix& m, const std::string& where) {
  LATHE_OK(whole_words(m, where, false));
  const Int4 w(m);
  uint8_t* out = nullptr;
  Bytes shape = Bytes::allocate(16, &out);
  std::memcpy(out, &w.rows, 8);
  std::memcpy(out + 8, &w.cols, 8);
  std::vector<HfTensor> tensors = {
      {".weight_packed", DType::kI32, {w.rows, w.cols / 8}, m.parts()[0]},
      {".weight_scale", DType::kF16, {w.rows, w.groups}, m.parts()[1]},
      {".weight_shape", DType::kI64, {2}, std::move(shape)}};
  if (w.layout.asymmetric) {
    const int64_t n = (w.rows + 7) / 8;
    tensors.push_back({".weight_zero_point",
                       DType::kI32,
                       {n, w.groups},
                       words(n * w.groups, [&](int64_t i, int j) {
                         const int64_t row = i / w.groups * 8 + j;
                         return row < w.rows ? w.zero(row, i % w.groups) : 0;
                       })});
  }
  return tensors;
}

Json compressed_config(const Format& format, const std::vector<std::string>& plain) {
  const IntLayout layout = int_layout(format);
  return {{"quant_method", "compressed-tensors"},
          {"format", "pack-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", plain},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"input_activations", nullptr},
              {"output_activations", nullptr},
              {"weights",
               {{"num_bits", 4},
                {"type", "int"},
                {"symmetric", !layout.asymmetric},
                {"strategy", "group"},
                {"group_size", layout.group},
                {"dynamic", false},
                {"actorder", nullptr}}}}}}}};
}

}  // namespace

const std::vector<HfScheme>& hf_schemes() {
  static const std::vector<HfScheme> list = {
      {"bitsandbytes", [](const Format& f) { return is_row_int8(f) || is_codebook(f); },
       "nf4, fp4 and int8:row", pack_bitsandbytes, bitsandbytes_config},
      {"gptq", is_grouped_int4, "int4:gN and int4:gN,asym", pack_gptq, gptq_config},
      {"awq", is_grouped_int4, "int4:gN and int4:gN,asym", pack_awq, awq_config},
      {"compressed-tensors", is_grouped_int4, "int4:gN and int4:gN,asym", pack_compressed,
       compressed_config},
  };
  return list;
}

const HfScheme* find_hf_scheme(const std::string& name) {
  for (const HfScheme& scheme : hf_schemes()) {
    if (scheme.name == name) return &scheme;
  }
  return nullptr;
}

}  // namespace lathe
