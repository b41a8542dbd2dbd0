// The k-th smallest magnitude of many weights, exactly, without sorting and without holding them
// all: two sweeps that count bit patterns. The bits of |w|, read as an integer, order like |w|.
#pragma once

#include <cstdint>
#include <vector>

#include "lathe/base/threads.h"

namespace lathe {

// Which weights are the `count` smallest: all below the threshold, and the first `ties` of those
// that equal it.
struct Cut {
  uint32_t threshold = 0;  // bits of |w|
  int64_t ties = 0;
  int64_t ties_in_all = 0;
};

class MagnitudeSelector {
 public:
  // First sweep: add() everything, in pieces as they come. Then narrow(); then the same sweep
  // again; then cut(). `count` ≤ the number of weights, and > 0.
  void add(const float* weights, int64_t count, ThreadPool& pool);
  int64_t seen() const { return seen_; }
  void narrow(int64_t count);
  Cut cut() const;

 private:
  bool narrowed_ = false;
  int64_t seen_ = 0;
  int64_t rank_ = 0;  // of the wanted one: among all, then among those of its bin
  uint32_t bin_ = 0;  // the upper bits of the threshold
  std::vector<int64_t> counts_;
};

// mask[i] = 1 for the weights that the cut takes. Of those that equal the threshold the first
// cut.ties are taken; both counts are lowered by those seen here, so that the next matrix goes on.
void apply_cut(const float* weights, int64_t count, Cut& cut, std::vector<uint8_t>& mask,
               ThreadPool& pool);

}  // namespace lathe
