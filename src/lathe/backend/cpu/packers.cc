// The list of packers, and those of Lathe's own formats; ggml's are in packers_ggml.cc.
//
// Each packer fills one row at a time: byte-wide codes of the row, then the scales of its groups.
// Interleaving is the same for all.
#include <numeric>

#include "lathe/backend/cpu/packing.h"
#include "lathe/formats/codebook4.h"
#include "lathe/formats/layouts.h"

namespace lathe::cpu {
namespace {

using namespace packing;

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
    unpack_pairs(w.parts()[0].data() + row * stride, stride, codes);
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

// Whether a kernel's 0 for the exponent 0 is what the matrix holds: 2^−127 only times zeros.
bool zero_exponents_are_zeros(const WeightMatrix& w, int64_t groups) {
  const int64_t stride = (w.cols() + 1) / 2;
  const uint8_t* scales = w.parts()[1].data();
  for (int64_t i = 0; i < w.rows() * groups; ++i) {
    if (scales[i] != 0) continue;
    const uint8_t* codes = w.parts()[0].data() + i / groups * stride + i % groups * 16;
    const int64_t bytes = std::min<int64_t>(16, stride - i % groups * 16);
    // Without the signs of zeros.
    if (std::any_of(codes, codes + bytes, [](uint8_t pair) { return (pair & 0x77) != 0; })) {
      return false;
    }
  }
  return true;
}

PackedStorage micro_pack(const WeightMatrix& w, ThreadPool& pool) {
  PackedStorage s = shaped(w, Codes::kInt4, micro_block(w.format()), Scales::kE4M3);
  const bool nv = w.parts().size() > 2;
  if (nv) {
    s.view.scale_factor = 0x1p8f * 0.5f * load<float>(w.parts()[2].data());
  } else {
    s.view.scale_kind = zero_exponents_are_zeros(w, s.view.groups) ? Scales::kE8M0 : Scales::kF32;
    s.view.scale_factor = 0.5f;
  }
  // Twice the elements are integers, which the integer kernels hold exactly.
  for (size_t i = 0; i < 16; ++i) s.view.table[i] = 2 * e2m1_values()[i];
  make_book(s.view);
  s.allocate(false, false, false);
  const int64_t stride = (w.cols() + 1) / 2;
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    unpack_pairs(w.parts()[0].data() + row * stride, stride, codes);
    if (s.view.scale_kind != Scales::kF32) {
      const uint8_t* stored = w.parts()[1].data() + row * s.view.groups;
      for (int64_t g = 0; g < s.view.groups; ++g) put(s.scales, place.group(g), stored[g]);
      return;
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
  return block_declines(codebook4_layout(w.format()).block, w.cols());
}

PackedStorage codebook_pack(const WeightMatrix& w, ThreadPool& pool) {
  const int64_t block = codebook4_layout(w.format()).block, cols = w.cols();
  const Codebook4View source = codebook4_view(w.format(), w.parts(), w.rows(), cols);
  PackedStorage s = shaped(w, Codes::kInt4, block, Scales::kF32);
  // Nested absmax stay as they are stored where enough blocks of a row share one of the second
  // kind.
  const int64_t shared = std::gcd(s.view.groups, formats::kNestedBlock);
  const bool nested = source.nested && s.view.group == block && shared > 1 &&
                      source.nested_code == formats::dynamic_map();
  if (nested) {
    s.view.scale_kind = Scales::kNested;
    s.view.groups_per_super = shared;
    s.view.scale_factor = source.offset;
  }
  std::copy(source.code.begin(), source.code.end(), s.view.table);
  make_book(s.view);
  s.allocate(false, false, false);
  fill_rows(s, w, pool, [&](int64_t row, uint8_t* codes, const Place& place) {
    for (int64_t k = 0; k < cols; ++k) {
      const int64_t i = row * cols + k;
      codes[k] = i % 2 ? source.codes[i / 2] & 15 : source.codes[i / 2] >> 4;
    }
    if (nested) {
      const int64_t first = row * s.view.groups;
      for (int64_t g = 0; g < s.view.groups; ++g) {
        put(s.scales, place.group(g), source.stored_absmax[first + g]);
        if (g % shared != 0) continue;
        put(s.super_scales, place.super(g / shared),
            load<float>(source.nested_absmax, (first + g) / formats::kNestedBlock));
      }
      return;
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

}  // namespace

const std::vector<Packer>& packers() {
  static const std::vector<Packer> list = {
      {"float", float_declines, float_pack},      {"int8", int8_declines, int8_pack},
      {"int4", int4_declines, int4_pack},         {"bits", bits_declines, bits_pack},
      {"micro", micro_declines, micro_pack},      {"code book", codebook_declines, codebook_pack},
      {"ggml small", small_declines, small_pack}, {"ggml super", super_declines, super_pack},
      {"sparse", sparse_declines, sparse_pack},
  };
  return list;
}

}  // namespace lathe::cpu
