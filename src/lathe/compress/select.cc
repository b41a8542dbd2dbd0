#include "lathe/compress/select.h"

#include <bit>
#include <mutex>

#include "lathe/base/check.h"

namespace lathe {
namespace {

constexpr int kLowBits = 15;  // of 31: the sign is dropped
constexpr size_t kHighBins = size_t{1} << (31 - kLowBits), kLowBins = size_t{1} << kLowBits;

uint32_t magnitude(float w) { return std::bit_cast<uint32_t>(w) & 0x7fffffffu; }

}  // namespace

void MagnitudeSelector::add(const float* weights, int64_t count, ThreadPool& pool) {
  const size_t bins = narrowed_ ? kLowBins : kHighBins;
  counts_.resize(bins);
  std::mutex mutex;
  pool.parallel_for(count, 65536, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> local(bins);
    if (narrowed_) {
      for (int64_t i = begin; i < end; ++i) {
        const uint32_t bits = magnitude(weights[i]);
        if (bits >> kLowBits == bin_) ++local[bits & (kLowBins - 1)];
      }
    } else {
      for (int64_t i = begin; i < end; ++i) ++local[magnitude(weights[i]) >> kLowBits];
    }
    const std::lock_guard lock(mutex);
    for (size_t b = 0; b < bins; ++b) counts_[b] += local[b];
  });
  if (!narrowed_) seen_ += count;
}

void MagnitudeSelector::narrow(int64_t count) {
  LATHE_CHECK(!narrowed_ && count > 0 && count <= seen_);
  rank_ = count;
  while (counts_[bin_] < rank_) rank_ -= counts_[bin_++];
  narrowed_ = true;
  counts_.assign(kLowBins, 0);
}

Cut MagnitudeSelector::cut() const {
  LATHE_CHECK(narrowed_);
  int64_t rank = rank_;
  uint32_t low = 0;
  while (counts_[low] < rank) rank -= counts_[low++];
  return {bin_ << kLowBits | low, rank, counts_[low]};
}

void apply_cut(const float* weights, int64_t count, Cut& cut, std::vector<uint8_t>& mask,
               ThreadPool& pool) {
  mask.resize(static_cast<size_t>(count));
  const uint32_t threshold = cut.threshold;
  const bool all_ties = cut.ties == cut.ties_in_all;
  // With all of the ties taken, "at most the threshold"; magnitudes have 31 bits, so + 1 is safe.
  const auto limit = static_cast<int32_t>(threshold + (all_ties ? 1 : 0));
  uint8_t* out = mask.data();
  pool.parallel_for(count, 4096, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      out[i] = static_cast<int32_t>(magnitude(weights[i])) < limit ? 1 : 0;
    }
  });
  if (all_ties) return;
  for (int64_t i = 0; i < count; ++i) {
    if (magnitude(weights[i]) != threshold) continue;
    --cut.ties_in_all;
    if (cut.ties > 0) {
      mask[static_cast<size_t>(i)] = 1;
      --cut.ties;
    }
  }
}

}  // namespace lathe
