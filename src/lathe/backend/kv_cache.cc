#include "lathe/backend/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <utility>

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

constexpr std::array<const char*, 4> kNames = {"f32", "f16", "bf16", "int8"};

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// What encodes and decodes one element; int8 with the scale of its row.
struct Codec {
  KvType type;
  float scale;  // int8 only

  void put(uint8_t* base, int64_t i, float x) const {
    if (type == KvType::kF32) {
      std::memcpy(base + 4 * i, &x, 4);
    } else if (type == KvType::kInt8) {
      // Not finite, or all zeros: the scale says it all.
      const bool usable = scale > 0 && std::isfinite(scale);
      const auto q = static_cast<int8_t>(usable ? std::lrint(x / scale) : 0);
      std::memcpy(base + i, &q, 1);
    } else {
      const uint16_t h = type == KvType::kF16 ? f32_to_f16(x) : f32_to_bf16(x);
      std::memcpy(base + 2 * i, &h, 2);
    }
  }

  float get(const uint8_t* base, int64_t i) const {
    float x = 0;
    if (type == KvType::kF32) {
      std::memcpy(&x, base + 4 * i, 4);
    } else if (type == KvType::kInt8) {
      x = scale * static_cast<float>(static_cast<int8_t>(base[i]));
    } else {
      uint16_t h = 0;
      std::memcpy(&h, base + 2 * i, 2);
      x = type == KvType::kF16 ? f16_to_f32(h) : bf16_to_f32(h);
    }
    return x;
  }
};

float scale_of(const float* x, int64_t n) {
  float most = 0;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    most = std::max(most, std::abs(x[i]));
    finite = finite && std::isfinite(x[i]);
  }
  return finite ? most / 127.0f : NAN;
}

}  // namespace

std::string name_of(KvType type) { return kNames[static_cast<size_t>(type)]; }

Result<KvType> parse_kv_type(const std::string& name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i]) return static_cast<KvType>(i);
  }
  return bad_input("unknown type '{}' of the key-value cache", name)
      .with_hint(suggest(name, {kNames.begin(), kNames.end()}));
}

int64_t element_bytes(KvType type) {
  return type == KvType::kF32 ? 4 : type == KvType::kInt8 ? 1 : 2;
}

int64_t KvCache::bytes_for(const KvShape& shape, int64_t positions) {
  const int64_t scales = shape.type == KvType::kInt8 ? 2 * 4 : 0;
  const int64_t elements = shape.key_stride() + shape.value_stride();
  const int64_t row = elements * element_bytes(shape.type) + scales;
  return shape.layers * shape.kv_heads * positions * row;
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
  cache.rounded_ = round_up(std::max<int64_t>(1, capacity), kValueRun);
  const int64_t size = element_bytes(shape.type);
  cache.key_bytes_ = round_up(cache.rounded_ * shape.key_stride() * size, 64);
  cache.scale_offset_ =
      cache.key_bytes_ + round_up(cache.rounded_ * shape.value_stride() * size, 64);
  cache.head_bytes_ = cache.scale_offset_;
  if (shape.type == KvType::kInt8) cache.head_bytes_ += 2 * 4 * cache.rounded_;
  cache.mapped_bytes_ = std::max<int64_t>(1, shape.layers * shape.kv_heads * cache.head_bytes_);
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

int64_t KvCache::key_at(int64_t position, int64_t i) const {
  const int64_t block = position / kKeyBlock * kKeyBlock * shape_.key_stride();
  const int64_t lane = position % kKeyBlock;
  if (shape_.type != KvType::kInt8) return block + i * kKeyBlock + lane;
  return block + (i / 4 * kKeyBlock + lane) * 4 + i % 4;
}

int64_t KvCache::value_at(int64_t position, int64_t i) const {
  if (shape_.type != KvType::kInt8) return position * shape_.value_stride() + i;
  const int64_t run = position / kValueRun * kValueRun * shape_.value_stride();
  return run + i / 16 * 16 * kValueRun + (position % kValueRun / 4 * 16 + i % 16) * 4 +
         position % 4;
}

void KvCache::write(int64_t layer, int64_t head, int64_t position, const float* key,
                    const float* value) {
  uint8_t* keys = at(layer, head);
  uint8_t* values = keys + key_bytes_;
  Codec of_key{shape_.type, 0}, of_value{shape_.type, 0};
  if (shape_.type == KvType::kInt8) {
    float* s = scales(layer, head);
    of_key.scale = s[position] = scale_of(key, shape_.head_size);
    of_value.scale = s[rounded_ + position] = scale_of(value, shape_.head_size);
  }
  for (int64_t i = 0; i < shape_.head_size; ++i) {
    of_key.put(keys, key_at(position, i), key[i]);
    of_value.put(values, value_at(position, i), value[i]);
  }
}

void KvCache::read(int64_t layer, int64_t head, int64_t position, float* key, float* value) const {
  const uint8_t* keys = at(layer, head);
  const uint8_t* values = keys + key_bytes_;
  Codec of_key{shape_.type, 0}, of_value{shape_.type, 0};
  if (shape_.type == KvType::kInt8) {
    of_key.scale = scales(layer, head)[position];
    of_value.scale = scales(layer, head)[rounded_ + position];
  }
  for (int64_t i = 0; i < shape_.head_size; ++i) {
    key[i] = of_key.get(keys, key_at(position, i));
    value[i] = of_value.get(values, value_at(position, i));
  }
}

KvCache::KvCache(KvCache&& other) noexcept { *this = std::move(other); }

KvCache& KvCache::operator=(KvCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  shape_ = other.shape_;
  capacity_ = std::exchange(other.capacity_, 0);
  length_ = std::exchange(other.length_, 0);
  rounded_ = other.rounded_;
  key_bytes_ = other.key_bytes_;
  scale_offset_ = other.scale_offset_;
  head_bytes_ = other.head_bytes_;
  mapped_bytes_ = std::exchange(other.mapped_bytes_, 0);
  counted_ = std::exchange(other.counted_, 0);
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
}

void KvCache::copy_prefix(const KvCache& other, int64_t positions) {
  LATHE_CHECK(shape_.layers == other.shape_.layers && shape_.kv_heads == other.shape_.kv_heads &&
              shape_.head_size == other.shape_.head_size && shape_.type == other.shape_.type);
  LATHE_CHECK(0 <= positions && positions <= other.length_ && positions <= capacity_);
  const int64_t element = element_bytes(shape_.type);
  // The last block and the last run may be half full.
  const int64_t of_keys = round_up(positions, kKeyBlock);
  const int64_t of_values =
      shape_.type == KvType::kInt8 ? round_up(positions, kValueRun) : positions;
  const auto key_bytes = static_cast<size_t>(of_keys * shape_.key_stride() * element);
  const auto value_bytes = static_cast<size_t>(of_values * shape_.value_stride() * element);
  const auto scale_bytes = static_cast<size_t>(positions) * sizeof(float);
  for (int64_t layer = 0; layer < shape_.layers; ++layer) {
    for (int64_t head = 0; head < shape_.kv_heads; ++head) {
      std::memcpy(at(layer, head), other.at(layer, head), key_bytes);
      std::memcpy(at(layer, head) + key_bytes_, other.at(layer, head) + other.key_bytes_,
                  value_bytes);
      if (shape_.type != KvType::kInt8) continue;
      std::memcpy(scales(layer, head), other.scales(layer, head), scale_bytes);
      std::memcpy(scales(layer, head) + rounded_, other.scales(layer, head) + other.rounded_,
                  scale_bytes);
    }
  }
  set_length(positions);
}

int64_t KvCache::live_bytes() { return live.load(); }
int64_t KvCache::peak_bytes() { return peak.load(); }
void KvCache::reset_peak() { peak.store(live.load()); }

}  // namespace lathe
