// Packers of ggml's block types.
#include "lathe/backend/cpu/packing.h"
#include "lathe/formats/gguf_blocks.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/formats/layouts.h"

namespace lathe::cpu::packing {
namespace {

using namespace lathe::gguf;

std::optional<GgmlType> ggml_type(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kGguf) return {};
  return static_cast<GgmlType>(ggml_type_of(w.format()).value());
}

// Nibbles of 16 bytes: 0–15 low, 16–31 high.
void nibbles(const uint8_t* qs, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = qs[i] & 15;
    codes[i + 16] = qs[i] >> 4;
  }
}

// Scales, minima and codes of Q4_K and Q5_K; `high` is null for Q4_K.
void super_mins(const PackedStorage& s, const Place& place, int64_t super, const uint8_t* block,
                const uint8_t* high, const uint8_t* qs, uint8_t* codes) {
  put(s.super_scales, place.super(super), load<uint16_t>(block));
  put(s.super_mins, place.super(super), load<uint16_t>(block, 1));
  for (int g = 0; g < 8; ++g) {
    const ScaleMin sm = scale_min(block + 4, g);
    put(s.scales, place.group(super * 8 + g), sm.scale);
    put(s.mins, place.group(super * 8 + g), sm.min);
    for (int l = 0; l < 32; ++l) {
      const int low = (qs[32 * (g / 2) + l] >> (4 * (g % 2))) & 15;
      const int fifth = high ? (high[l] >> g) & 1 : 0;
      codes[32 * g + l] = static_cast<uint8_t>(low | fifth << 4);
    }
  }
}

void super_q6(const PackedStorage& s, const Place& place, int64_t super, const BlockQ6_K& b,
              uint8_t* codes) {
  put(s.super_scales, place.super(super), b.d);
  for (int g = 0; g < 16; ++g) {
    put(s.scales, place.group(super * 16 + g), b.scales[g]);
    const int half = g / 8, quarter = g / 2 % 4;
    for (int l = 0; l < 16; ++l) {
      const int low =
          b.ql[64 * half + 32 * (quarter % 2) + 16 * (g % 2) + l] >> (4 * (quarter / 2));
      const int high = b.qh[32 * half + 16 * (g % 2) + l] >> (2 * quarter);
      codes[16 * g + l] = static_cast<uint8_t>((low & 15) | (high & 3) << 4);
    }
  }
}

void super_q2(const PackedStorage& s, const Place& place, int64_t super, const BlockQ2_K& b,
              uint8_t* codes) {
  put(s.super_scales, place.super(super), b.d);
  put(s.super_mins, place.super(super), b.dmin);
  for (int g = 0; g < 16; ++g) {
    put(s.scales, place.group(super * 16 + g), static_cast<uint8_t>(b.scales[g] & 15));
    put(s.mins, place.group(super * 16 + g), static_cast<uint8_t>(b.scales[g] >> 4));
    for (int l = 0; l < 16; ++l) {
      const int q = b.qs[32 * (g / 8) + 16 * (g % 2) + l] >> (2 * (g / 2 % 4));
      codes[16 * g + l] = static_cast<uint8_t>(q & 3);
    }
  }
}

void super_q3(const PackedStorage& s, const Place& place, int64_t super, const BlockQ3_K& b,
              uint8_t* codes) {
  put(s.super_scales, place.super(super), b.d);
  for (int g = 0; g < 16; ++g) {
    const int low_scale = (b.scales[g % 8] >> (4 * (g / 8))) & 15;
    const int high_scale = (b.scales[8 + g % 4] >> (2 * (g / 4))) & 3;
    put(s.scales, place.group(super * 16 + g),
        static_cast<int8_t>((low_scale | high_scale << 4) - 32));
    for (int l = 0; l < 16; ++l) {
      const int low = b.qs[32 * (g / 8) + 16 * (g % 2) + l] >> (2 * (g / 2 % 4));
      const int high = b.hmask[16 * (g % 2) + l] >> (g / 2);
      codes[16 * g + l] = static_cast<uint8_t>((low & 3) | (high & 1) << 2);
    }
  }
}

// How the codes of a type are cut into planes and what they stand for.
struct SuperType {
  Codes codes;
  int high_bits;
  int64_t group;
  bool mins;
  int zero;  // subtracted from the code
};

SuperType super_type(GgmlType type) {
  switch (type) {
    case GgmlType::kQ2_K:
      return {Codes::kInt2, 0, 16, true, 0};
    case GgmlType::kQ3_K:
      return {Codes::kInt2, 1, 16, false, 4};
    case GgmlType::kQ4_K:
      return {Codes::kInt4, 0, 32, true, 0};
    case GgmlType::kQ5_K:
      return {Codes::kInt4, 1, 32, true, 0};
    default:
      return {Codes::kInt4, 2, 16, false, 32};  // Q6_K
  }
}

}  // namespace

Reason small_declines(const WeightMatrix& w) {
  switch (ggml_type(w).value_or(GgmlType::kF32)) {
    case GgmlType::kQ4_0:
    case GgmlType::kQ4_1:
    case GgmlType::kQ5_0:
    case GgmlType::kQ5_1:
    case GgmlType::kQ8_0:
    case GgmlType::kIQ4_NL:
      return {};
    default:
      return "not a ggml type in blocks of 32";
  }
}

PackedStorage small_pack(const WeightMatrix& w, ThreadPool& pool) {
  const GgmlType type = *ggml_type(w);
  const bool five = type == GgmlType::kQ5_0 || type == GgmlType::kQ5_1;
  const bool offset = type == GgmlType::kQ4_1 || type == GgmlType::kQ5_1;
  PackedStorage s =
      shaped(w, type == GgmlType::kQ8_0 ? Codes::kInt8 : Codes::kInt4, kSmall, Scales::kF16);
  const int zero = type == GgmlType::kQ4_0 ? 8 : type == GgmlType::kQ5_0 ? 16 : 0;
  for (int i = 0; i < 16; ++i) {
    s.view.table[i] = static_cast<float>(type == GgmlType::kIQ4_NL ? kIq4Values[i] : i - zero);
    s.view.high_table[i] = static_cast<float>(16 * (i & 1));
  }
  s.view.code_zero = zero;
  if (type == GgmlType::kIQ4_NL) make_book(s.view);
  s.view.high_bits = five ? 1 : 0;
  s.allocate(false, offset, false);
  const int64_t block_bytes = ggml_type_info(static_cast<uint32_t>(type))->block_bytes;
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    const uint8_t* block = w.parts()[0].data() + row * s.view.groups * block_bytes;
    for (int64_t g = 0; g < s.view.groups; ++g, block += block_bytes, codes += kSmall) {
      put(s.scales, place.group(g), load<uint16_t>(block));
      if (offset) put(s.offsets, place.group(g), load<uint16_t>(block, 1));
      if (type == GgmlType::kQ8_0) {
        std::memcpy(codes, load<BlockQ8_0>(block).qs, kSmall);
        continue;
      }
      nibbles(block + block_bytes - 16, codes);
      if (!five) continue;
      const auto high = load<uint32_t>(block + block_bytes - 20);
      for (int i = 0; i < kSmall; ++i) codes[i] |= static_cast<uint8_t>((high >> i & 1) << 4);
    }
  });
  return s;
}

Reason super_declines(const WeightMatrix& w) {
  switch (ggml_type(w).value_or(GgmlType::kF32)) {
    case GgmlType::kQ2_K:
    case GgmlType::kQ3_K:
    case GgmlType::kQ4_K:
    case GgmlType::kQ5_K:
    case GgmlType::kQ6_K:
      return {};
    default:
      return "not a ggml type in super-blocks of 256";
  }
}

PackedStorage super_pack(const WeightMatrix& w, ThreadPool& pool) {
  const GgmlType type = *ggml_type(w);
  const SuperType t = super_type(type);
  PackedStorage s = shaped(w, t.codes, t.group, Scales::kSuper);
  s.view.groups_per_super = kSuper / t.group;
  s.view.high_bits = t.high_bits;
  s.view.code_zero = t.zero;
  const int low_bits = t.codes == Codes::kInt2 ? 2 : 4;
  for (int i = 0; i < 16; ++i) {
    s.view.table[i] = static_cast<float>((i & ((1 << low_bits) - 1)) - t.zero);
    s.view.high_table[i] = static_cast<float>((i & ((1 << t.high_bits) - 1)) << low_bits);
  }
  s.allocate(false, false, t.mins);
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    const int64_t supers = w.cols() / kSuper;
    const uint8_t* source = w.parts()[0].data();
    for (int64_t i = 0; i < supers; ++i, codes += kSuper) {
      const int64_t at = row * supers + i;
      switch (type) {
        case GgmlType::kQ2_K:
          super_q2(s, place, i, load<BlockQ2_K>(source, at), codes);
          break;
        case GgmlType::kQ3_K:
          super_q3(s, place, i, load<BlockQ3_K>(source, at), codes);
          break;
        case GgmlType::kQ4_K: {
          const auto b = load<BlockQ4_K>(source, at);
          super_mins(s, place, i, reinterpret_cast<const uint8_t*>(&b), nullptr, b.qs, codes);
          break;
        }
        case GgmlType::kQ5_K: {
          const auto b = load<BlockQ5_K>(source, at);
          super_mins(s, place, i, reinterpret_cast<const uint8_t*>(&b), b.qh, b.qs, codes);
          break;
        }
        default:
          super_q6(s, place, i, load<BlockQ6_K>(source, at), codes);
          break;
      }
    }
  });
  return s;
}

}  // namespace lathe::cpu::packing
