// The ggml block types as formats: one part `weight` U8 [N, K / block · bytes], the rows exactly as
// they lie in a GGUF file.
#include <algorithm>

#include "lathe/base/mapped_file.h"
#include "lathe/base/threads.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_codec.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/formats/kinds.h"

namespace lathe::formats {
namespace {

using namespace lathe::gguf;

struct Type {
  GgmlType type;
  const char* name;
  const char* description;
  int64_t elems, bytes;  // of a block
  bool exact_zero;
  SnrBounds snr;
  DecodeBlock decode;
  EncodeBlock encode;  // the reference's, by the largest weight; nullptr: it has none, so `fit`
  FitBlock fit;
  std::array<int, 2> f16s{};  // byte offsets of the F16 fields of a block; −1: none
};

// A weight of zero is exact where codes are symmetric; not where a minimum is added (its F16
// rounding stays), nor in IQ4_NL, whose values have no zero.
constexpr Type kTypes[] = {
    {GgmlType::kQ4_0,
     "q4_0",
     "ggml: 4 bits in blocks of 32, scale",
     kSmall,
     sizeof(BlockQ4_0),
     true,
     {20.0, 23.0},
     decode_q4_0,
     encode_q4_0,
     fit_q4_0,
     {0, -1}},
    {GgmlType::kQ4_1,
     "q4_1",
     "ggml: 4 bits in blocks of 32, scale and minimum",
     kSmall,
     sizeof(BlockQ4_1),
     false,
     {20.5, 23.5},
     decode_q4_1,
     encode_q4_1,
     fit_q4_1,
     {0, 2}},
    {GgmlType::kQ5_0,
     "q5_0",
     "ggml: 5 bits in blocks of 32, scale",
     kSmall,
     sizeof(BlockQ5_0),
     true,
     {26.0, 29.0},
     decode_q5_0,
     encode_q5_0,
     fit_q5_0,
     {0, -1}},
    {GgmlType::kQ5_1,
     "q5_1",
     "ggml: 5 bits in blocks of 32, scale and minimum",
     kSmall,
     sizeof(BlockQ5_1),
     false,
     {26.5, 30.0},
     decode_q5_1,
     encode_q5_1,
     fit_q5_1,
     {0, 2}},
    {GgmlType::kQ8_0,
     "q8_0",
     "ggml: 8 bits in blocks of 32, scale",
     kSmall,
     sizeof(BlockQ8_0),
     true,
     {44.0, 47.0},
     decode_q8_0,
     encode_q8_0,
     fit_q8_0,
     {0, -1}},
    {GgmlType::kQ2_K,
     "q2_k",
     "ggml: 2 bits, 16 sub-blocks of 16",
     kSuper,
     sizeof(BlockQ2_K),
     false,
     {9.0, 13.0},
     decode_q2_k,
     nullptr,
     fit_q2_k,
     {80, 82}},
    {GgmlType::kQ3_K,
     "q3_k",
     "ggml: 3 bits, 16 sub-blocks of 16",
     kSuper,
     sizeof(BlockQ3_K),
     true,
     {14.0, 18.0},
     decode_q3_k,
     nullptr,
     fit_q3_k,
     {108, -1}},
    {GgmlType::kQ4_K,
     "q4_k",
     "ggml: 4 bits, 8 sub-blocks of 32",
     kSuper,
     sizeof(BlockQ4_K),
     false,
     {20.5, 23.5},
     decode_q4_k,
     nullptr,
     fit_q4_k,
     {0, 2}},
    {GgmlType::kQ5_K,
     "q5_k",
     "ggml: 5 bits, 8 sub-blocks of 32",
     kSuper,
     sizeof(BlockQ5_K),
     false,
     {26.5, 30.0},
     decode_q5_k,
     nullptr,
     fit_q5_k,
     {0, 2}},
    {GgmlType::kQ6_K,
     "q6_k",
     "ggml: 6 bits, 16 sub-blocks of 16",
     kSuper,
     sizeof(BlockQ6_K),
     true,
     {32.5, 36.5},
     decode_q6_k,
     nullptr,
     fit_q6_k,
     {208, -1}},
    {GgmlType::kIQ4_NL,
     "iq4_nl",
     "ggml: 16 uneven values in blocks of 32",
     kSmall,
     sizeof(BlockIQ4_NL),
     false,
     {20.5, 23.5},
     decode_iq4_nl,
     nullptr,
     fit_iq4_nl,
     {0, -1}},
};

class GgufFormat final : public Format {
 public:
  explicit GgufFormat(const Type& type) : type_(type) {}

  std::string spec() const override { return type_.name; }
  uint32_t id() const override { return make_id(Kind::kGguf, static_cast<uint32_t>(type_.type)); }
  Encoding encoding() const override { return Encoding::kGguf; }
  bool exact_zero() const override { return type_.exact_zero; }
  SnrBounds snr() const override { return type_.snr; }

  Status supports(int64_t rows, int64_t cols) const override {
    LATHE_OK(check_shape(rows, cols));
    if (cols % type_.elems) {
      return unsupported("format {} stores rows in blocks of {}, and {} columns are no multiple",
                         type_.name, type_.elems, cols)
          .with_hint("any int4, int8, nf4 or float format takes rows of every length");
    }
    return {};
  }

  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    return {{"weight", DType::kU8, {rows, cols / type_.elems * type_.bytes}}};
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    if (!type_.encode) return fit(weights, rows, cols, nullptr, out[0]);
    for (int64_t b = 0; b < rows * cols / type_.elems; ++b) {
      type_.encode(weights + b * type_.elems, out[0] + b * type_.bytes);
    }
  }

  // `importance`: one for each column, or nullptr.
  void fit(const float* weights, int64_t rows, int64_t cols, const float* importance,
           uint8_t* out) const {
    for (int64_t b = 0; b < rows * cols / type_.elems; ++b) {
      const float* at = importance ? importance + b * type_.elems % cols : nullptr;
      type_.fit(weights + b * type_.elems, at, out + b * type_.bytes);
    }
  }

  void decode_rows(std::span<const Bytes> parts, int64_t /*rows*/, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const int64_t per_row = cols / type_.elems;
    for (int64_t b = begin * per_row; b < end * per_row; ++b, out += type_.elems) {
      type_.decode(parts[0].data() + b * type_.bytes, out);
    }
  }

  // Codes and integer scales can hold anything: with finite F16 scales the largest product,
  // 65504 · 128 · 32, is far from overflow.
  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    const int64_t blocks = rows * cols / type_.elems;
    const int64_t step = std::max<int64_t>(1, kCheckedAtOnce / type_.bytes);
    for (int64_t first = 0; first < blocks; first += step) {
      const int64_t last = std::min(blocks, first + step);
      const Bytes slice = parts[0].slice(static_cast<size_t>(first * type_.bytes),
                                         static_cast<size_t>((last - first) * type_.bytes));
      if (const int64_t b = first_bad_scale(slice, last - first); b >= 0) {
        return bad_input(
            "block {} of row {} in part 'weight' ({}): its scale is infinite or not "
            "a number",
            (first + b) % (cols / type_.elems), (first + b) / (cols / type_.elems), type_.name);
      }
      if (step < blocks) release_pages(slice);
    }
    return {};
  }

 private:
  int64_t first_bad_scale(const Bytes& slice, int64_t blocks) const {
    for (const int at : type_.f16s) {
      if (at < 0) continue;
      const uint8_t* field = slice.data() + at;
      for (int64_t b = 0; b < blocks; ++b) {
        if ((load<uint16_t>(field + b * type_.bytes) & 0x7c00u) == 0x7c00u) return b;
      }
    }
    return -1;
  }

  const Type& type_;
};

template <size_t I>
Result<FormatPtr> parse_gguf(std::string_view options) {
  if (!options.empty()) {
    return bad_input("format {} takes no options, got '{}'", kTypes[I].name, options);
  }
  return FormatPtr(std::make_shared<GgufFormat>(kTypes[I]));
}

template <size_t... I>
std::vector<FormatKind> kinds(std::index_sequence<I...>) {
  return {FormatKind{
      kTypes[I].name, kTypes[I].name, kTypes[I].description, {kTypes[I].name}, parse_gguf<I>}...};
}

}  // namespace

std::vector<FormatKind> gguf_kinds() {
  return kinds(std::make_index_sequence<std::size(kTypes)>());
}

}  // namespace lathe::formats

namespace lathe {

const std::vector<GgmlTypeInfo>& ggml_types() {
  static const std::vector<GgmlTypeInfo> types = [] {
    std::vector<GgmlTypeInfo> all = {{GgmlType::kF32, "f32", 1, 4},
                                     {GgmlType::kF16, "f16", 1, 2},
                                     {GgmlType::kBF16, "bf16", 1, 2}};
    for (const formats::Type& t : formats::kTypes) {
      all.push_back({t.type, t.name, t.elems, t.bytes});
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.type < b.type; });
    return all;
  }();
  return types;
}

const GgmlTypeInfo* ggml_type_info(uint32_t ggml_type) {
  for (const GgmlTypeInfo& info : ggml_types()) {
    if (static_cast<uint32_t>(info.type) == ggml_type) return &info;
  }
  return nullptr;
}

std::string ggml_type_name(uint32_t ggml_type) {
  const GgmlTypeInfo* info = ggml_type_info(ggml_type);
  return info ? std::string(info->name) : fmt::format("type {}", ggml_type);
}

FormatPtr gguf_format(uint32_t ggml_type) {
  const GgmlTypeInfo* info = ggml_type_info(ggml_type);
  return info ? parse_format(info->name).value() : nullptr;
}

Result<uint32_t> ggml_type_of(const Format& format) {
  for (const GgmlTypeInfo& info : ggml_types()) {
    if (info.name == format.spec()) return static_cast<uint32_t>(info.type);
  }
  return unsupported("a GGUF file cannot hold format {}", format.spec());
}

Result<WeightMatrix> encode_weighted(const FormatPtr& format, const float* weights, int64_t rows,
                                     int64_t cols, const float* importance, std::string_view where,
                                     ThreadPool& pool) {
  const auto* gguf = dynamic_cast<const formats::GgufFormat*>(format.get());
  if (!gguf) {
    return unsupported("{}: format {} is not one of the ggml block types", where, format->spec());
  }
  LATHE_OK_IN(format->supports(rows, cols), where);
  LATHE_OK(formats::check_finite_weights(weights, rows, cols, where));
  for (int64_t k = 0; importance && k < cols; ++k) {
    if (std::isfinite(importance[k]) && importance[k] >= 0) continue;
    return bad_input("{}: the importance of column {} is {}", where, k, importance[k])
        .with_hint("importances are mean squares: finite, and not negative");
  }
  uint8_t* data = nullptr;
  Bytes bytes = Bytes::allocate(static_cast<size_t>(format->bytes(rows, cols)), &data);
  const int64_t row_bytes = format->bytes(1, cols);
  pool.parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    gguf->fit(weights + begin * cols, end - begin, cols, importance, data + begin * row_bytes);
  });
  auto matrix = WeightMatrix::create(format, rows, cols, {std::move(bytes)}, where);
  if (matrix.ok()) return matrix;
  return bad_input("{}: the weights do not fit format {}", where, format->spec())
      .with_hint("use a format with a wider range, such as bf16");
}

Result<int64_t> gguf_row_bytes(uint32_t ggml_type, int64_t cols) {
  const GgmlTypeInfo* info = ggml_type_info(ggml_type);
  if (!info) return unsupported("ggml type {} is not known", ggml_type);
  if (cols < 1 || cols % info->block_elems) {
    return bad_input("rows of type {} are whole blocks of {}, not {} elements", info->name,
                     info->block_elems, cols);
  }
  if (cols / info->block_elems > (int64_t{1} << 48) / info->block_bytes) {
    return bad_input("a row of {} elements is too long", cols);
  }
  return cols / info->block_elems * info->block_bytes;
}

}  // namespace lathe
