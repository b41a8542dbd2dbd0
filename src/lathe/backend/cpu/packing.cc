#include "lathe/backend/cpu/packing.h"

#include <cmath>
#include <limits>

#include "lathe/base/mapped_file.h"

namespace lathe::cpu::packing {
namespace {

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

}  // namespace

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

Reason group_declines(int64_t group, int64_t cols) {
  if (group == 0 || group >= cols || group % 8 == 0) return {};
  return fmt::format("groups of {} columns are no multiple of 8", group);
}

Reason block_declines(int64_t block, int64_t cols) {
  if (cols % block == 0 || block % cols == 0) return {};
  return fmt::format("blocks of {} cross the rows of {} columns", block, cols);
}

}  // namespace lathe::cpu::packing
