#include "lathe/formats/group_grid.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "lathe/base/threads.h"
#include "lathe/base/wide.h"
#include "lathe/formats/bits.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/layouts.h"
#include "lathe/formats/sparse.h"

namespace lathe {

using formats::ceil_div;
using formats::round_even;

namespace {

// A grid of whole codes: value = scale · (code − zero) + offset, scale not 0.
struct Steps {
  float scale, offset;
  int32_t zero, lowest, highest;

  int32_t code(float x) const {
    // Far outside, so that rounding stays within the range of round_even.
    const float scaled = (x - offset) / scale;
    const float raised = scaled < -1e6f ? -1e6f : scaled;
    const int32_t rounded = round_even(raised > 1e6f ? 1e6f : raised) + zero;
    const int32_t low = rounded < lowest ? lowest : rounded;
    return low > highest ? highest : low;
  }
  float value(int32_t code) const { return scale * static_cast<float>(code - zero) + offset; }
};

constexpr int kLanes = 8;  // sums of their own, so that the loops vectorise

// Σ weight · d², d being what rounding changes.
LATHE_WIDE double weighted_cost(const float* x, const float* weight, int64_t count,
                                const Steps& given) {
  const Steps steps = given;
  double sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float d = steps.value(steps.code(x[i + l])) - x[i + l];
      sums[l] += static_cast<double>(weight[i + l]) * static_cast<double>(d * d);
    }
  }
  for (int l = 0; i < count; ++i, ++l) {
    const float d = steps.value(steps.code(x[i])) - x[i];
    sums[l] += static_cast<double>(weight[i]) * static_cast<double>(d * d);
  }
  double sum = 0;
  for (const double part : sums) sum += part;
  return sum;
}

// Weighted sums of 1, q, x, q² and q·x, q being the code less the zero.
struct FitSums {
  double h = 0, hc = 0, hx = 0, hcc = 0, hcx = 0;
};
LATHE_WIDE FitSums fit_sums(const float* x, const float* weight, int64_t count,
                            const Steps& given) {
  const Steps steps = given;
  double h[kLanes] = {}, hc[kLanes] = {}, hx[kLanes] = {}, hcc[kLanes] = {}, hcx[kLanes] = {};
  const auto add = [&](int64_t i, int l) {
    const double q = steps.code(x[i]) - steps.zero, w = weight[i], value = x[i];
    h[l] += w;
    hc[l] += w * q;
    hx[l] += w * value;
    hcc[l] += w * q * q;
    hcx[l] += w * q * value;
  };
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) add(i + l, l);
  }
  for (int l = 0; i < count; ++i, ++l) add(i, l);
  FitSums out;
  for (int l = 0; l < kLanes; ++l) {
    out.h += h[l];
    out.hc += hc[l];
    out.hx += hx[l];
    out.hcc += hcc[l];
    out.hcx += hcx[l];
  }
  return out;
}

}  // namespace

Result<GroupGrid> GroupGrid::create(const FormatPtr& stored_as, int64_t rows, int64_t cols) {
  LATHE_OK(stored_as->supports(rows, cols));
  const FormatPtr format = dense_format(stored_as);
  GroupGrid grid;
  grid.stored_as_ = stored_as;
  grid.format_ = format;
  grid.rows_ = rows;
  grid.cols_ = cols;
  switch (format->encoding()) {
    case Encoding::kInt4:
    case Encoding::kInt8: {
      const IntLayout layout = int_layout(*format);
      const bool four = format->encoding() == Encoding::kInt4;
      grid.group_ = layout.group ? std::min(layout.group, cols) : cols;
      grid.asymmetric_ = layout.asymmetric;
      grid.half_scale_ = four && layout.group > 0;
      grid.zero_ = four ? 8 : 0;
      // The naive row format leaves code 0 out, int8 leaves −128 out.
      grid.lowest_ = four ? (layout.group ? 0 : 1) : -127;
      grid.highest_ = four ? 15 : 127;
      grid.bits_ = four ? 4 : 8;
      break;
    }
    case Encoding::kBits: {
      const BitsLayout layout = bits_layout(*format);
      grid.group_ = std::min(layout.group, cols);
      grid.asymmetric_ = layout.zero == ZeroKind::kPoint;
      grid.offset_ = layout.zero == ZeroKind::kOffset;
      grid.half_scale_ = true;
      grid.bits_ = layout.bits;
      grid.zero_ = layout.zero == ZeroKind::kMiddle ? 1 << (layout.bits - 1) : 0;
      grid.lowest_ = layout.ternary ? 1 : 0;
      grid.highest_ = (1 << layout.bits) - 1;
      grid.ternary_ = layout.ternary;
      break;
    }
    case Encoding::kCodebook4: {
      const Codebook4Layout layout = codebook4_layout(*format);
      if (layout.nested) {
        return unsupported("format {} chooses its scales from all blocks at once", format->spec())
            .with_hint("use it without ',dq'");
      }
      if (cols % layout.block != 0) {
        return unsupported("blocks of format {} cross the ends of rows of {}", format->spec(), cols)
            .with_hint("choose a block size that divides the columns");
      }
      grid.codebook_ = true;
      grid.group_ = layout.block;
      // One encoded block gives the table.
      const std::vector<float> zeros(static_cast<size_t>(layout.block));
      LATHE_TRY(const WeightMatrix block,
                WeightMatrix::encode(format, zeros.data(), 1, layout.block, format->spec()));
      grid.table_ = codebook4_view(*format, block.parts(), 1, layout.block).code;
      std::iota(grid.order_.begin(), grid.order_.end(), 0);
      std::stable_sort(grid.order_.begin(), grid.order_.end(), [&](int32_t a, int32_t b) {
        return grid.table_[static_cast<size_t>(a)] < grid.table_[static_cast<size_t>(b)];
      });
      for (size_t i = 0; i < 15; ++i) {
        grid.bounds_[i] = 0.5f * (grid.table_[static_cast<size_t>(grid.order_[i])] +
                                  grid.table_[static_cast<size_t>(grid.order_[i + 1])]);
      }
      break;
    }
    default:
      return unsupported("format {} is not made of groups with one scale each", format->spec())
          .with_hint(
              "formats that are: int8, int4, int3, int2, ternary, nf4 and fp4 without ',dq'");
  }
  grid.groups_ = ceil_div(cols, grid.group_);
  return grid;
}

int32_t GroupGrid::code(float x, const GridGroup& group) const {
  if (group.scale == 0.0f) return codebook_ ? order_[7] : group.zero;
  const float scaled = (x - group.offset) / group.scale;
  if (codebook_) {
    size_t rank = 0;
    for (const float bound : bounds_) rank += scaled > bound ? 1 : 0;
    return order_[rank];
  }
  // Far outside, so that rounding stays within the range of round_even.
  return std::clamp(round_even(std::clamp(scaled, -1e6f, 1e6f)) + group.zero, lowest_, highest_);
}

float GroupGrid::value(int32_t code, const GridGroup& group) const {
  if (codebook_) return table_[static_cast<size_t>(code)] * group.scale;
  return group.scale * static_cast<float>(code - group.zero) + group.offset;
}

double GroupGrid::cost(const float* x, const FitWeight& weight, int64_t count,
                       const GridGroup& g) const {
  constexpr int64_t kRun = 256;  // of a longer group, the runs count for themselves
  double sum = 0;
  if (!weight.matrix && !codebook_ && g.scale != 0.0f) {
    return weighted_cost(x, weight.diagonal, count, {g.scale, g.offset, g.zero, lowest_, highest_});
  }
  if (!weight.matrix) {
    for (int64_t i = 0; i < count; ++i) {
      const float d = round(x[i], g) - x[i];
      sum += static_cast<double>(weight.diagonal[i]) * static_cast<double>(d * d);
    }
    return sum;
  }
  float d[kRun];
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t size = std::min(kRun, count - begin);
    for (int64_t i = 0; i < size; ++i) d[i] = round(x[begin + i], g) - x[begin + i];
    for (int64_t i = 0; i < size; ++i) {
      const float* row = weight.matrix + (begin + i) * weight.stride + begin;
      float lanes[8] = {};
      int64_t j = 0;
      for (; j + 8 <= size; j += 8) {
        for (int l = 0; l < 8; ++l) lanes[l] += row[j + l] * d[j + l];
      }
      double product = 0;
      for (const float lane : lanes) product += static_cast<double>(lane);
      for (; j < size; ++j) product += static_cast<double>(row[j] * d[j]);
      sum += static_cast<double>(d[i]) * product;
    }
  }
  return sum;
}

GridGroup GroupGrid::stored(float scale, float offset) const {
  if (half_scale_) scale = f16_to_f32(f32_to_f16(scale));
  if (!std::isfinite(scale) || !std::isfinite(1.0f / scale)) scale = 0;
  GridGroup group{scale, zero_, 0};
  if (offset_) group.offset = f16_to_f32(f32_to_f16(offset));
  return group;
}

GridGroup GroupGrid::with_scale(float scale, float low) const {
  GridGroup group = stored(scale, low);
  if (asymmetric_) {
    const float zero = group.scale == 0 ? 0.0f : std::min(-low / group.scale, 100.0f);
    group.zero = group.scale == 0 ? 0 : std::clamp(round_even(zero), 0, highest_);
  }
  return group;
}

// Scale (and offset) by weighted least squares for the codes that `g` gives.
GridGroup GroupGrid::refitted(const float* x, const float* diagonal, int64_t count,
                              GridGroup g) const {
  FitSums sums;
  if (!codebook_ && g.scale != 0.0f) {
    sums = fit_sums(x, diagonal, count, {g.scale, g.offset, g.zero, lowest_, highest_});
  } else {
    for (int64_t i = 0; i < count; ++i) {
      const int32_t c = code(x[i], g);
      const double q = codebook_ ? static_cast<double>(table_[static_cast<size_t>(c)]) : c - g.zero;
      const double w = diagonal[i], value = x[i];
      sums.h += w;
      sums.hc += w * q;
      sums.hx += w * value;
      sums.hcc += w * q * q;
      sums.hcx += w * q * value;
    }
  }
  const auto& [h, hc, hx, hcc, hcx] = sums;
  if (offset_) {
    const double det = h * hcc - hc * hc;
    if (!(det > 0)) return g;
    const double scale = (h * hcx - hc * hx) / det;
    return stored(static_cast<float>(scale), static_cast<float>((hx - scale * hc) / h));
  }
  if (!(hcc > 0)) return g;
  const int32_t zero = g.zero;
  g = stored(static_cast<float>(hcx / hcc), 0);
  g.zero = zero;
  return g;
}

GridGroup GroupGrid::fit(const float* x, const FitWeight& weight, int64_t count) const {
  float low = offset_ ? x[0] : 0, high = low;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const float most = std::max(high, -low);
  const float signed_most = high >= -low ? high : low;
  // Widest scale of the format's own encoder.
  float widest = most;
  if (!codebook_) {
    widest = asymmetric_ || offset_ ? (high - low) / static_cast<float>(highest_)
             : highest_ == 127      ? most / 127.0f
             : ternary_             ? most
             : lowest_ == 1         ? most / 7.0f
                                    : signed_most / static_cast<float>(-zero_);
  }
  GridGroup best = with_scale(ternary_ ? formats::ternary_scale(x, count) : widest, low);
  if (!weight.diagonal || widest == 0) return best;
  // The cheapest by the diagonal, in order; the matrix then decides between them.
  constexpr size_t kFinalists = 4;
  const FitWeight by_diagonal{weight.diagonal, nullptr, 0};
  std::vector<std::pair<double, GridGroup>> finalists = {{cost(x, by_diagonal, count, best), best}};
  const size_t most_finalists = weight.matrix ? kFinalists : 1;
  const auto consider = [&](const GridGroup& group) {
    if (group.scale == 0) return;
    const double c = cost(x, by_diagonal, count, group);
    const auto place = std::upper_bound(finalists.begin(), finalists.end(), c,
                                        [](double a, const auto& b) { return a < b.first; });
    if (place == finalists.end() && finalists.size() >= most_finalists) return;
    finalists.insert(place, {c, group});
    if (finalists.size() > most_finalists) finalists.pop_back();
  };
  const float middle = 0.5f * (low + high);
  const auto attempt = [&](float factor) {
    const float shrunk = offset_ ? middle + (low - middle) * factor : low * factor;
    const GridGroup group = with_scale(widest * factor, asymmetric_ || offset_ ? shrunk : low);
    consider(group);
    if (group.scale != 0) consider(refitted(x, weight.diagonal, count, group));
  };
  // Wider by up to 14 % (a maximum that falls on code 7 of −8…7), narrower down to 0.6, with few
  // bits to 0.4, with three values to 0.2. Symmetric groups reach one step further on one side:
  // both signs are tried.
  const bool both_signs = !codebook_ && !asymmetric_ && !offset_ && lowest_ == 0;
  const int steps = ternary_ ? 33 : bits_ < 4 ? 24 : 16;
  for (int step = both_signs ? -5 : 0; step < steps; ++step) {
    const float factor = 1.0f - 0.025f * static_cast<float>(step);
    attempt(factor);
    if (both_signs) attempt(-factor);
  }
  if (!weight.matrix) return finalists.front().second;
  double least = std::numeric_limits<double>::infinity();
  for (const auto& [diagonal_cost, group] : finalists) {
    const double c = cost(x, weight, count, group);
    if (c < least) {
      least = c;
      best = group;
    }
  }
  return best;
}

void GroupGrid::store_codes(const float* values, const std::vector<GridGroup>& groups, int64_t row,
                            uint8_t* out) const {
  std::vector<uint8_t> codes(static_cast<size_t>(cols_));
  for (int64_t k = 0; k < cols_; ++k) {
    const GridGroup& group = groups[static_cast<size_t>(row * groups_ + k / group_)];
    codes[static_cast<size_t>(k)] = static_cast<uint8_t>(code(values[row * cols_ + k], group));
  }
  if (codebook_) {  // the even column in the high nibble; rows are whole blocks
    for (int64_t k = 0; k < cols_; k += 2) {
      out[(row * cols_ + k) / 2] = static_cast<uint8_t>(codes[static_cast<size_t>(k)] << 4 |
                                                        codes[static_cast<size_t>(k + 1)]);
    }
    return;
  }
  if (ternary_) return formats::pack_trits(codes.data(), cols_, out + row * ceil_div(cols_, 5));
  uint8_t* line = out + row * ceil_div(cols_ * bits_, 8);
  if (bits_ == 4 && !offset_ && cols_ % 2 != 0) codes.push_back(8);  // as int4 leaves it
  formats::pack_bits(codes.data(), static_cast<int64_t>(codes.size()), bits_, line);
}

Result<WeightMatrix> GroupGrid::encode(const float* values, const std::vector<GridGroup>& groups,
                                       std::string_view where, ThreadPool& pool) const {
  LATHE_CHECK(static_cast<int64_t>(groups.size()) == rows_ * groups_);
  // The format's own encoder fills tables and whatever else is constant; codes, scales and zero
  // points are then replaced.
  LATHE_TRY(const WeightMatrix plain,
            WeightMatrix::encode(format_, values, rows_, cols_, where, &pool));
  std::vector<Bytes> parts;
  std::vector<uint8_t*> buffers;
  for (const Bytes& part : plain.parts()) {
    uint8_t* data = nullptr;
    parts.push_back(Bytes::allocate(part.size(), &data));
    std::copy_n(part.data(), part.size(), data);
    buffers.push_back(data);
  }
  pool.parallel_for(rows_, 4, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) store_codes(values, groups, r, buffers[0]);
  });
  for (size_t i = 0; i < groups.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const float scale = groups[i].scale;
    if (half_scale_) {
      formats::store(buffers[1], at, f32_to_f16(scale));
      if (asymmetric_) buffers[2][i] = static_cast<uint8_t>(groups[i].zero);
      if (offset_) formats::store(buffers[2], at, f32_to_f16(groups[i].offset));
    } else {
      const bool scb = format_->encoding() == Encoding::kInt8 && format_->spec() == "int8:row";
      formats::store(buffers[1], at, scb ? scale * 127.0f : scale);
    }
  }
  LATHE_TRY(WeightMatrix dense,
            WeightMatrix::create(format_, rows_, cols_, std::move(parts), where));
  if (stored_as_ == format_) return dense;
  return to_sparse(stored_as_, dense, where);
}

}  // namespace lathe
