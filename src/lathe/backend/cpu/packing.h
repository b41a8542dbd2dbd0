// What the packers share: stored formats → panels of 16 interleaved rows (packed.h). Not for other
// files.
#pragma once

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "lathe/backend/cpu/packed.h"

namespace lathe::cpu::packing {

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

// Views of the given kind for the shape of `w`; nothing is allocated yet.
PackedStorage shaped(const WeightMatrix& w, Codes codes, int64_t group, Scales scales);

// Scales of group g of row r lie here.
struct Place {
  int64_t panel, lane;
  const PackedView& v;
  int64_t group(int64_t g) const { return (panel * v.groups + g) * kPanel + lane; }
  int64_t super(int64_t s) const { return (panel * v.supers + s) * kPanel + lane; }
};

// Writes the byte-wide codes of 16 rows ([16][columns], columns padded to kColumnUnit with zeros)
// into a panel.
void interleave(const PackedStorage& s, int64_t panel, const uint8_t* codes, int64_t columns);

// The table as bytes for the integer kernels. Tables of integers stay exact; otherwise the unit
// that rounds best is taken, the largest value lying between 64 and 127 units.
void make_book(PackedView& v);

// Gives the pages of a mapped matrix back while it is packed: a table of 262,144 words would
// otherwise be in memory twice. `panel` is what has just been packed of the range that began at
// `begin` and ends at `end`.
void release_packed(const WeightMatrix& w, int64_t begin, int64_t panel, int64_t end);

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

// Two codes to a byte, the even column in the low half, to one a byte.
inline void unpack_pairs(const uint8_t* packed, int64_t bytes, uint8_t* codes) {
  for (int64_t i = 0; i < bytes; ++i) {
    codes[2 * i] = packed[i] & 15;
    codes[2 * i + 1] = packed[i] >> 4;
  }
}

// A group of columns must be whole steps of 8, unless there is only one.
Reason group_declines(int64_t group, int64_t cols);

// Blocks of a code book must end with the rows, or hold whole ones.
Reason block_declines(int64_t block, int64_t cols);

// Sparse layouts: packed as their dense format, then without the codes that stand for 0.
Reason sparse_declines(const WeightMatrix& w);
PackedStorage sparse_pack(const WeightMatrix& w, ThreadPool& pool);

// ggml's block types of 32 weights, and its K-types of 256.
Reason small_declines(const WeightMatrix& w);
PackedStorage small_pack(const WeightMatrix& w, ThreadPool& pool);
Reason super_declines(const WeightMatrix& w);
PackedStorage super_pack(const WeightMatrix& w, ThreadPool& pool);

}  // namespace lathe::cpu::packing
