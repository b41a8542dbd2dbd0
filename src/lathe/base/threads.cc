#include "lathe/base/threads.h"

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

constexpr uint32_t kOpen = 1u << 15, kInside = kOpen - 1, kJob = 1u << 16;

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

}  // namespace

int ThreadPool::available_cores() { return chosen_cores().threads; }

ThreadPool::ThreadPool(int threads) {
  const CoreChoice cores = chosen_cores(threads);
  size_ = std::clamp(threads > 0 ? threads : cores.threads, 1, static_cast<int>(kInside));
  for (int i = 1; i < size_; ++i) {
    workers_.emplace_back([this] { work(); });
    if (!cores.bind.empty()) bind_thread(workers_.back(), cores.bind);
  }
}

ThreadPool::~ThreadPool() {
  stop_.store(true);
  state_.fetch_add(kJob);
  state_.notify_all();
  for (auto& worker : workers_) worker.join();
}

// Takes large pieces first and single grains at the end: few claims, whose memory is read in long
// runs, give an even end.
void ThreadPool::claim() {
  int64_t at = next_.load(std::memory_order_relaxed);
  while (at < grains_) {
    const int64_t take = std::max<int64_t>(1, (grains_ - at) / (2 * size_));
    if (!next_.compare_exchange_weak(at, at + take, std::memory_order_relaxed)) continue;
    call_(fn_, at * grain_, std::min(count_, (at + take) * grain_));
    at = next_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::run(Call call, void* fn, int64_t count, int64_t grain) {
  call_ = call;
  fn_ = fn;
  count_ = count;
  grain_ = std::max<int64_t>(1, grain);
  grains_ = (count_ + grain_ - 1) / grain_;
  next_.store(0, std::memory_order_relaxed);
  state_.fetch_add(kJob | kOpen);
  state_.notify_all();
  claim();
  // Nothing is left to claim: who has not come yet need not come, and is not waited for.
  state_.fetch_and(~kOpen);
  const auto nobody_inside = [](uint32_t s) { return (s & kInside) == 0; };
  for (uint32_t s = spin(state_, kCallerSpin, nobody_inside); !nobody_inside(s);
       s = state_.load(std::memory_order_acquire)) {
    state_.wait(s, std::memory_order_acquire);
  }
}

void ThreadPool::work() {
  uint32_t last_job = 0;
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
    claim();
    const uint32_t before = state_.fetch_sub(1, std::memory_order_acq_rel);
    if ((before & kInside) == 1) state_.notify_all();
  }
}

}  // namespace lathe
