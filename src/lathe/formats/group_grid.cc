#include "lathe/formats/group_grid.h"

#include <algorithm>
#include <numeric>

#include "lathe/base/threads.h"
#include "lathe/formats/detail.h"
#include "lathe/formats/layouts.h"

namespace lathe {

using formats::ceil_div;
using formats::round_even;

Result<GroupGrid> GroupGrid::create(const FormatPtr& format, int64_t rows, int64_t cols) {
  LATHE_OK(format->supports(rows, cols));
  GroupGrid grid;
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
          .with_hint("formats that are: int8, int4, nf4 and fp4 without ',dq'");
  }
  grid.groups_ = ceil_div(cols, grid.group_);
  return grid;
}

int32_t GroupGrid::code(float x, const GridGroup& group) const {
  if (group.scale == 0.0f) return codebook_ ? order_[7] : group.zero;
  const float scaled = x / group.scale;
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
  return group.scale * static_cast<float>(code - group.zero);
}

double GroupGrid::error(const float* x, const float* importance, int64_t count,
                        const GridGroup& g) const {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float d = round(x[i], g) - x[i];
    sum += static_cast<double>(importance[i]) * static_cast<double>(d * d);
  }
  return sum;
}

GridGroup GroupGrid::with_scale(float scale, float low) const {
  if (half_scale_) scale = f16_to_f32(f32_to_f16(scale));
  if (!std::isfinite(scale) || !std::isfinite(1.0f / scale)) scale = 0;
  GridGroup group{scale, zero_};
  if (asymmetric_) {
    group.zero = scale == 0 ? 0 : std::clamp(round_even(std::min(-low / scale, 100.0f)), 0, 15);
  }
  return group;
}

GridGroup GroupGrid::fit(const float* x, const float* importance, int64_t count) const {
  float low = 0, high = 0;
  for (int64_t i = 0; i < count; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  const float most = std::max(high, -low);
  const float signed_most = high >= -low ? high : low;
  // Widest scale of the format's own encoder.
  float widest = most;
  if (!codebook_) {
    widest = asymmetric_       ? (high - low) / 15.0f
             : highest_ == 127 ? most / 127.0f
             : lowest_ == 1    ? most / 7.0f
                               : signed_most / -8.0f;
  }
  GridGroup best = with_scale(widest, low);
  if (!importance || most == 0) return best;
  double least = error(x, importance, count, best);
  const auto attempt = [&](float scale) {
    const GridGroup group = with_scale(scale, low * (asymmetric_ ? scale / widest : 1.0f));
    if (group.scale == 0) return;
    const double e = error(x, importance, count, group);
    if (e < least) {
      least = e;
      best = group;
    }
  };
  // Wider by up to 14 % (a maximum that falls on code 7 of −8…7), narrower down to 0.6. Symmetric
  // int4 reaches one step further on one side: both signs are tried.
  const bool both_signs = !codebook_ && !asymmetric_ && lowest_ == 0;
  for (int step = both_signs ? -5 : 0; step < 16; ++step) {
    const float factor = 1.0f - 0.025f * static_cast<float>(step);
    attempt(widest * factor);
    if (both_signs) attempt(-widest * factor);
  }
  return best;
}

void GroupGrid::store_codes(const float* values, const std::vector<GridGroup>& groups, int64_t row,
                            uint8_t* out) const {
  const bool bytes = format_->encoding() == Encoding::kInt8;
  const int64_t stride = bytes ? cols_ : ceil_div(cols_, 2);
  uint8_t* line = out + row * stride;
  for (int64_t k = 0; k < cols_; ++k) {
    const GridGroup& group = groups[static_cast<size_t>(row * groups_ + k / group_)];
    const int32_t c = code(values[row * cols_ + k], group);
    if (bytes) {
      line[k] = static_cast<uint8_t>(c);
    } else if ((k % 2 == 0) != codebook_) {  // even columns: low nibble in int4, high in codebooks
      line[k / 2] = static_cast<uint8_t>((line[k / 2] & 0xf0) | c);
    } else {
      line[k / 2] = static_cast<uint8_t>((line[k / 2] & 0x0f) | (c << 4));
    }
  }
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
    } else {
      const bool scb = format_->encoding() == Encoding::kInt8 && format_->spec() == "int8:row";
      formats::store(buffers[1], at, scb ? scale * 127.0f : scale);
    }
  }
  return WeightMatrix::create(format_, rows_, cols_, std::move(parts), where);
}

}  // namespace lathe
