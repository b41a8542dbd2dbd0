// KvCache: keys and values of one sequence, all layers, as f32, f16, bf16, int8 or int4.
//
// Layout: layer → head → keys or values. Keys lie in blocks of 16 positions, [D][16] each, so that
// scores of 16 positions come from whole vectors without a transposition; values as [position][Dv],
// Dv = D rounded up to 16 with zeros.
// int8 lies as packed matrices do (cpu/kernels.h, Codes::kInt8), so that the same integer kernels
// multiply both: keys in blocks of 16 positions, [Dk/4][16][4], Dk = D rounded up to 8; values in
// runs of 64 positions, [Dv/16][64/4][16][4], the last index being the position. It is symmetric
// with one f32 scale per head and position, x ≈ scale · q, |q| ≤ 127, scale = max|x| / 127; a row
// that holds a value that is not finite gets a scale of NaN.
// int4 lies as packed matrices do as well (Codes::kInt4), keys and values alike, Dk = Dv = D
// rounded up to 32: codes in blocks of 16 positions, [Di/8][16] dwords; f16 scales and offsets of
// groups of 32 components, [Di/32][16] each. x ≈ scale · q + offset, 0 ≤ q ≤ 15, from the smallest
// to the largest of the group, which is NaN if one of them is not finite or f16 cannot hold the
// scale. The block is reserved whole and given by the system page by page as positions are written;
// a large one that is half full is given whole, in huge pages.
#pragma once

#include <cstdint>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

enum class KvType : uint8_t { kF32, kF16, kBf16, kInt8, kInt4 };

std::string name_of(KvType type);  // "f32", "f16", "bf16", "int8", "int4"
std::string kv_type_names();       // all of them, for messages
Result<KvType> parse_kv_type(const std::string& name);

struct KvShape {
  static constexpr int64_t kGroup = 32;  // components of a group of int4

  int64_t layers, kv_heads, head_size;
  KvType type = KvType::kF32;

  int64_t key_stride() const {  // Dk
    if (type == KvType::kInt4) return groups() * kGroup;
    return type == KvType::kInt8 ? (head_size + 7) / 8 * 8 : head_size;
  }
  int64_t value_stride() const {  // Dv
    return type == KvType::kInt4 ? groups() * kGroup : (head_size + 15) / 16 * 16;
  }
  int64_t groups() const { return (head_size + kGroup - 1) / kGroup; }  // of int4
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

  // What is stored of a head, one after the other: scales of int8 (f32) and int4 (f16), offsets of
  // int4 (f16).
  enum Part { kKeys, kValues, kKeyScales, kValueScales, kKeyOffsets, kValueOffsets, kParts };
  // For kernels, in the layout above; alignment 64. The byte at which `position` begins, which is a
  // multiple of kKeyBlock, or of kValueRun for values of int8.
  const uint8_t* part(int64_t layer, int64_t head, Part part, int64_t position) const {
    return plane(layer, head, part, position);
  }

  // Bytes of `positions` positions.
  static int64_t bytes_for(const KvShape& shape, int64_t positions);
  // Bytes of the filled positions of all caches alive in this process, and their peak.
  static int64_t live_bytes();
  static int64_t peak_bytes();
  static void reset_peak();

 private:
  struct Plane {
    int64_t unit = 1;   // positions that lie together
    int64_t bytes = 0;  // of one unit
    int64_t offset = 0;
  };

  KvCache() = default;
  void release();
  void lay_out();
  uint8_t* plane(int64_t layer, int64_t head, Part part, int64_t position) const {
    const Plane& p = planes_[part];
    return data_ + (layer * shape_.kv_heads + head) * head_bytes_ + p.offset +
           position / p.unit * p.bytes;
  }
  // Row `position` of the keys or the values, in elements from the beginning of its unit.
  int64_t place(Part part, int64_t position, int64_t i) const;
  void write_row(int64_t layer, int64_t head, Part part, int64_t position, const float* x);
  void write_int4(int64_t layer, int64_t head, Part part, int64_t position, const float* x);
  void read_row(int64_t layer, int64_t head, Part part, int64_t position, float* x) const;

  KvShape shape_{};
  Plane planes_[kParts];
  int64_t capacity_ = 0, length_ = 0;
  int64_t head_bytes_ = 0, mapped_bytes_ = 0;
  int64_t counted_ = 0;  // positions counted in live_bytes(): the most that were ever filled
  bool in_huge_pages_ = false;
  uint8_t* data_ = nullptr;
};

}  // namespace lathe
