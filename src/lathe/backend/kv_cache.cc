#include "lathe/backend/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include <fmt/ranges.h>

#include "lathe/base/memory.h"
#include "lathe/base/suggest.h"
#include "lathe/tensor/dtype.h"

namespace lathe {
namespace {

std::atomic<int64_t> live{0}, peak{0};

void count(int64_t bytes) {
  const int64_t now = live.fetch_add(bytes) + bytes;
  int64_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

constexpr std::array<const char*, 5> kNames = {"f32", "f16", "bf16", "int8", "int4"};

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Bits of one element, scales and offsets not counted.
int64_t element_bits(KvType type) {
  switch (type) {
    case KvType::kF32:
      return 32;
    case KvType::kF16:
    case KvType::kBf16:
      return 16;
    case KvType::kInt8:
      return 8;
    case KvType::kInt4:
      break;
  }
  return 4;
}

// Below this the pages that attention goes through are few enough.
constexpr int64_t kLargeCache = int64_t{16} << 20;

// Attention over a long cache waits for page tables as much as for memory. Collapsing copies what
// is there once; a system that cannot do it keeps small pages.
void use_huge_pages(uint8_t* data, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr int kMadvCollapse = 25;  // MADV_COLLAPSE of Linux 6.1, which older headers lack
  const auto size = static_cast<size_t>(bytes);
  if (::madvise(data, size, MADV_HUGEPAGE) == 0) ::madvise(data, size, kMadvCollapse);
#endif
}

float scale_of(const float* x, int64_t n) {
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  return finite ? most / 127.0f : NAN;
}

float f16_at(const uint8_t* p, int64_t i) {
  uint16_t h = 0;
  std::memcpy(&h, p + 2 * i, 2);
  return f16_to_f32(h);
}

void put_f16(uint8_t* p, int64_t i, float x) {
  const uint16_t h = f32_to_f16(x);
  std::memcpy(p + 2 * i, &h, 2);
}

}  // namespace

std::string name_of(KvType type) { return kNames[static_cast<size_t>(type)]; }

std::string kv_type_names() { return fmt::format("{}", fmt::join(kNames, ", ")); }

Result<KvType> parse_kv_type(const std::string& name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<KvType>(i);
  }
  return bad_input("unknown type '{}' of the key-value cache", name)
      .with_hint(suggest(name, {kNames.begin(), kNames.end()}));
}

int64_t KvCache::bytes_for(const KvShape& shape, int64_t positions) {
  const int64_t elements = shape.key_stride() + shape.value_stride();
  int64_t row = elements * element_bits(shape.type) / 8;
  if (shape.type == KvType::kInt8) row += 2 * 4;
  if (shape.type == KvType::kInt4) row += 2 * 2 * 2 * shape.groups();
  return shape.layers * shape.kv_heads * positions * row;
}

void KvCache::lay_out() {
  const KvType type = shape_.type;
  const bool packed = type == KvType::kInt8 || type == KvType::kInt4;
  const auto unit = [&](int64_t positions, int64_t row_bits) {
    return Plane{positions, positions * row_bits / 8, 0};
  };
  const int64_t bits = element_bits(type);
  planes_[kKeys] = unit(kKeyBlock, shape_.key_stride() * bits);
  planes_[kValues] = unit(type == KvType::kInt8 ? kValueRun
                          : packed              ? kKeyBlock
                                                : 1,
                          shape_.value_stride() * bits);
  if (type == KvType::kInt8) planes_[kKeyScales] = planes_[kValueScales] = unit(kKeyBlock, 32);
  if (type == KvType::kInt4) {
    for (const Part part : {kKeyScales, kValueScales, kKeyOffsets, kValueOffsets}) {
      planes_[part] = unit(kKeyBlock, 16 * shape_.groups());
    }
  }
  const int64_t rounded = round_up(std::max<int64_t>(1, capacity_), kValueRun);
  for (Plane& p : planes_) {
    p.offset = head_bytes_;
    head_bytes_ += round_up(rounded / p.unit * p.bytes, 64);
  }
  mapped_bytes_ = std::max<int64_t>(1, shape_.layers * shape_.kv_heads * head_bytes_);
}

Result<KvCache> KvCache::create(const KvShape& shape, int64_t capacity) {
  const int64_t needed = bytes_for(shape, capacity), available = available_memory_bytes();
  if (needed > available) {
    return no_room("a key-value cache of {} positions needs {} MB, {} MB are free", capacity,
                   needed >> 20, available >> 20)
        .with_hint("use a shorter context or a smaller batch");
  }
  KvCache cache;
  cache.shape_ = shape;
  cache.capacity_ = capacity;
  cache.lay_out();
  void* address = ::mmap(nullptr, static_cast<size_t>(cache.mapped_bytes_), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return no_room("a key-value cache of {} positions needs {} bytes", capacity,
                   cache.mapped_bytes_)
        .with_hint("use a shorter context, a smaller batch or a smaller type (--kv)");
  }
  cache.data_ = static_cast<uint8_t*>(address);
  return cache;
}

int64_t KvCache::place(Part part, int64_t position, int64_t i) const {
  const int64_t lane = position % kKeyBlock;
  switch (shape_.type) {
    case KvType::kInt8:
      if (part == kKeys) return (i / 4 * kKeyBlock + lane) * 4 + i % 4;
      return i / 16 * 16 * kValueRun + (position % kValueRun / 4 * 16 + i % 16) * 4 + position % 4;
    case KvType::kInt4:  // of nibbles: columns 4 … 7 of eight are the high halves
      return (i / 8 * kKeyBlock + lane) * 8 + i % 4 * 2 + i % 8 / 4;
    default:
      return part == kKeys ? i * kKeyBlock + lane : i;
  }
}

void KvCache::write_int4(int64_t layer, int64_t head, Part part, int64_t position, const float* x) {
  const bool keys = part == kKeys;
  uint8_t* codes = plane(layer, head, part, position);
  uint8_t* scales = plane(layer, head, keys ? kKeyScales : kValueScales, position);
  uint8_t* offsets = plane(layer, head, keys ? kKeyOffsets : kValueOffsets, position);
  const int64_t lane = position % kKeyBlock;
  for (int64_t g = 0; g < shape_.groups(); ++g) {
    const int64_t from = g * KvShape::kGroup;
    const int64_t to = std::min(from + KvShape::kGroup, shape_.head_size);
    float least = x[from], most = x[from];
    bool finite = true;
    for (int64_t i = from; i < to; ++i) {
      least = std::min(least, x[i]);
      most = std::max(most, x[i]);
      finite = finite && std::isfinite(x[i]);
    }
    const int64_t at = g * kKeyBlock + lane;
    put_f16(offsets, at, least);
    const float offset = f16_at(offsets, at);
    put_f16(scales, at, (most - offset) / 15.0f);
    const float scale = f16_at(scales, at);
    finite = finite && std::isfinite(offset) && std::isfinite(scale);
    if (!finite) put_f16(scales, at, NAN);
    const float inverse = finite && scale > 0 ? 1.0f / scale : 0.0f;
    for (int64_t i = from; i < to; ++i) {
      const float q = finite ? std::clamp((x[i] - offset) * inverse, 0.0f, 15.0f) : 0.0f;
      const int64_t nibble = place(part, position, i);
      uint8_t& byte = codes[nibble / 2];
      const int shift = nibble % 2 == 0 ? 0 : 4;
      byte = static_cast<uint8_t>((byte & (0xf0 >> shift)) | (std::lrint(q) << shift));
    }
  }
}

void KvCache::write_row(int64_t layer, int64_t head, Part part, int64_t position, const float* x) {
  if (shape_.type == KvType::kInt4) return write_int4(layer, head, part, position, x);
  uint8_t* row = plane(layer, head, part, position);
  float inverse = 0;  // int8; 0: all zeros, or not finite, which the scale says
  if (shape_.type == KvType::kInt8) {
    const float scale = scale_of(x, shape_.head_size);
    uint8_t* scales = plane(layer, head, part == kKeys ? kKeyScales : kValueScales, position);
    std::memcpy(scales + 4 * (position % kKeyBlock), &scale, 4);
    if (scale > 0 && std::isfinite(scale)) inverse = 1.0f / scale;
  }
  for (int64_t i = 0; i < shape_.head_size; ++i) {
    const int64_t at = place(part, position, i);
    switch (shape_.type) {
      case KvType::kF32:
        std::memcpy(row + 4 * at, x + i, 4);
        break;
      case KvType::kInt8:
        row[at] = static_cast<uint8_t>(
            inverse > 0 ? std::lrint(std::clamp(x[i] * inverse, -127.0f, 127.0f)) : 0);
        break;
      default: {
        const uint16_t h = shape_.type == KvType::kF16 ? f32_to_f16(x[i]) : f32_to_bf16(x[i]);
        std::memcpy(row + 2 * at, &h, 2);
      }
    }
  }
}

void KvCache::read_row(int64_t layer, int64_t head, Part part, int64_t position, float* x) const {
  const bool keys = part == kKeys;
  const uint8_t* row = plane(layer, head, part, position);
  const uint8_t* scales = plane(layer, head, keys ? kKeyScales : kValueScales, position);
  const uint8_t* offsets = plane(layer, head, keys ? kKeyOffsets : kValueOffsets, position);
  const int64_t lane = position % kKeyBlock;
  for (int64_t i = 0; i < shape_.head_size; ++i) {
    const int64_t at = place(part, position, i);
    switch (shape_.type) {
      case KvType::kF32:
        std::memcpy(x + i, row + 4 * at, 4);
        break;
      case KvType::kInt8: {
        float scale = 0;
        std::memcpy(&scale, scales + 4 * lane, 4);
        x[i] = scale * static_cast<float>(static_cast<int8_t>(row[at]));
        break;
      }
      case KvType::kInt4: {
        const int64_t group = i / KvShape::kGroup * kKeyBlock + lane;
        const int code = at % 2 == 0 ? row[at / 2] & 15 : row[at / 2] >> 4;
        x[i] = std::fma(f16_at(scales, group), static_cast<float>(code), f16_at(offsets, group));
        break;
      }
      case KvType::kF16:
        x[i] = f16_at(row, at);
        break;
      case KvType::kBf16: {
        uint16_t h = 0;
        std::memcpy(&h, row + 2 * at, 2);
        x[i] = bf16_to_f32(h);
      }
    }
  }
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float* key,
                    const float* value) {
  write_row(layer, head, kKeys, position, key);
  write_row(layer, head, kValues, position, value);
}

void KvCache::read(int64_t layer, int64_t head, int64_t position, float* key, float* value) const {
  read_row(layer, head, kKeys, position, key);
  read_row(layer, head, kValues, position, value);
}

KvCache::KvCache(KvCache&& other) noexcept { *this = std::move(other); }

KvCache& KvCache::operator=(KvCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  shape_ = other.shape_;
  capacity_ = std::exchange(other.capacity_, 0);
  length_ = std::exchange(other.length_, 0);
  std::copy(std::begin(other.planes_), std::end(other.planes_), planes_);
  head_bytes_ = other.head_bytes_;
  mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  counted_ = std::exchange(other.counted_, 0);
  in_huge_pages_ = std::exchange(other.in_huge_pages_, false);
  data_ = std::exchange(other.data_, nullptr);
  return *this;
}

KvCache::~KvCache() { release(); }

void KvCache::release() {
  if (!data_) return;
  ::munmap(data_, static_cast<size_t>(mapped_bytes_));
  count(-bytes_for(shape_, counted_));
  data_ = nullptr;
}

void KvCache::set_length(int64_t positions) {
  LATHE_CHECK(0 <= positions && positions <= capacity_);
  if (positions > counted_) {
    count(bytes_for(shape_, positions - counted_));
    counted_ = positions;
  }
  length_ = positions;
  if (!in_huge_pages_ && 2 * positions >= capacity_ && mapped_bytes_ >= kLargeCache) {
    in_huge_pages_ = true;
    use_huge_pages(data_, mapped_bytes_);
  }
}

void KvCache::copy_prefix(const KvCache& other, int64_t positions) {
  LATHE_CHECK(shape_.layers == other.shape_.layers && shape_.kv_heads == other.shape_.kv_heads &&
              shape_.head_size == other.shape_.head_size && shape_.type == other.shape_.type);
  LATHE_CHECK(0 <= positions && positions <= other.length_ && positions <= capacity_);
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      for (int part = 0; part < kParts; ++part) {
        const Plane& p = planes_[part];  // the last unit may be half full
        const auto bytes = static_cast<size_t>((positions + p.unit - 1) / p.unit * p.bytes);
        const auto of = [&](const KvCache& c) {
          return c.plane(layer, head, static_cast<Part>(part), 0);
        };
        std::memcpy(of(*this), of(other), bytes);
      }
    }
  }
  set_length(positions);
}

int64_t KvCache::live_bytes() { return live.load(); }
int64_t KvCache::peak_bytes() { return peak.load(); }
void KvCache::reset_peak() { peak.store(live.load()); }

}  // namespace lathe
