// GroupGrid: the values that a format can hold, group by group, for methods that decide for each
// weight which value it takes (GPTQ) instead of rounding a finished matrix.
//
// A group is a run of columns of one row with one scale (and zero point). First the scale is
// chosen (fit), then weights are rounded to it one at a time (round), and at the end the matrix of
// rounded values is stored with exactly those scales (encode): a second choice of scales by the
// format's own encoder could move values off their grid.
#pragma once

#include <array>

#include "lathe/formats/weight_matrix.h"

namespace lathe {

// value = scale · (code − zero) + offset, or scale · table[code] for a codebook.
struct GridGroup {
  float scale = 0;
  int32_t zero = 0;
  float offset = 0;
};

// What an error d (one number per weight of a group) costs: Σ diagonal · d², or d · matrix · d
// where there is a matrix (symmetric, its rows `stride` apart). Without either the format's own
// encoder chooses.
struct FitWeight {
  const float* diagonal = nullptr;
  const float* matrix = nullptr;
  int64_t stride = 0;
};

class GroupGrid {
 public:
  // int8, int4, int3, int2, ternary and the codebook formats without double quantization whose
  // blocks end with the rows, and sparse layouts of these; the error says what would do.
  static Result<GroupGrid> create(const FormatPtr& stored_as, int64_t rows, int64_t cols);

  int64_t group() const { return group_; }    // columns
  int64_t groups() const { return groups_; }  // per row

  // Whether the format stores an offset, that is, a zero point that need not be whole.
  bool has_offset() const { return offset_; }
  int32_t highest_code() const { return highest_; }

  // The scale for `count` numbers: of a few dozen the one that costs least; without a weight that
  // of the format's own encoder. Where `weight` has a matrix, its diagonal chooses a few for it to
  // compare.
  GridGroup fit(const float* x, const FitWeight& weight, int64_t count) const;
  // Scale and offset as they can be stored.
  GridGroup stored(float scale, float offset) const;
  // The nearest value of the grid.
  float round(float x, const GridGroup& group) const { return value(code(x, group), group); }

  // `values` (rows × cols) must be values of the grid; groups: rows × groups().
  Result<WeightMatrix> encode(const float* values, const std::vector<GridGroup>& groups,
                              std::string_view where, ThreadPool& pool) const;

 private:
  int32_t code(float x, const GridGroup& group) const;
  float value(int32_t code, const GridGroup& group) const;
  double cost(const float* x, const FitWeight& weight, int64_t count, const GridGroup& g) const;
  GridGroup with_scale(float scale, float low) const;
  GridGroup refitted(const float* x, const float* diagonal, int64_t count, GridGroup g) const;
  void store_codes(const float* values, const std::vector<GridGroup>& groups, int64_t row,
                   uint8_t* out) const;

  FormatPtr format_, stored_as_;  // dense, and perhaps a sparse layout of it
  int64_t rows_ = 0, cols_ = 0, group_ = 0, groups_ = 0;
  bool codebook_ = false, asymmetric_ = false, half_scale_ = false, offset_ = false;
  bool ternary_ = false;
  int bits_ = 4;
  int32_t lowest_ = 0, highest_ = 0, zero_ = 0;
  std::array<float, 16> table_{};    // of a codebook, by code
  std::array<int32_t, 16> order_{};  // codes by ascending value
  std::array<float, 15> bounds_{};   // between neighbours in that order
};

}  // namespace lathe
