#include "lathe/base/threads.h"

#include <array>
#include <chrono>

#if defined(__linux__)
#include <pthread.h>
#include <sched.h>
#endif
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "lathe/base/cores.h"

namespace lathe {
namespace {

// Between two operations of a decode step a worker waits some microseconds; one that waits longer
// gives its core back to the system. Waking it again costs some 50 µs.
constexpr std::chrono::microseconds kWorkerSpin{100};
// The caller waits for the last pieces of work, which are short. If one takes longer, its worker
// has lost its core, and might need ours.
constexpr std::chrono::microseconds kCallerSpin{50};
// What is asked for while waiting stays in the second-level cache. The caller has no time but for
// the first lines, unless it waits for others.
constexpr int64_t kWorkerAsks = 512 << 10, kCallerAsks = 64 << 10, kCallerAsksAlways = 1 << 10;

constexpr uint32_t kOpen = 1u << 15, kInside = kOpen - 1, kJob = 1u << 16;

constexpr int kGrainBits = 32;
constexpr uint64_t kGrainMask = (uint64_t{1} << kGrainBits) - 1;
constexpr uint64_t packed_range(uint64_t begin, uint64_t end) { return end << kGrainBits | begin; }

inline void prefetch([[maybe_unused]] const void* p) {
#if defined(__GNUC__)
  __builtin_prefetch(p, 0, 2);
#endif
}

inline void pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Looks at `state` until `done` says so or the time is over; gives what it saw last.
template <typename Done>
uint32_t spin(const std::atomic<uint32_t>& state, std::chrono::microseconds time, Done done) {
  uint32_t seen = state.load(std::memory_order_acquire);
  if (done(seen)) return seen;
  const auto end = std::chrono::steady_clock::now() + time;
  do {
    for (int i = 0; i < 16; ++i) {
      pause();
      seen = state.load(std::memory_order_acquire);
      if (done(seen)) return seen;
    }
  } while (std::chrono::steady_clock::now() < end);
  return seen;
}

// Asks for memory, a few lines at a time, for the first `always` bytes in any case and then until
// there is something else to do.
template <typename Done>
void ask_for(std::span<const ThreadPool::Soon> soon, int64_t always, int64_t most,
             const std::atomic<uint32_t>& state, Done done) {
  constexpr int64_t kAtOnce = 512;
  int64_t asked = 0;
  for (const auto& [data, bytes] : soon) {
    for (int64_t at = 0; at < bytes && asked < most; at += kAtOnce, asked += kAtOnce) {
      if (asked >= always && done(state.load(std::memory_order_acquire))) return;
      for (int64_t line = at; line < at + kAtOnce; line += 64) prefetch(data + line);
    }
  }
}

}  // namespace

int ThreadPool::available_cores() { return chosen_cores().threads; }

ThreadPool::ThreadPool(int threads) {
  const CoreChoice cores = chosen_cores(threads);
  size_ = std::clamp(threads > 0 ? threads : cores.threads, 1, static_cast<int>(kInside));
  ranges_ = std::make_unique<Range[]>(static_cast<size_t>(size_));
  for (int i = 1; i < size_; ++i) {
    workers_.emplace_back([this, i] { work(i); });
    if (!cores.bind.empty()) bind_thread(workers_.back(), cores.bind);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  state_.fetch_add(kJob);
  state_.notify_all();
  for (auto& worker : workers_) worker.join();
}

// Half of what is left of the thread's own range at a time, from its beginning; then half of what
// another has left, from its end.
void ThreadPool::claim(int index) {
  for (int i = 0; i < size_; ++i) {
    std::atomic<uint64_t>& range = ranges_[(index + i) % size_].left;
    uint64_t left = range.load(std::memory_order_relaxed);
    while (true) {
      const uint64_t begin = left & kGrainMask, end = left >> kGrainBits;
      if (begin >= end) break;
      const uint64_t take = (end - begin + 1) / 2, from = i == 0 ? begin : end - take;
      const uint64_t rest = i == 0 ? packed_range(begin + take, end) : packed_range(begin, from);
      if (!range.compare_exchange_weak(left, rest, std::memory_order_relaxed)) continue;
      const auto first = static_cast<int64_t>(from), count = static_cast<int64_t>(take);
      call_(fn_, first * grain_, std::min(count_, (first + count) * grain_));
      left = range.load(std::memory_order_relaxed);
    }
  }
}

void ThreadPool::run(Call call, void* fn, int64_t count, int64_t grain) {
  call_ = call;
  fn_ = fn;
  count_ = count;
  grain_ = std::max<int64_t>(1, grain);
  // A larger grain where their number would not fit into half of a range.
  grain_ *= 1 + count_ / grain_ / static_cast<int64_t>(kGrainMask);
  const int64_t grains = (count_ + grain_ - 1) / grain_;
  for (int i = 0; i < size_; ++i) {
    const int64_t begin = own_begin(grains, i), end = own_begin(grains, i + 1);
    ranges_[i].left.store(packed_range(begin, end), std::memory_order_relaxed);
  }
  state_.fetch_add(kJob | kOpen);
  state_.notify_all();
  claim(0);
  // Nothing is left to claim: who has not come yet need not come, and is not waited for.
  state_.fetch_and(~kOpen);
  const auto nobody_inside = [](uint32_t s) { return (s & kInside) == 0; };
  ask_for(soon_of(0), kCallerAsksAlways, kCallerAsks, state_, nobody_inside);
  for (uint32_t s = spin(state_, kCallerSpin, nobody_inside); !nobody_inside(s);
       s = state_.load(std::memory_order_acquire)) {
    state_.wait(s, std::memory_order_acquire);
  }
}

void ThreadPool::work(int index) {
  uint32_t last_job = 0;
  std::array<Soon, kMostSoon> soon;
  while (true) {
    const auto new_job = [&](uint32_t s) { return s / kJob != last_job; };
    uint32_t s = spin(state_, kWorkerSpin, new_job);
    while (!new_job(s)) {
      state_.wait(s, std::memory_order_acquire);
      s = state_.load(std::memory_order_acquire);
    }
    last_job = s / kJob;
    if (stop_.load()) return;
    // An open job cannot change under a worker that has counted itself in.
    bool inside = false;
    while ((s & kOpen) != 0 && s / kJob == last_job && !inside) {
      inside = state_.compare_exchange_weak(s, s + 1, std::memory_order_acquire);
    }
    if (!inside) continue;
    claim(index);
    // The caller's list is gone when the last worker has left: the ranges are copied.
    const auto ours = soon_of(index);
    std::copy(ours.begin(), ours.end(), soon.begin());
    const uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kInside) == 1) state_.notify_all();
    ask_for(std::span(soon).first(ours.size()), 0, kWorkerAsks, state_, new_job);
  }
}

}  // namespace lathe
