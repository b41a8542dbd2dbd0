#include "lathe/backend/cpu/block.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

namespace lathe::cpu {
namespace {

constexpr int64_t kHugePage = int64_t{2} << 20;
constexpr int64_t kChunk = 16 * kHugePage;
// Smaller ones come from the C library, whose checkers see what is read behind their end.
constexpr int64_t kShared = 64 << 10;
constexpr int64_t kAlignment = 64;

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Whole huge pages from the system, zeroed and given page by page.
class Chunk {
 public:
  explicit Chunk(int64_t bytes) : size_(round_up(bytes, kHugePage)) {
    mapped_ = static_cast<size_t>(size_ + kHugePage);  // to find an aligned start in it
    void* p = ::mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) throw std::bad_alloc();
    mapping_ = static_cast<uint8_t*>(p);
    const int64_t past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(mapping_) % kHugePage);
    data_ = mapping_ + (past == 0 ? 0 : kHugePage - past);
    ::madvise(data_, static_cast<size_t>(size_), MADV_HUGEPAGE);
  }
  ~Chunk() { ::munmap(mapping_, mapped_); }
  Chunk(const Chunk&) = delete;
  Chunk& operator=(const Chunk&) = delete;

  // Null if it does not fit.
  uint8_t* take(int64_t bytes) {
    if (used_ + bytes > size_) return nullptr;
    uint8_t* p = data_ + used_;
    used_ += round_up(bytes, kAlignment);
    return p;
  }

 private:
  uint8_t *mapping_ = nullptr, *data_ = nullptr;
  size_t mapped_ = 0;
  int64_t size_, used_ = 0;
};

std::shared_ptr<uint8_t> take_shared(int64_t bytes) {
  static std::mutex mutex;
  static std::weak_ptr<Chunk> current;
  const std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<Chunk> chunk = current.lock();
  uint8_t* p = chunk ? chunk->take(bytes) : nullptr;
  if (!p) {
    chunk = std::make_shared<Chunk>(std::max(bytes, kChunk));
    p = chunk->take(bytes);
    // A block as large as a chunk leaves no room in its own.
    if (bytes < kChunk) current = chunk;
  }
  return {std::move(chunk), p};
}

}  // namespace

Block::Block(int64_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  if (bytes >= kShared) {
    data_ = take_shared(bytes);
    return;
  }
  const auto held = static_cast<size_t>(round_up(bytes, kAlignment));
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(static_cast<size_t>(kAlignment), held));
  if (!p) throw std::bad_alloc();
  std::memset(p, 0, held);
  data_ = std::shared_ptr<uint8_t>(p, std::free);
}

}  // namespace lathe::cpu
