// A fixed pool of worker threads with a spinning hand-off. Passed explicitly in a context, never
// global. Each thread has a range of its own, from whose beginning it takes piece by piece, so that
// it goes through memory in one direction; who is done takes from the end of another's, so that a
// worker whose core is busy elsewhere holds nobody up; every output element is computed by one
// thread in one order, so that results do not depend on the number of threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>
#include <vector>

namespace lathe {

class ThreadPool {
 public:
  // Memory that a thread asks for while it waits. It is never read, so that nothing happens if it
  // is gone.
  struct Soon {
    const uint8_t* data = nullptr;
    int64_t bytes = 0;
  };
  static constexpr size_t kMostSoon = 4;

  // `threads` counts the calling thread; 0 means one per core that cores.h chooses. Workers are
  // kept on those cores where the machine has better and worse ones for them.
  explicit ThreadPool(int threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const { return size_; }

  // Calls fn(begin, end) on disjoint ranges that cover [0, count), the calling thread included.
  // No range but the last is shorter than `grain`, and all begin at multiples of it; which ranges
  // they are differs from call to call. Work of up to one grain stays on the calling thread. Not
  // reentrant: a call from inside `fn` runs on the calling thread alone.
  //
  // `soon` holds nothing, or for each thread equally many ranges that it will read first in the
  // next job, one thread after the other; more than kMostSoon are left out.
  template <typename Fn>
  void parallel_for(int64_t count, int64_t grain, Fn&& fn, std::span<const Soon> soon = {}) {
    if (count <= 0) return;
    if (size_ == 1 || count <= grain || busy_.exchange(true)) return fn(int64_t{0}, count);
    auto call = [](void* f, int64_t begin, int64_t end) {
      (*static_cast<std::remove_reference_t<Fn>*>(f))(begin, end);
    };
    soon_ = soon;
    run(call, const_cast<void*>(static_cast<const void*>(&fn)), count, grain);
    busy_.store(false);
  }

  // Where the own range of a thread begins when `grains` are divided.
  int64_t own_begin(int64_t grains, int thread) const { return grains * thread / size_; }

  // The threads that a pool of size 0 gets: see chosen_cores().
  static int available_cores();

 private:
  using Call = void (*)(void*, int64_t, int64_t);
  void run(Call call, void* fn, int64_t count, int64_t grain);
  void work(int index);
  void claim(int index);
  std::span<const Soon> soon_of(int index) const {
    const size_t each = soon_.size() / static_cast<size_t>(size_);
    return soon_.subspan(each * static_cast<size_t>(index), std::min(each, kMostSoon));
  }

  int size_;
  std::atomic<bool> busy_{false};
  std::atomic<bool> stop_{false};
  // The job, written by the caller while no worker is inside.
  Call call_ = nullptr;
  void* fn_ = nullptr;
  std::span<const Soon> soon_;
  int64_t count_ = 0, grain_ = 1;
  // Who may touch the job: its number in the high bits, whether it is open, and the workers inside.
  alignas(64) std::atomic<uint32_t> state_{0};
  // Grains of a thread's range that nobody has claimed: the first in the low half, the end in the
  // high half.
  struct alignas(64) Range {
    std::atomic<uint64_t> left{0};
  };
  std::unique_ptr<Range[]> ranges_;
  std::vector<std::thread> workers_;
};

}  // namespace lathe
