#include "lathe/backend/kv_cache.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace lathe {
namespace {

std::atomic<int64_t> live{0}, peak{0};

void count(int64_t bytes) {
  const int64_t now = live.fetch_add(bytes) + bytes;
  int64_t seen = peak.load();
  while (now > seen && !peak.compare_exchange_weak(seen, now)) {
  }
}

}  // namespace

int64_t KvCache::bytes_for(const KvShape& shape, int64_t positions) {
  return shape.layers * 2 * shape.kv_heads * shape.head_size * positions *
         static_cast<int64_t>(sizeof(float));
}

Result<KvCache> KvCache::create(const KvShape& shape, int64_t capacity) {
  KvCache cache;
  cache.shape_ = shape;
  cache.capacity_ = capacity;
  cache.mapped_bytes_ = std::max<int64_t>(1, bytes_for(shape, capacity));
  void* address = ::mmap(nullptr, static_cast<size_t>(cache.mapped_bytes_), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return no_room("a key-value cache of {} positions needs {} bytes", capacity,
                   cache.mapped_bytes_)
        .with_hint("use a shorter context or a smaller batch");
  }
  cache.data_ = static_cast<float*>(address);
  return cache;
}

KvCache::KvCache(KvCache&& other) noexcept { *this = std::move(other); }

KvCache& KvCache::operator=(KvCache&& other) noexcept {
  if (this == &other) return *this;
  release();
  shape_ = other.shape_;
  capacity_ = std::exchange(other.capacity_, 0);
  length_ = std::exchange(other.length_, 0);
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

int64_t KvCache::live_bytes() { return live.load(); }
int64_t KvCache::peak_bytes() { return peak.load(); }
void KvCache::reset_peak() { peak.store(live.load()); }

}  // namespace lathe
