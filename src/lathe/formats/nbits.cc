#include "lathe/formats/nbits.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <optional>

#include "lathe/formats/bits.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/gguf_blocks.h"
#include "lathe/formats/layouts.h"

namespace lathe {
namespace {

using formats::load;
using formats::store;

constexpr int64_t kLongestBlock = 256, kMostBlock = 65536;

// How a format counts: w = scale · (code − zero) with codes of `bits`.
struct Grid {
  int bits = 4;
  int64_t group = 0;   // columns; 0: the whole row
  bool middle = true;  // every zero point is 2^(bits − 1)
  std::function<float(int64_t row, int64_t group)> scale;
  std::function<int(int64_t row, int64_t group)> zero;
};

template <typename Block>
Grid small_grid(const WeightMatrix& m, int bits) {
  const uint8_t* blocks = m.parts()[0].data();
  const int64_t per_row = m.cols() / gguf::kSmall;
  return {bits, gguf::kSmall, true, [blocks, per_row](int64_t r, int64_t g) {
            return f16_to_f32(load<Block>(blocks, r * per_row + g).d);
          }};
}

std::optional<Grid> gguf_grid(const WeightMatrix& m) {
  const std::string spec = m.format().spec();
  if (spec == "q4_0") return small_grid<gguf::BlockQ4_0>(m, 4);
  if (spec == "q5_0") return small_grid<gguf::BlockQ5_0>(m, 8);
  if (spec == "q8_0") return small_grid<gguf::BlockQ8_0>(m, 8);
  if (spec != "q6_k") return std::nullopt;
  const uint8_t* blocks = m.parts()[0].data();
  const int64_t per_row = m.cols() / gguf::kSuper;
  return Grid{8, 16, true, [blocks, per_row](int64_t r, int64_t g) {
                const auto block = load<gguf::BlockQ6_K>(blocks, r * per_row + g / 16);
                return f16_to_f32(block.d) * static_cast<float>(block.scales[g % 16]);
              }};
}

std::optional<Grid> grid_of(const WeightMatrix& m) {
  const Format& format = m.format();
  const Encoding encoding = format.encoding();
  if (encoding == Encoding::kGguf) return gguf_grid(m);
  Grid grid;
  bool points = false;
  int center = 8;
  if (encoding == Encoding::kInt4 || encoding == Encoding::kInt8) {
    const IntLayout layout = int_layout(format);
    grid.bits = encoding == Encoding::kInt4 ? 4 : 8;
    grid.group = layout.group;
    points = layout.asymmetric;
  } else if (encoding == Encoding::kBits) {
    const BitsLayout layout = bits_layout(format);
    if (layout.zero == ZeroKind::kOffset) return std::nullopt;
    grid.bits = layout.bits == 2 ? 2 : 4;
    grid.group = layout.group;
    grid.middle = layout.bits != 3;  // 3 bits lie in 4, with the middle of theirs
    points = layout.zero == ZeroKind::kPoint;
    center = 1 << (layout.bits - 1);
  } else {
    return std::nullopt;
  }
  const int64_t groups = grid.group ? (m.cols() + grid.group - 1) / grid.group : 1;
  const uint8_t* scales = m.parts()[1].data();
  const bool halves = format.parts(m.rows(), m.cols())[1].dtype == DType::kF16;
  const bool scb = encoding == Encoding::kInt8 && !grid.group;
  grid.scale = [=](int64_t r, int64_t g) {
    if (halves) return f16_to_f32(load<uint16_t>(scales, r * groups + g));
    const auto scale = load<float>(scales, r * groups + g);
    return scb ? scale / 127.0f : scale;
  };
  grid.middle = grid.middle && !points;
  const uint8_t* zeros = points ? m.parts()[2].data() : nullptr;
  grid.zero = [=](int64_t r, int64_t g) { return zeros ? zeros[r * groups + g] : center; };
  return grid;
}

bool is_f16(float value) { return f16_to_f32(f32_to_f16(value)) == value; }

// bitsandbytes' SCB of a row with this scale: scale = SCB / 127.
std::optional<float> scb_of(float scale) {
  const float near = scale * 127.0f;
  for (const float scb : {near, std::nextafter(near, 0.0f), std::nextafter(near, INFINITY)}) {
    if (std::isfinite(scb) && scb / 127.0f == scale) return scb;
  }
  return std::nullopt;
}

// What was read, unpacked: scales and zero points [rows, blocks].
struct Blocks {
  explicit Blocks(const NBits& source)
      : n(source), count(source.blocks()), scales(source.scales.as<float>()) {
    const int64_t per_row = (count * n.bits + 7) / 8;
    zeros.assign(static_cast<size_t>(n.rows * count), static_cast<uint8_t>(1 << (n.bits - 1)));
    for (int64_t r = 0; r < n.rows && !n.zeros.empty(); ++r) {
      formats::unpack_bits(n.zeros.data() + r * per_row, count, n.bits,
                           &zeros[static_cast<size_t>(r * count)]);
    }
  }
  bool middle() const {
    return std::all_of(zeros.begin(), zeros.end(),
                       [&](uint8_t zero) { return zero == 1 << (n.bits - 1); });
  }
  bool halves() const { return std::all_of(scales, scales + n.rows * count, is_f16); }
  bool one_scale_a_row() const {
    for (int64_t r = 0; r < n.rows; ++r) {
      const float* row = scales + r * count;
      if (!std::all_of(row, row + count, [&](float scale) { return scale == row[0]; }))
        return false;
    }
    return true;
  }
  Bytes half_scales() const {
    uint8_t* out = nullptr;
    Bytes bytes = Bytes::allocate(static_cast<size_t>(2 * n.rows * count), &out);
    for (int64_t i = 0; i < n.rows * count; ++i) store(out, i, f32_to_f16(scales[i]));
    return bytes;
  }
  // Row by row without what the last block has beyond the last column.
  Bytes packed_codes() const {
    const int64_t from = count * n.block * n.bits / 8, to = (n.cols * n.bits + 7) / 8;
    uint8_t* out = nullptr;
    Bytes bytes = Bytes::allocate(static_cast<size_t>(n.rows * to), &out);
    for (int64_t r = 0; r < n.rows; ++r) {
      std::copy_n(n.codes.data() + r * from, to, out + r * to);
    }
    return bytes;
  }
  std::vector<float> decode() const {
    std::vector<float> out(static_cast<size_t>(n.rows * n.cols));
    std::vector<uint8_t> codes(static_cast<size_t>(count * n.block));
    for (int64_t r = 0; r < n.rows; ++r) {
      const auto per_row = static_cast<int64_t>(codes.size()) * n.bits / 8;
      formats::unpack_bits(n.codes.data() + r * per_row, n.cols, n.bits, codes.data());
      for (int64_t k = 0; k < n.cols; ++k) {
        const int64_t block = r * count + k / n.block;
        out[static_cast<size_t>(r * n.cols + k)] =
            scales[block] *
            static_cast<float>(codes[static_cast<size_t>(k)] - zeros[static_cast<size_t>(block)]);
      }
    }
    return out;
  }

  const NBits& n;
  int64_t count;
  const float* scales;
  std::vector<uint8_t> zeros;
};

Result<WeightMatrix> make(const Blocks& b, const std::string& spec, std::vector<Bytes> parts,
                          std::string_view where) {
  LATHE_TRY_IN(const FormatPtr format, parse_format(spec), where);
  return WeightMatrix::create(format, b.n.rows, b.n.cols, std::move(parts), where);
}

Result<WeightMatrix> from_8_bits(const Blocks& b, std::string_view where) {
  const NBits& n = b.n;
  const int64_t stride = b.count * n.block;
  uint8_t* out = nullptr;
  Bytes codes = Bytes::allocate(static_cast<size_t>(n.rows * n.cols), &out);
  for (int64_t r = 0; r < n.rows; ++r) {
    const uint8_t* from = n.codes.data() + r * stride;
    std::transform(from, from + n.cols, out + r * n.cols,
                   [](uint8_t code) { return static_cast<uint8_t>(code ^ 0x80); });
  }
  std::vector<float> row_scales;
  const bool by_row = b.one_scale_a_row();
  for (int64_t r = 0; r < n.rows && by_row; ++r) {
    const auto scb = scb_of(b.scales[r * b.count]);
    if (!scb) break;
    row_scales.push_back(*scb);
  }
  if (static_cast<int64_t>(row_scales.size()) == n.rows) {
    const Bytes scb = Bytes::copy_of(
        {reinterpret_cast<const uint8_t*>(row_scales.data()), row_scales.size() * sizeof(float)});
    return make(b, "int8:row", {codes, scb}, where);
  }
  return make(b, fmt::format("int8:g{}", n.block), {codes, n.scales}, where);
}

Status check(const NBits& n) {
  if (n.bits != 2 && n.bits != 4 && n.bits != 8) {
    return unsupported("codes of {} bits; Lathe reads 2, 4 and 8", n.bits);
  }
  if (n.block < 16 || n.block > kMostBlock || !std::has_single_bit(uint64_t(n.block))) {
    return bad_input("blocks of {} columns; they are powers of two from 16 to {}", n.block,
                     kMostBlock);
  }
  const auto expect = [](const Bytes& bytes, int64_t expected, const char* what) -> Status {
    if (static_cast<int64_t>(bytes.size()) == expected) return {};
    return bad_input("{} bytes of {}, expected {}", bytes.size(), what, expected);
  };
  const int64_t blocks = n.blocks();
  LATHE_OK(expect(n.codes, n.rows * blocks * (n.block * n.bits / 8), "codes"));
  LATHE_OK(expect(n.scales, n.rows * blocks * 4, "scales"));
  if (n.zeros.empty()) return {};
  return expect(n.zeros, n.rows * ((blocks * n.bits + 7) / 8), "zero points");
}

}  // namespace

bool nbits_holds(const Format& format) {
  switch (format.encoding()) {
    case Encoding::kInt4:
    case Encoding::kInt8:
      return true;
    case Encoding::kBits:
      return bits_layout(format).zero != ZeroKind::kOffset;
    case Encoding::kGguf: {
      const std::string spec = format.spec();
      return spec == "q4_0" || spec == "q5_0" || spec == "q8_0" || spec == "q6_k";
    }
    default:
      return false;
  }
}

int64_t nbits_block(const Format& format, int64_t cols) {
  const Encoding encoding = format.encoding();
  int64_t group = format.spec() == "q6_k" ? 16 : gguf::kSmall;
  if (encoding == Encoding::kBits) group = bits_layout(format).group;
  if (encoding == Encoding::kInt4 || encoding == Encoding::kInt8) group = int_layout(format).group;
  if (group) return std::min(kLongestBlock, group & -group);
  return std::clamp(static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(cols))), int64_t{16},
                    kLongestBlock);
}

NBits to_nbits(const WeightMatrix& m) {
  const auto grid = grid_of(m);
  LATHE_CHECK(grid);
  NBits out;
  out.bits = grid->bits;
  out.rows = m.rows();
  out.cols = m.cols();
  out.block = nbits_block(m.format(), m.cols());
  const int64_t blocks = out.blocks(), stride = blocks * out.block * out.bits / 8;
  const int64_t zero_stride = (blocks * out.bits + 7) / 8;
  const int center = 1 << (out.bits - 1), most = (1 << out.bits) - 1;
  uint8_t *codes = nullptr, *scales = nullptr, *zeros = nullptr;
  out.codes = Bytes::allocate(static_cast<size_t>(out.rows * stride), &codes);
  out.scales = Bytes::allocate(static_cast<size_t>(out.rows * blocks * 4), &scales);
  if (!grid->middle) {
    out.zeros = Bytes::allocate(static_cast<size_t>(out.rows * zero_stride), &zeros);
  }
  std::vector<float> weights(static_cast<size_t>(out.cols));
  std::vector<uint8_t> row(static_cast<size_t>(blocks * out.block));
  std::vector<uint8_t> points(static_cast<size_t>(blocks));
  for (int64_t r = 0; r < out.rows; ++r) {
    m.decode_rows(r, r + 1, weights.data());
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t group = grid->group ? b * out.block / grid->group : 0;
      const float scale = grid->scale(r, group);
      const int zero = grid->middle ? center : grid->zero(r, group);
      store(scales, r * blocks + b, scale);
      points[static_cast<size_t>(b)] = static_cast<uint8_t>(zero);
      for (int64_t k = b * out.block; k < (b + 1) * out.block; ++k) {
        // A weight is scale times a small whole number, rounded once: the quotient is within an
        // ulp of that number.
        const float steps =
            k < out.cols && scale != 0 ? weights[static_cast<size_t>(k)] / scale : 0;
        const int code = static_cast<int>(std::lround(steps)) + zero;
        row[static_cast<size_t>(k)] = static_cast<uint8_t>(std::clamp(code, 0, most));
      }
    }
    formats::pack_bits(row.data(), blocks * out.block, out.bits, codes + r * stride);
    if (zeros) formats::pack_bits(points.data(), blocks, out.bits, zeros + r * zero_stride);
  }
  return out;
}

Result<WeightMatrix> from_nbits(const NBits& source, std::string_view where) {
  LATHE_OK_IN(check(source), where);
  const Blocks b(source);
  const bool middle = b.middle();
  if (source.bits == 8 && middle) return from_8_bits(b, where);
  if (source.bits != 8 && b.halves()) {
    const std::string spec =
        fmt::format("int{}:g{}{}", source.bits, source.block, middle ? "" : ",asym");
    std::vector<Bytes> parts = {b.packed_codes(), b.half_scales()};
    if (!middle) parts.push_back(Bytes::copy_of(b.zeros));
    return make(b, spec, std::move(parts), where);
  }
  if (source.bits == 4 && middle && b.one_scale_a_row()) {
    uint8_t* scales = nullptr;
    Bytes bytes = Bytes::allocate(static_cast<size_t>(4 * source.rows), &scales);
    for (int64_t r = 0; r < source.rows; ++r) store(scales, r, b.scales[r * b.count]);
    return make(b, "int4:row", {b.packed_codes(), std::move(bytes)}, where);
  }
  LATHE_TRY(const FormatPtr floats, parse_format("f32"));
  return WeightMatrix::encode(floats, b.decode().data(), source.rows, source.cols, where);
}

}  // namespace lathe
