// The list of packers: stored formats → panels of 16 interleaved rows.
//
// Each packer fills one row at a time: byte-wide codes of the row, then the scales of its groups.
// Interleaving is the same for all.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "lathe/backend/cpu/packed.h"
#include "lathe/base/mapped_file.h"
#include "lathe/formats/gguf_blocks.h"
#include "lathe/formats/gguf_types.h"
#include "lathe/formats/layouts.h"

namespace lathe::cpu {
namespace {

using Reason = std::optional<std::string>;

template <typename T>
T load(const uint8_t* p, int64_t index = 0) {
  T value;
  std::memcpy(&value, p + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void put(const Block& block, int64_t index, T value) {
  std::memcpy(block.data() + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

PackedStorage shaped(const WeightMatrix& w, Codes codes, int64_t group, Scales scales) {
  PackedStorage s;
  s.view.codes = codes;
  s.view.rows = w.rows();
  s.view.cols = w.cols();
  s.view.group = group > 0 && group < w.cols() ? group : w.cols();
  s.view.groups = (w.cols() + s.view.group - 1) / s.view.group;
  s.view.scale_kind = scales;
  s.view.groups_per_super = 1;
  s.view.unit = 1;
  return s;
}

// Scales of group g of row r lie here.
struct Place {
  int64_t panel, lane;
  const PackedView& v;
  int64_t group(int64_t g) const { return (panel * v.groups + g) * kPanel + lane; }
  int64_t super(int64_t s) const { return (panel * v.supers + s) * kPanel + lane; }
};

// A plane of `bits` per code: bits [from, from + bits) of the byte-wide codes of a row, 32 / bits
// to a dword in the order of kernels.h.
void put_plane(const uint8_t* row, int64_t cols, int from, int bits, uint8_t* out) {
  const int64_t per_word = 32 / bits;
  const uint32_t mask = 0x01010101u * ((1u << bits) - 1u);
  for (int64_t i = 0; i * per_word < cols; ++i) {
    uint32_t word = 0;
    for (int f = 0; f * bits < 8; ++f) {
      word |= (load<uint32_t>(row + i * per_word + 4 * f) >> from & mask) << (f * bits);
    }
    std::memcpy(out + i * 64, &word, 4);
  }
}

// Writes the byte-wide codes of 16 rows ([16][columns], columns padded to kColumnUnit with zeros)
// into a panel.
void interleave(const PackedStorage& s, int64_t panel, const uint8_t* codes, int64_t columns) {
  const PackedView& v = s.view;
  uint8_t* out = s.data.data() + panel * v.panel_bytes;
  for (int64_t lane = 0; lane < kPanel; ++lane) {
    const uint8_t* row = codes + lane * columns;
    if (v.codes == Codes::kInt8) {
      const int64_t quads = (v.cols + 7) / 8 * 2;
      for (int64_t i = 0; i < quads; ++i) std::memcpy(out + i * 64 + lane * 4, row + 4 * i, 4);
      continue;
    }
    const int low_bits = v.codes == Codes::kInt2 ? 2 : 4;
    put_plane(row, v.cols, 0, low_bits, out + lane * 4);
    if (v.high_bits > 0) {
      put_plane(row, v.cols, low_bits, v.high_bits,
                s.high.data() + panel * v.high_panel_bytes + lane * 4);
    }
  }
}

// The table as bytes for the integer kernels. Tables of integers stay exact; otherwise the unit
// that rounds best is taken, the largest value lying between 64 and 127 units.
void make_book(PackedView& v) {
  float most = 0;
  bool integers = true;
  for (const float value : v.table) {
    most = std::max(most, std::abs(value));
    integers = integers && value == std::nearbyint(value);
  }
  v.by_book = true;
  v.unit = 1;
  if (!integers || most > 127) {
    float least = std::numeric_limits<float>::infinity();
    for (int i = 0; i <= 1024; ++i) {
      const float unit = most / (127.0f - 63.0f * static_cast<float>(i) / 1024.0f);
      float error = 0;
      for (const float value : v.table) {
        const float off = value - unit * std::nearbyint(value / unit);
        error += off * off;
      }
      if (error < least) {
        least = error;
        v.unit = unit;
      }
    }
  }
  for (int i = 0; i < 16; ++i) {
    v.book[i] = static_cast<int8_t>(std::lround(v.table[i] / v.unit));
  }
}

// Gives the pages of a mapped matrix back while it is packed: a table of 262,144 words would
// otherwise be in memory twice. `panel` is what has just been packed of the range that began at
// `begin` and ends at `end`.
void release_packed(const WeightMatrix& w, int64_t begin, int64_t panel, int64_t end) {
  constexpr int64_t kStep = int64_t{1} << 20;
  const Bytes& source = w.parts()[0];
  const int64_t row_bytes = static_cast<int64_t>(source.size()) / w.rows();
  const int64_t panels = std::max<int64_t>(1, kStep / (row_bytes * kPanel + 1));
  const int64_t done = panel + 1 - begin;
  if (done % panels != 0 && panel + 1 != end) return;
  const int64_t first = begin + (done - 1) / panels * panels;
  const int64_t rows = std::min(w.rows(), (panel + 1) * kPanel) - first * kPanel;
  release_pages(source.slice(static_cast<size_t>(first * kPanel * row_bytes),
                             static_cast<size_t>(rows * row_bytes)));
}

// fill(row, codes, place) for every row, then interleaves; panels in parallel.
template <typename Fill>
void fill_rows(const PackedStorage& s, const WeightMatrix& w, ThreadPool& pool, Fill fill) {
  const PackedView& v = s.view;
  const int64_t columns = (v.cols + kColumnUnit - 1) / kColumnUnit * kColumnUnit;
  const int64_t panels = (v.rows + kPanel - 1) / kPanel;
  pool.parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    std::vector<uint8_t> codes(static_cast<size_t>(columns * kPanel));
    for (int64_t panel = begin; panel < end; ++panel) {
      std::fill(codes.begin(), codes.end(), uint8_t{0});
      const int64_t rows = std::min<int64_t>(kPanel, v.rows - panel * kPanel);
      for (int64_t lane = 0; lane < rows; ++lane) {
        fill(panel * kPanel + lane, codes.data() + lane * columns, Place{panel, lane, v});
      }
      interleave(s, panel, codes.data(), columns);
      release_packed(w, begin, panel, end);
    }
  });
}

// A group of columns must be whole steps of 8, unless there is only one.
Reason group_declines(int64_t group, int64_t cols) {
  if (group == 0 || group >= cols || group % 8 == 0) return {};
  return fmt::format("groups of {} columns are no multiple of 8", group);
}

// ---- floats -----------------------------------------------------------------------------------

Reason float_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kFloat) return "stored as codes";
  return {};
}

PackedStorage float_pack(const WeightMatrix& w, ThreadPool& pool) {
  const DType type = w.format().parts(w.rows(), w.cols())[0].dtype;
  const Codes codes = type == DType::kF32   ? Codes::kF32
                      : type == DType::kF16 ? Codes::kF16
                                            : Codes::kBf16;
  PackedStorage s = shaped(w, codes, 0, Scales::kNone);
  s.allocate(false, false, false);
  const int64_t cols = w.cols();
  const uint8_t* source = w.parts()[0].data();
  const int64_t panels = (w.rows() + kPanel - 1) / kPanel;
  pool.parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      uint8_t* out = s.data.data() + panel * s.view.panel_bytes;
      const int64_t rows = std::min<int64_t>(kPanel, w.rows() - panel * kPanel);
      for (int64_t k0 = 0; k0 < cols; k0 += 64) {  // blocks that stay in the cache
        const int64_t k1 = std::min(cols, k0 + 64);
        for (int64_t lane = 0; lane < rows; ++lane) {
          const int64_t row = (panel * kPanel + lane) * cols;
          for (int64_t k = k0; k < k1; ++k) {
            if (codes == Codes::kF32) {
              std::memcpy(out + (k * kPanel + lane) * 4, source + (row + k) * 4, 4);
            } else if (codes == Codes::kF16) {
              std::memcpy(out + (k * kPanel + lane) * 2, source + (row + k) * 2, 2);
            } else {
              std::memcpy(out + (k / 2 * kPanel + lane) * 4 + k % 2 * 2, source + (row + k) * 2, 2);
            }
          }
        }
      }
      release_packed(w, begin, panel, end);
    }
  });
  return s;
}

// ---- int8 and int4 ----------------------------------------------------------------------------

Reason int8_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kInt8) return "not int8";
  return group_declines(int_layout(w.format()).group, w.cols());
}

PackedStorage int8_pack(const WeightMatrix& w, ThreadPool& pool) {
  const IntLayout layout = int_layout(w.format());
  PackedStorage s = shaped(w, Codes::kInt8, layout.group, Scales::kF32);
  s.allocate(false, false, false);
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    std::memcpy(codes, w.parts()[0].data() + row * w.cols(), static_cast<size_t>(w.cols()));
    for (int64_t g = 0; g < s.view.groups; ++g) {
      const float stored = load<float>(w.parts()[1].data(), row * s.view.groups + g);
      put(s.scales, place.group(g), layout.group ? stored : stored / 127.0f);
    }
  });
  return s;
}

Reason int4_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kInt4) return "not int4";
  return group_declines(int_layout(w.format()).group, w.cols());
}

PackedStorage int4_pack(const WeightMatrix& w, ThreadPool& pool) {
  const IntLayout layout = int_layout(w.format());
  PackedStorage s =
      shaped(w, Codes::kInt4, layout.group, layout.group ? Scales::kF16 : Scales::kF32);
  for (int i = 0; i < 16; ++i) s.view.table[i] = static_cast<float>(layout.asymmetric ? i : i - 8);
  s.view.code_zero = layout.asymmetric ? 0 : 8;
  s.allocate(layout.asymmetric, false, false);
  const int64_t stride = (w.cols() + 1) / 2;
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    const uint8_t* packed = w.parts()[0].data() + row * stride;
    for (int64_t i = 0; i < stride; ++i) {
      codes[2 * i] = packed[i] & 15;
      codes[2 * i + 1] = packed[i] >> 4;
    }
    for (int64_t g = 0; g < s.view.groups; ++g) {
      const int64_t index = row * s.view.groups + g;
      if (layout.group) {
        put(s.scales, place.group(g), load<uint16_t>(w.parts()[1].data(), index));
      } else {
        put(s.scales, place.group(g), load<float>(w.parts()[1].data(), index));
      }
      if (layout.asymmetric) put(s.zeros, place.group(g), w.parts()[2].data()[index]);
    }
  });
  return s;
}

Reason bits_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kBits) return "not a stream of bits";
  return {};
}

PackedStorage bits_pack(const WeightMatrix& w, ThreadPool& pool) {
  const BitsLayout layout = bits_layout(w.format());
  const bool four = layout.bits == 4;
  PackedStorage s = shaped(w, four ? Codes::kInt4 : Codes::kInt2, layout.group, Scales::kF16);
  s.view.high_bits = layout.bits == 3 ? 1 : 0;
  s.view.code_zero = layout.zero == ZeroKind::kMiddle ? 1 << (layout.bits - 1) : 0;
  for (int i = 0; i < 16; ++i) {
    s.view.table[i] = static_cast<float>((four ? i : i & 3) - s.view.code_zero);
    s.view.high_table[i] = static_cast<float>(4 * (i & 1));
  }
  s.allocate(layout.zero == ZeroKind::kPoint, layout.zero == ZeroKind::kOffset, false);
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    const std::vector<uint8_t> stored = bits_codes(w.format(), w.parts(), w.cols(), row);
    std::copy(stored.begin(), stored.end(), codes);
    for (int64_t g = 0; g < s.view.groups; ++g) {
      const int64_t index = row * s.view.groups + g;
      put(s.scales, place.group(g), load<uint16_t>(w.parts()[1].data(), index));
      if (layout.zero == ZeroKind::kPoint) {
        put(s.zeros, place.group(g), w.parts()[2].data()[index]);
      } else if (layout.zero == ZeroKind::kOffset) {
        put(s.offsets, place.group(g), load<uint16_t>(w.parts()[2].data(), index));
      }
    }
  });
  return s;
}

// ---- MXFP4 and NVFP4 --------------------------------------------------------------------------

Reason micro_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kMicro) return "no block-scaled floats";
  return {};
}

PackedStorage micro_pack(const WeightMatrix& w, ThreadPool& pool) {
  PackedStorage s = shaped(w, Codes::kInt4, micro_block(w.format()), Scales::kF32);
  // Twice the elements are integers, which the integer kernels hold exactly.
  for (size_t i = 0; i < 16; ++i) s.view.table[i] = 2 * e2m1_values()[i];
  make_book(s.view);
  s.allocate(false, false, false);
  const int64_t stride = (w.cols() + 1) / 2;
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    const uint8_t* packed = w.parts()[0].data() + row * stride;
    for (int64_t i = 0; i < stride; ++i) {
      codes[2 * i] = packed[i] & 15;
      codes[2 * i + 1] = packed[i] >> 4;
    }
    std::vector<float> scales(static_cast<size_t>(s.view.groups));
    micro_scales(w.format(), w.parts(), w.rows(), w.cols(), row, scales.data());
    for (int64_t g = 0; g < s.view.groups; ++g) {
      put(s.scales, place.group(g), scales[static_cast<size_t>(g)] * 0.5f);
    }
  });
  return s;
}

// ---- NF4 and FP4 ------------------------------------------------------------------------------

Reason codebook_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kCodebook4) return "not a 4-bit code book";
  const int64_t block = codebook4_layout(w.format()).block;
  if (w.cols() % block == 0 || block % w.cols() == 0) return {};
  return fmt::format("blocks of {} cross the rows of {} columns", block, w.cols());
}

PackedStorage codebook_pack(const WeightMatrix& w, ThreadPool& pool) {
  const int64_t block = codebook4_layout(w.format()).block, cols = w.cols();
  const Codebook4View source = codebook4_view(w.format(), w.parts(), w.rows(), cols);
  PackedStorage s = shaped(w, Codes::kInt4, block, Scales::kF32);
  std::copy(source.code.begin(), source.code.end(), s.view.table);
  make_book(s.view);
  s.allocate(false, false, false);
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t i = row * cols + k;
      codes[k] = i % 2 ? source.codes[i / 2] & 15 : source.codes[i / 2] >> 4;
    }
    for (int64_t g = 0; g < s.view.groups; ++g) {
      const int64_t b = (row * cols + g * s.view.group) / block;
      float scale;
      source.absmax(b, b + 1, &scale);
      put(s.scales, place.group(g), scale);
    }
  });
  return s;
}

// ---- ggml types -------------------------------------------------------------------------------

using namespace lathe::gguf;

std::optional<GgmlType> ggml_type(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kGguf) return {};
  return static_cast<GgmlType>(ggml_type_of(w.format()).value());
}

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

// Nibbles of 16 bytes: 0–15 low, 16–31 high.
void nibbles(const uint8_t* qs, uint8_t* codes) {
  for (int i = 0; i < 16; ++i) {
    codes[i] = qs[i] & 15;
    codes[i + 16] = qs[i] >> 4;
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

}  // namespace

const std::vector<Packer>& packers() {
  static const std::vector<Packer> list = {
      {"float", float_declines, float_pack},      {"int8", int8_declines, int8_pack},
      {"int4", int4_declines, int4_pack},         {"bits", bits_declines, bits_pack},
      {"micro", micro_declines, micro_pack},      {"code book", codebook_declines, codebook_pack},
      {"ggml small", small_declines, small_pack}, {"ggml super", super_declines, super_pack},
  };
  return list;
}

}  // namespace lathe::cpu
