// Sparse layouts: the matrix is packed as its dense format would be, then the codes that stand for
// 0 are taken out of the panels.
#include <bit>

#include "lathe/backend/cpu/packing.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/sparse.h"

namespace lathe::cpu::packing {
namespace {

// Codes of a unit, in the order of the dense panel; `zero(i)`: the code that stands for 0 there.
struct Unit {
  uint64_t mask = 0;
  int64_t count = 0;
  uint16_t codes[64];

  template <typename Code, typename Zero>
  void take(Code code, Zero zero) {
    mask = 0;
    count = 0;
    for (int i = 0; i < 64; ++i) {
      const uint16_t c = code(i);
      codes[count] = c;
      const bool there = c != zero(i);
      mask |= uint64_t{there} << i;
      count += there ? 1 : 0;
    }
  }
};

// The dense codes of one unit of a panel.
void read_unit(const PackedView& v, int64_t panel, int64_t u, Unit& unit) {
  const uint8_t* p = v.data + panel * v.panel_bytes;
  if (v.codes == Codes::kInt8) {
    unit.take([&](int i) { return uint16_t{p[u * 64 + i]}; }, [](int) { return uint16_t{0}; });
  } else if (v.codes == Codes::kInt4) {
    const uint8_t* zeros =
        v.zeros ? v.zeros + (panel * v.groups + std::min(v.groups - 1, u * kSparseUnit / v.group)) *
                                kPanel
                : nullptr;
    const auto shift = static_cast<int>(u % 2 * 4);
    const int64_t rows = v.rows - panel * kPanel;  // lanes behind them hold 0
    unit.take([&](int i) { return static_cast<uint16_t>(p[u / 2 * 64 + i] >> shift & 15); },
              [&](int i) {
                if (i / 4 >= rows) return uint16_t{0};
                return zeros ? uint16_t{zeros[i / 4]} : static_cast<uint16_t>(v.zero_code);
              });
  } else {
    unit.take([&](int i) { return load<uint16_t>(p + u * 128, i); },
              [](int) { return uint16_t{0}; });
  }
}

int64_t unit_bytes(Codes codes, int64_t count) {
  return codes == Codes::kInt8 ? count : codes == Codes::kInt4 ? (count + 1) / 2 : 2 * count;
}

void put_unit(Codes codes, const Unit& unit, uint8_t* out) {
  for (int64_t i = 0; i < unit.count; ++i) {
    if (codes == Codes::kInt8) {
      out[i] = static_cast<uint8_t>(unit.codes[i]);
    } else if (codes == Codes::kInt4) {
      out[i / 2] |= static_cast<uint8_t>(unit.codes[i] << i % 2 * 4);
    } else {
      std::memcpy(out + 2 * i, &unit.codes[i], 2);
    }
  }
}

// Which code of a look-up table, or of int4, stands for 0.
int32_t zero_code_of(const PackedView& v) {
  if (v.codes != Codes::kInt4) return 0;
  if (!v.by_book) return v.code_zero;
  int32_t code = 0;
  while (v.table[code] != 0.0f) ++code;
  return code;
}

}  // namespace

Reason sparse_declines(const WeightMatrix& w) {
  if (w.format().encoding() != Encoding::kSparse) return "not sparse";
  const FormatPtr dense = dense_format(w.format_ptr());
  switch (dense->encoding()) {
    case Encoding::kInt8:
    case Encoding::kInt4:
      return group_declines(int_layout(*dense).group, w.cols());
    case Encoding::kCodebook4:
      return block_declines(codebook4_layout(*dense).block, w.cols());
    default:
      return {};
  }
}

PackedStorage sparse_pack(const WeightMatrix& w, ThreadPool& pool) {
  const WeightMatrix dense = to_dense(w);
  PackedStorage s;
  for (const Packer& packer : packers()) {
    if (packer.declines(dense)) continue;
    s = packer.pack(dense, pool);
    break;
  }
  PackedView& v = s.view;
  const int64_t panels = (v.rows + kPanel - 1) / kPanel;
  v.units = (v.cols + 7) / 8 * 2;
  v.chunks = (v.cols + kSparseChunk - 1) / kSparseChunk;
  v.zero_code = zero_code_of(v);
  s.masks = Block(panels * v.units * 8);
  s.starts = Block(panels * v.chunks * 8);
  auto* masks = reinterpret_cast<uint64_t*>(s.masks.data());
  auto* starts = reinterpret_cast<int64_t*>(s.starts.data());
  // Masks, and the bytes of each chunk; then where these begin.
  constexpr int64_t kUnits = kSparseChunk / kSparseUnit;
  pool.parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    Unit unit;
    for (int64_t panel = begin; panel < end; ++panel) {
      for (int64_t u = 0; u < v.units; ++u) {
        read_unit(v, panel, u, unit);
        masks[panel * v.units + u] = unit.mask;
        starts[panel * v.chunks + u / kUnits] += unit_bytes(v.codes, unit.count);
      }
    }
  });
  int64_t total = 0;
  for (int64_t i = 0; i < panels * v.chunks; ++i) total += std::exchange(starts[i], total);
  Block codes(total + 64);  // whole vectors are read
  pool.parallel_for(panels, 1, [&](int64_t begin, int64_t end) {
    Unit unit;
    for (int64_t panel = begin; panel < end; ++panel) {
      uint8_t* out = codes.data() + starts[panel * v.chunks];
      for (int64_t u = 0; u < v.units; ++u) {
        read_unit(v, panel, u, unit);
        put_unit(v.codes, unit, out);
        out += unit_bytes(v.codes, unit.count);
      }
    }
  });
  s.data = std::move(codes);
  v.data = s.data.data();
  v.masks = masks;
  v.starts = starts;
  return s;
}

}  // namespace lathe::cpu::packing
