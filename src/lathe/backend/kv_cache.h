// KvCache: keys and values of one sequence, all layers, f32.
// Layout: layer → key or value → head → position → D, so that one head's keys are one run of
// memory. The block is reserved whole and given by the system page by page as positions are
// written.
#pragma once

#include <cstdint>

#include "lathe/base/result.h"

namespace lathe {

struct KvShape {
  int64_t layers, kv_heads, head_size;
};

class KvCache {
 public:
  // Refuses (kNoRoom) when the system has no room for `capacity` positions.
  static Result<KvCache> create(const KvShape& shape, int64_t capacity);
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&& other) noexcept;
  KvCache(const KvCache&) = delete;
  KvCache& operator=(const KvCache&) = delete;
  ~KvCache();

  const KvShape& shape() const { return shape_; }
  int64_t capacity() const { return capacity_; }
  // Positions already holding keys and values; advanced by the forward pass once a batch is
  // through.
  int64_t length() const { return length_; }
  void set_length(int64_t positions);

  // [capacity, D] of one head.
  float* keys(int64_t layer, int64_t head) { return at(layer, 0, head); }
  float* values(int64_t layer, int64_t head) { return at(layer, 1, head); }

  // Bytes of `positions` positions.
  static int64_t bytes_for(const KvShape& shape, int64_t positions);
  // Bytes of the filled positions of all caches alive in this process, and their peak.
  static int64_t live_bytes();
  static int64_t peak_bytes();
  static void reset_peak();

 private:
  KvCache() = default;
  void release();
  float* at(int64_t layer, int64_t which, int64_t head) const {
    return data_ + ((layer * 2 + which) * shape_.kv_heads + head) * capacity_ * shape_.head_size;
  }

  KvShape shape_{};
  int64_t capacity_ = 0, length_ = 0;
  int64_t mapped_bytes_ = 0;
  int64_t counted_ = 0;  // positions counted in live_bytes(): the most that were ever filled
  float* data_ = nullptr;
};

}  // namespace lathe
