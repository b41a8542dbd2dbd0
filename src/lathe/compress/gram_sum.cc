#include "lathe/compress/gram_sum.h"

#include <algorithm>
#include <cmath>

#include "lathe/base/wide.h"

namespace lathe {
namespace {

// Tokens of one product: the longer, the less often sums in f64 pass through memory (0.5 GB at
// 5,632 columns), and the more space the inputs take. Not 2,048: rows a power of two apart meet in
// one set of the cache.
constexpr int64_t kTokens = 2016;
// Columns of a block; what lies under the diagonal inside a block is multiplied in vain.
constexpr int64_t kColumns = 512;

// Σ |x| in eight sums, and max |x|.
LATHE_WIDE void scan(const float* x, int64_t count, double* sum, float* largest) {
  constexpr int kLanes = 8;
  double sums[kLanes] = {};
  float most[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const float a = std::fabs(x[i + l]);
      sums[l] += static_cast<double>(a);
      most[l] = a > most[l] ? a : most[l];
    }
  }
  for (int l = 0; i < count; ++i, ++l) {
    const float a = std::fabs(x[i]);
    sums[l] += static_cast<double>(a);
    most[l] = a > most[l] ? a : most[l];
  }
  for (int l = 0; l < kLanes; ++l) {
    *sum += sums[l];
    *largest = std::max(*largest, most[l]);
  }
}

LATHE_WIDE void add_to(double* __restrict sum, const float* __restrict x, int64_t count) {
  for (int64_t i = 0; i < count; ++i) sum[i] += static_cast<double>(x[i]);
}

}  // namespace

GramSum::GramSum(Ops& ops, int64_t size, int64_t tokens, FormatPtr products)
    : ops_(ops),
      products_(std::move(products)),
      capacity_(std::clamp<int64_t>(tokens, 1, kTokens)),
      stats_(std::make_shared<LinearStats>()) {
  stats_->size = size;
  stats_->gram.resize(static_cast<size_t>(size * size));
  stats_->absolute.resize(static_cast<size_t>(size));
  stats_->largest.resize(static_cast<size_t>(size));
  for (int64_t begin = 0; begin < size; begin += kColumns) {
    blocks_.emplace_back(std::min(kColumns, size - begin), capacity_);
  }
}

int64_t GramSum::bytes(int64_t size, int64_t tokens) {
  const int64_t rows = std::clamp<int64_t>(tokens, 1, kTokens);
  // The inputs across, the same packed and on the way there; one block's products.
  return size * size * 8 + size * rows * 3 * 4 + std::min(kColumns, size) * size * 4;
}

void GramSum::add(const Tensor& x) {
  LATHE_CHECK(x.cols() == stats_->size);
  stats_->tokens += x.rows();
  for (int64_t from = 0; from < x.rows();) {
    const int64_t count = std::min(x.rows() - from, capacity_ - filled_);
    take(x, from, count);
    from += count;
    if (filled_ == capacity_) flush();
  }
}

// Rows [from, from + count) of x become columns of the blocks, 16 × 16 at a time.
void GramSum::take(const Tensor& x, int64_t from, int64_t count) {
  constexpr int64_t kTile = 16;
  const int64_t size = stats_->size;
  ops_.threads().parallel_for((size + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t tile = first; tile < last; ++tile) {
      const int64_t begin = tile * kTile, end = std::min(size, begin + kTile);
      float* out = blocks_[size_t(begin / kColumns)].mutable_row(begin % kColumns) + filled_;
      for (int64_t t0 = 0; t0 < count; t0 += kTile) {
        for (int64_t k = begin; k < end; ++k) {
          for (int64_t t = t0; t < std::min(count, t0 + kTile); ++t) {
            out[(k - begin) * capacity_ + t] = x.row(from + t)[k];
          }
        }
      }
    }
  });
  filled_ += count;
}

// Rounds a block to what the products take, on both of their sides, and packs it. What is not
// finite cannot be rounded, and must be found in the sums.
Linear GramSum::round_and_pack(Tensor& block) {
  const int64_t rows = block.rows(), cols = block.cols();
  const auto as_they_are = [&]() -> Linear {
    return {"", ops_.pack(WeightMatrix::of_floats(block.data(), rows, cols)), {}};
  };
  if (products_->spec() == "f32") return as_they_are();
  auto rounded =
      WeightMatrix::encode(products_, block.data(), rows, cols, "inputs", &ops_.threads());
  if (!rounded.ok()) return as_they_are();
  ops_.threads().parallel_for(rows, 4, [&](int64_t begin, int64_t end) {
    rounded->decode_rows(begin, end, block.mutable_row(begin));
  });
  return {"", ops_.pack(std::move(*rounded)), {}};
}

void GramSum::flush() {
  if (filled_ == 0) return;
  for (size_t b = 0; filled_ < capacity_ && b < blocks_.size(); ++b) {
    for (int64_t k = 0; k < blocks_[b].rows(); ++k) {  // tokens of zeros add nothing
      std::fill(blocks_[b].mutable_row(k) + filled_, blocks_[b].mutable_row(k) + capacity_, 0.0f);
    }
  }
  std::vector<Linear> columns;
  for (size_t b = 0; b < blocks_.size(); ++b) {
    sum_rows(b);
    columns.push_back(round_and_pack(blocks_[b]));
  }
  for (size_t i = 0; i < blocks_.size(); ++i) {
    std::vector<const Linear*> right;
    for (size_t j = i; j < blocks_.size(); ++j) right.push_back(&columns[j]);
    const std::vector<Tensor> products = ops_.linears(right, blocks_[i]);
    const int64_t size = stats_->size, top = static_cast<int64_t>(i) * kColumns;
    ops_.threads().parallel_for(blocks_[i].rows(), 4, [&](int64_t first, int64_t last) {
      for (int64_t k = first; k < last; ++k) {
        double* row = stats_->gram.data() + (top + k) * size + top;
        for (const Tensor& product : products) {
          add_to(row, product.row(k), product.cols());
          row += product.cols();
        }
      }
    });
  }
  filled_ = 0;
}

void GramSum::sum_rows(size_t block) {
  const int64_t top = static_cast<int64_t>(block) * kColumns;
  const Tensor& x = blocks_[block];
  ops_.threads().parallel_for(x.rows(), 4, [&](int64_t first, int64_t last) {
    for (int64_t k = first; k < last; ++k) {
      scan(x.row(k), filled_, &stats_->absolute[size_t(top + k)],
           &stats_->largest[size_t(top + k)]);
    }
  });
}

std::shared_ptr<const LinearStats> GramSum::finish() {
  flush();
  blocks_.clear();
  constexpr int64_t kTile = 64;
  const int64_t size = stats_->size;
  double* gram = stats_->gram.data();
  ops_.threads().parallel_for((size + kTile - 1) / kTile, 1, [&](int64_t first, int64_t last) {
    for (int64_t i0 = first * kTile; i0 < std::min(size, last * kTile); i0 += kTile) {
      for (int64_t j0 = 0; j0 <= i0; j0 += kTile) {
        for (int64_t i = i0; i < std::min(size, i0 + kTile); ++i) {
          for (int64_t j = j0; j < std::min(i, j0 + kTile); ++j) {
            gram[i * size + j] = gram[j * size + i];
          }
        }
      }
    }
  });
  return std::move(stats_);
}

}  // namespace lathe
