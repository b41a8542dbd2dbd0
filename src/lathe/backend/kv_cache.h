// KvCache: keys and values of one sequence, all layers, as f32, f16, bf16 or int8.
//
// Layout: layer → head → keys or values. Keys lie in blocks of 16 positions, [D][16] each, so that
// scores of 16 positions come from whole vectors without a transposition; values as [position][Dv],
// Dv = D rounded up to 16 with zeros.
// int8 lies as packed matrices do (cpu/kernels.h, Codes::kInt8), so that the same integer kernels
// multiply both: keys in blocks of 16 positions, [Dk/4][16][4], Dk = D rounded up to 8; values in
// runs of 64 positions, [Dv/16][64/4][16][4], the last index being the position. It is symmetric
// with one f32 scale per head and position, x ≈ scale · q, |q| ≤ 127, scale = max|x| / 127; a row
// that holds a value that is not finite gets a scale of NaN.
// The block is reserved whole and given by the system page by page as positions are written.
#pragma once

#include <cstdint>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

enum class KvType : uint8_t { kF32, kF16, kBf16, kInt8 };

std::string name_of(KvType type);  // "f32", "f16", "bf16", "int8"
Result<KvType> parse_kv_type(const std::string& name);
// Bytes of one element, scales not counted.
int64_t element_bytes(KvType type);

struct KvShape {
  int64_t layers, kv_heads, head_size;
  KvType type = KvType::kF32;

  int64_t key_stride() const {  // Dk; D unless int8
    return type == KvType::kInt8 ? (head_size + 7) / 8 * 8 : head_size;
  }
  int64_t value_stride() const { return (head_size + 15) / 16 * 16; }  // Dv
};

class KvCache {
 public:
  static constexpr int64_t kKeyBlock = 16;  // positions of a block of keys
  static constexpr int64_t kValueRun = 64;  // positions of a run of int8 values

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
  // Makes this cache begin with the first `positions` positions of another one of the same shape,
  // and nothing else. They must be filled there and fit here.
  void copy_prefix(const KvCache& other, int64_t positions);

  // Key and value [D] of one head at one position, converted (round to nearest even) on the way.
  void write(int64_t layer, int64_t head, int64_t position, const float* key, const float* value);
  void read(int64_t layer, int64_t head, int64_t position, float* key, float* value) const;

  // For kernels, in the layout above; alignment 64.
  const void* keys(int64_t layer, int64_t head) const { return at(layer, head); }
  const void* values(int64_t layer, int64_t head) const { return at(layer, head) + key_bytes_; }
  // [capacity] of one head; int8 only.
  const float* key_scales(int64_t layer, int64_t head) const { return scales(layer, head); }
  const float* value_scales(int64_t layer, int64_t head) const {
    return scales(layer, head) + rounded_;
  }

  // Bytes of `positions` positions.
  static int64_t bytes_for(const KvShape& shape, int64_t positions);
  // Bytes of the filled positions of all caches alive in this process, and their peak.
  static int64_t live_bytes();
  static int64_t peak_bytes();
  static void reset_peak();

 private:
  KvCache() = default;
  void release();
  uint8_t* at(int64_t layer, int64_t head) const {
    return data_ + (layer * shape_.kv_heads + head) * head_bytes_;
  }
  // Where component i of a key and of a value lies, in elements.
  int64_t key_at(int64_t position, int64_t i) const;
  int64_t value_at(int64_t position, int64_t i) const;
  float* scales(int64_t layer, int64_t head) const {
    return reinterpret_cast<float*>(at(layer, head) + scale_offset_);
  }

  KvShape shape_{};
  int64_t capacity_ = 0, length_ = 0;
  int64_t rounded_ = 0;  // capacity in whole blocks of keys
  int64_t key_bytes_ = 0, scale_offset_ = 0, head_bytes_ = 0;
  int64_t mapped_bytes_ = 0;
  int64_t counted_ = 0;  // positions counted in live_bytes(): the most that were ever filled
  uint8_t* data_ = nullptr;
};

}  // namespace lathe
