// NF4 and FP4: 4-bit indices into a table of 16 values, absmax per block of the flattened matrix,
// optionally quantized once more. Parts, bits and arithmetic are those of bitsandbytes 0.50
// (functional.py and its CPU backend; Dettmers et al. 2023, "QLoRA", section 3), so that its
// checkpoints are read and written as they are:
//   weight                               U8  [⌈n/2⌉, 1]   two codes a byte, the first one high
//   weight.absmax                        F32 [⌈n/B⌉]      with dq: U8 codes of (absmax − offset)
//   weight.quant_map                     F32 [16]
//   weight.nested_absmax (dq)            F32 [⌈n/B/256⌉]
//   weight.nested_quant_map (dq)         F32 [256]
//   weight.quant_state.bitsandbytes__nf4 U8  JSON: block sizes, shape, nested_offset
// Where we differ: our JSON is padded with spaces to a length that depends on the shape alone. A
// JSON part of another length is read just as well.
#include "lathe/formats/codebook4.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "lathe/formats/detail.h"
#include "lathe/formats/kinds.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/run_loops.h"

namespace lathe::formats {
namespace {

constexpr size_t kMostStateBytes = 4096;
constexpr int kOffsetDigits = 25;  // of a double: sign, 17 digits, point, exponent

// Part numbers. With dq the nested parts stand before the state.
constexpr size_t kCodes = 0, kAbsmax = 1, kQuantMap = 2, kNestedAbsmax = 3, kNestedMap = 4;

struct Table {
  const char* name;
  std::array<float, 16> code;
  std::array<uint8_t, 16> order;  // codes by ascending value
  SnrBounds snr;
};

constexpr Table kNf4 = {
    "nf4",
    {-1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
     -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
     0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
     0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f},
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {18.5, 22.0}};

// Sign, two bits of exponent, one of mantissa, over twelve. Code 8 is a second zero; the
// reference gives it to the smallest positive numbers.
constexpr Table kFp4 = {
    "fp4",
    {0.0f, 0.0625f / 12, 8.0f / 12, 1.0f, 4.0f / 12, 6.0f / 12, 2.0f / 12, 3.0f / 12, 0.0f,
     -0.0625f / 12, -8.0f / 12, -1.0f, -4.0f / 12, -6.0f / 12, -2.0f / 12, -3.0f / 12},
    {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3},
    {15.5, 19.5}};

std::array<float, 15> midpoints(const Table& table) {
  std::array<float, 15> bounds;
  for (size_t i = 0; i < 15; ++i) {
    bounds[i] = (table.code[table.order[i]] + table.code[table.order[i + 1]]) / 2.0f;
  }
  return bounds;
}

// What the JSON part says, as far as decoding needs it.
struct State {
  float offset = 0.0f;
};

class Codebook4Format final : public Format {
 public:
  Codebook4Format(const Table& table, int64_t block, bool nested)
      : table_(table), bounds_(midpoints(table)), block_(block), nested_(nested) {}

  std::string spec() const override {
    return fmt::format("{}:b{}{}", table_.name, block_, nested_ ? ",dq" : "");
  }
  uint32_t id() const override {
    return make_id(&table_ == &kNf4 ? Kind::kNf4 : Kind::kFp4,
                   static_cast<uint32_t>(block_) << 1 | (nested_ ? 1u : 0u));
  }
  Encoding encoding() const override { return Encoding::kCodebook4; }
  bool exact_zero() const override { return true; }
  bool rows_independent() const override { return false; }
  SnrBounds snr() const override { return table_.snr; }

  Status supports(int64_t rows, int64_t cols) const override { return check_shape(rows, cols); }

  std::vector<PartSpec> parts(int64_t rows, int64_t cols) const override {
    const int64_t n = rows * cols;
    const int64_t blocks = ceil_div(n, block_);
    std::vector<PartSpec> specs = {{"weight", DType::kU8, {ceil_div(n, 2), 1}},
                                   {"weight.absmax", nested_ ? DType::kU8 : DType::kF32, {blocks}},
                                   {"weight.quant_map", DType::kF32, {16}}};
    if (nested_) {
      specs.push_back({"weight.nested_absmax", DType::kF32, {ceil_div(blocks, kNestedBlock)}});
      specs.push_back({"weight.nested_quant_map", DType::kF32, {256}});
    }
    specs.push_back({fmt::format("weight.quant_state.bitsandbytes__{}", table_.name),
                     DType::kU8,
                     {static_cast<int64_t>(state_text(rows, cols, 0.0f).size())}});
    return specs;
  }

  void encode(const float* weights, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const override {
    const int64_t n = rows * cols;
    const int64_t blocks = ceil_div(n, block_);
    std::vector<float> scales(static_cast<size_t>(blocks));
    encode_blocks(weights, n, out[kCodes], scales.data());
    finish(scales, rows, cols, out);
  }

  void encode_blocks(const float* weights, int64_t count, uint8_t* codes, float* absmax) const {
    for (int64_t b = 0; b * block_ < count; ++b) {
      absmax[b] = encode_block(weights + b * block_, std::min(block_, count - b * block_),
                               codes + b * block_ / 2);
    }
  }

  // All parts but the codes.
  void finish(std::span<const float> absmax, int64_t rows, int64_t cols,
              std::span<uint8_t* const> out) const {
    const auto blocks = static_cast<int64_t>(absmax.size());
    std::memcpy(out[kQuantMap], table_.code.data(), sizeof(table_.code));
    float offset = 0.0f;
    if (nested_) {
      std::vector<float> scales(absmax.begin(), absmax.end());
      offset = mean_like_torch(scales.data(), blocks);
      for (float& scale : scales) scale -= offset;
      encode_nested(scales.data(), blocks, out[kAbsmax], out[kNestedAbsmax]);
      std::memcpy(out[kNestedMap], dynamic_map().data(), sizeof(float) * 256);
    } else {
      std::memcpy(out[kAbsmax], absmax.data(), absmax.size() * sizeof(float));
    }
    const std::string state = state_text(rows, cols, offset);
    std::memcpy(out[nested_ ? 5 : 3], state.data(), state.size());
  }

  void decode_rows(std::span<const Bytes> parts, int64_t rows, int64_t cols, int64_t begin,
                   int64_t end, float* out) const override {
    const Codebook4View v = codebook4_view(*this, parts, rows, cols);
    const int64_t stop = end * cols;
    for (int64_t i = begin * cols; i < stop;) {
      const int64_t b = i / block_;
      float scale;
      v.absmax(b, b + 1, &scale);
      std::array<float, 16> values;
      for (size_t c = 0; c < 16; ++c) values[c] = v.code[c] * scale;
      const int64_t last = std::min(stop, (b + 1) * block_);
      if (i % 2) *out++ = values[v.codes[i / 2] & 15], ++i;
      look_up_pairs(v.codes + i / 2, last - i, values, out);
      out += last - i;
      i = last;
    }
  }

  Status validate(std::span<const Bytes> parts, int64_t rows, int64_t cols) const override {
    const std::vector<PartSpec> specs = this->parts(rows, cols);
    const size_t last = specs.size() - 1;
    if (parts.size() == specs.size()) {
      // Every part but the JSON has a size that follows from the shape.
      std::vector<Bytes> sized(parts.begin(), parts.end());
      if (sized[last].size() <= kMostStateBytes) sized[last] = padding_of(specs[last].bytes());
      LATHE_OK(check_part_sizes(*this, sized, rows, cols));
    } else {
      LATHE_OK(check_part_sizes(*this, parts, rows, cols));
    }
    LATHE_OK(check_quant_map(parts[kQuantMap]));
    LATHE_TRY(const State state, read_state(parts[last], rows, cols));
    if (!nested_) return check_scales(parts[kAbsmax], specs[kAbsmax].name);
    LATHE_OK(check_scales(parts[kNestedAbsmax], specs[kNestedAbsmax].name));
    for (int64_t i = 0; i < 256; ++i) {
      const float value = load<float>(parts[kNestedMap].data(), i);
      if (!(std::fabs(value) <= 1.0f)) {
        return bad_input("element {} of part '{}' is {}, but must lie in [-1, 1]", i,
                         specs[kNestedMap].name, value);
      }
    }
    if (!(std::fabs(state.offset) <= kMostScale)) {
      return bad_input("nested_offset in part '{}' is {}: decoded weights would overflow",
                       specs[last].name, state.offset);
    }
    return {};
  }

  const Table& table() const { return table_; }

  // Errors name the key. Also called by codebook4_view, after validate().
  Result<State> read_state(const Bytes& bytes, int64_t rows, int64_t cols) const {
    const auto part = fmt::format("part 'weight.quant_state.bitsandbytes__{}'", table_.name);
    const auto* text = bytes.as<char>();
    const auto json = nlohmann::json::parse(text, text + bytes.size(), nullptr, false);
    if (!json.is_object()) return bad_input("{} is not a JSON object", part);
    const auto number = [&](const char* key) -> std::optional<int64_t> {
      const auto it = json.find(key);
      if (it == json.end() || !it->is_number_integer()) return std::nullopt;
      return it->get<int64_t>();
    };
    const auto type = json.find("quant_type");
    if (type == json.end() || *type != table_.name) {
      return bad_input("{}: quant_type is not \"{}\"", part, table_.name);
    }
    if (number("blocksize") != block_) {
      return bad_input("{}: blocksize is not {}, as format {} says", part, block_, spec());
    }
    const auto shape = json.find("shape");
    if (shape == json.end() || *shape != nlohmann::json::array({rows, cols})) {
      return bad_input("{}: shape is not [{}, {}]", part, rows, cols);
    }
    const auto offset = json.find("nested_offset");
    if (!nested_) {
      if (offset != json.end()) {
        return bad_input("{}: has a nested_offset, so this is {},dq", part, spec());
      }
      return State{};
    }
    if (number("nested_blocksize") != kNestedBlock) {
      return bad_input("{}: nested_blocksize is not {}", part, kNestedBlock);
    }
    if (offset == json.end() || !offset->is_number()) {
      return bad_input("{}: nested_offset is missing or not a number", part);
    }
    return State{static_cast<float>(offset->get<double>())};
  }

 private:
  // Above this a product with a table value, or a sum with the offset, could overflow.
  static constexpr float kMostScale = 1e38f;

  static Bytes padding_of(int64_t size) {
    uint8_t* unused;
    return Bytes::allocate(static_cast<size_t>(size), &unused);
  }

  static Status check_scales(const Bytes& bytes, std::string_view part) {
    for (int64_t i = 0; i < static_cast<int64_t>(bytes.size()) / 4; ++i) {
      const float value = load<float>(bytes.data(), i);
      if (!(std::fabs(value) <= kMostScale)) {
        return bad_input("element {} of part '{}' is {}: decoded weights would overflow", i, part,
                         value);
      }
    }
    return {};
  }

  // Kernels and exact_zero() rely on the known table. Published FP4 tables differ from it by up to
  // 9e-6 (0.0052 for 0.0625/12).
  Status check_quant_map(const Bytes& bytes) const {
    for (size_t i = 0; i < 16; ++i) {
      const float value = load<float>(bytes.data(), static_cast<int64_t>(i));
      const float known = table_.code[i];
      if (!(std::fabs(value - known) <= 1e-4f) || (known == 0.0f && value != 0.0f)) {
        return bad_input("element {} of part 'weight.quant_map' is {}, but {} has {} there", i,
                         value, table_.name, known);
      }
    }
    return {};
  }

  std::string state_text(int64_t rows, int64_t cols, float offset) const {
    std::string text = fmt::format(R"({{"quant_type": "{}", "blocksize": {}, "dtype": "float32", )"
                                   R"("shape": [{}, {}])",
                                   table_.name, block_, rows, cols);
    if (nested_) {
      text += fmt::format(R"(, "nested_blocksize": {}, "nested_dtype": "float32", )"
                          R"("nested_offset": {:<{}})",
                          kNestedBlock, double{offset}, kOffsetDigits);
    }
    return text + "}";
  }

  // Returns the absmax as stored. The reference divides in the last, shorter block and multiplies
  // by the reciprocal elsewhere, and only there raises the stored absmax to 1e-38; the codes are
  // bit-equal only if we do the same.
  float encode_block(const float* x, int64_t count, uint8_t* out) const {
    constexpr float kLeast = 1e-38f;
    uint8_t codes[4096 + 1];
    const float most = absmax(x, count);
    const float at_least = std::max(most, kLeast);
    const bool whole = count == block_;
    // The rank of a value is the number of midpoints below it: a tie goes down, nothing branches.
    rank_codes(x, count, whole ? 1.0f / at_least : at_least, !whole, bounds_, codes);
    if (&table_ != &kNf4) {
      for (int64_t i = 0; i < count; ++i) codes[i] = table_.order[codes[i]];
    }
    if (count % 2) codes[count] = table_.order[7];  // the code of 0
    pack_high_first(codes, count + count % 2, out);
    return whole ? most : at_least;
  }

  const Table& table_;
  std::array<float, 15> bounds_;
  int64_t block_;
  bool nested_;
};

Result<FormatPtr> parse_codebook4(const Table& table, std::string_view options) {
  int64_t block = 0;
  bool nested = false;
  for (const std::string_view option : split_options(options)) {
    const auto number = prefixed_number(option, "b");
    if (option == "dq" && !nested) {
      nested = true;
    } else if (number && !block) {
      block = *number;
    } else {
      return bad_input("unknown or repeated option '{}' of format {}", option, table.name);
    }
  }
  if (!block) block = 64;
  if (block < 32 || block > 4096 || !std::has_single_bit(static_cast<uint64_t>(block))) {
    return bad_input("{} blocks are 32, 64, 128, 256, 512, 1024, 2048 or 4096, not {}", table.name,
                     block);
  }
  return FormatPtr(std::make_shared<Codebook4Format>(table, block, nested));
}

}  // namespace

void encode_codebook4_blocks(const Format& format, const float* weights, int64_t count,
                             uint8_t* codes, float* absmax) {
  LATHE_CHECK(format.encoding() == Encoding::kCodebook4);
  static_cast<const Codebook4Format&>(format).encode_blocks(weights, count, codes, absmax);
}

void finish_codebook4(const Format& format, std::span<const float> absmax, int64_t rows,
                      int64_t cols, std::span<uint8_t* const> out) {
  LATHE_CHECK(format.encoding() == Encoding::kCodebook4);
  static_cast<const Codebook4Format&>(format).finish(absmax, rows, cols, out);
}

FormatKind nf4_kind() {
  return {"nf4",
          "nf4[:bB][,dq]",
          "4-bit NormalFloat in blocks of B (64), with or without double quantization",
          {"nf4:b64", "nf4:b64,dq", "nf4:b32", "nf4:b128,dq", "nf4:b4096"},
          [](std::string_view options) { return parse_codebook4(kNf4, options); }};
}
FormatKind fp4_kind() {
  return {"fp4",
          "fp4[:bB][,dq]",
          "4-bit float (1 sign, 2 exponent, 1 mantissa) in blocks of B (64)",
          {"fp4:b64", "fp4:b64,dq", "fp4:b256"},
          [](std::string_view options) { return parse_codebook4(kFp4, options); }};
}

}  // namespace lathe::formats

namespace lathe {

void Codebook4View::absmax(int64_t begin, int64_t end, float* out) const {
  for (int64_t b = begin; b < end; ++b) {
    *out++ = nested ? nested_code[stored_absmax[b]] *
                              formats::load<float>(nested_absmax, b / formats::kNestedBlock) +
                          offset
                    : formats::load<float>(stored_absmax, b);
  }
}

Codebook4Layout codebook4_layout(const Format& format) {
  LATHE_CHECK(format.encoding() == Encoding::kCodebook4);
  const uint32_t parameters = format.id() >> 8;
  return {parameters >> 1, (parameters & 1) != 0};
}

Codebook4View codebook4_view(const Format& format, std::span<const Bytes> parts, int64_t rows,
                             int64_t cols) {
  using namespace formats;
  LATHE_CHECK(format.encoding() == Encoding::kCodebook4);
  const auto& codebook = static_cast<const Codebook4Format&>(format);
  const Codebook4Layout layout = codebook4_layout(format);
  Codebook4View view{};
  view.codes = parts[kCodes].data();
  std::memcpy(view.code.data(), parts[kQuantMap].data(), sizeof(view.code));
  view.blocks = ceil_div(rows * cols, layout.block);
  view.stored_absmax = parts[kAbsmax].data();
  view.nested = layout.nested;
  if (layout.nested) {
    std::memcpy(view.nested_code.data(), parts[kNestedMap].data(), sizeof(view.nested_code));
    view.nested_absmax = parts[kNestedAbsmax].data();
    view.offset = codebook.read_state(parts[5], rows, cols).value().offset;
  }
  return view;
}

}  // namespace lathe
