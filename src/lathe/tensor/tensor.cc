#include "lathe/tensor/tensor.h"

#include <algorithm>
#include <atomic>
#include <vector>

#include "lathe/base/large_block.h"

namespace lathe {
namespace {

constexpr size_t kKeptBlocks = 64;
// What a prompt of 512 tokens needs at once in a model of a billion weights: its pages are given
// and cleared once, not in every layer.
constexpr int64_t kKeptBytes = int64_t{48} << 20;

std::atomic<int64_t> live{0}, peak{0};

void count(int64_t bytes) {
  const int64_t now = live.fetch_add(bytes) + bytes;
  int64_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

struct Block {
  float* data;
  int64_t bytes;
};

// Free blocks of this thread. Destroyed with the thread; blocks that arrive later are freed
// directly.
class Cache {
 public:
  ~Cache() {
    for (const Block& b : blocks_) release(b);
    gone_ = true;
  }

  Block take(int64_t bytes) {
    auto best = blocks_.end();
    for (auto it = blocks_.begin(); it != blocks_.end(); ++it) {
      if (it->bytes >= bytes && it->bytes <= 2 * bytes &&
          (best == blocks_.end() || it->bytes < best->bytes)) {
        best = it;
      }
    }
    if (best == blocks_.end()) {
      count(bytes);
      return {static_cast<float*>(allocate_block(static_cast<size_t>(bytes))), bytes};
    }
    const Block block = *best;
    blocks_.erase(best);
    kept_bytes_ -= block.bytes;
    return block;
  }

  void give(Block block) {
    if (gone_ || blocks_.size() >= kKeptBlocks || kept_bytes_ + block.bytes > kKeptBytes) {
      release(block);
      return;
    }
    blocks_.push_back(block);
    kept_bytes_ += block.bytes;
  }

 private:
  static void release(const Block& block) {
    count(-block.bytes);
    free_block(block.data, static_cast<size_t>(block.bytes));
  }

  std::vector<Block> blocks_;
  int64_t kept_bytes_ = 0;
  static thread_local bool gone_;
};

thread_local bool Cache::gone_ = false;
thread_local Cache cache;

}  // namespace

Tensor::Tensor(int64_t rows, int64_t cols) : rows_(rows), cols_(cols) {
  LATHE_CHECK(rows >= 0 && cols >= 0);
  const int64_t bytes = std::max<int64_t>(64, (rows * cols * 4 + 63) / 64 * 64);
  const Block block = cache.take(bytes);
  data_ = std::shared_ptr<float>(block.data, [block](float*) { cache.give(block); });
}

int64_t Tensor::live_bytes() { return live.load(); }
int64_t Tensor::peak_bytes() { return peak.load(); }
void Tensor::reset_peak() { peak.store(live.load()); }

}  // namespace lathe
