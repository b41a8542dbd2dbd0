// The pool: every element once, ranges as promised, nested and concurrent calls, and no waiting for
// workers that never get a core.
#include "lathe/base/threads.h"

#include <gtest/gtest.h>

#include <chrono>
#include <numeric>

namespace lathe {
namespace {

TEST(ThreadPool, CoversEveryElementOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    ThreadPool pool(threads);
    EXPECT_EQ(pool.size(), threads);
    for (const int64_t count : {0, 1, 2, 7, 64, 1000, 4097}) {
      for (const int64_t grain : {1, 3, 64, 5000}) {
        std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
        pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
          ASSERT_EQ(begin % grain, 0);
          ASSERT_TRUE(end == count || end - begin >= grain) << begin << " " << end;
          for (int64_t i = begin; i < end; ++i) ++seen[static_cast<size_t>(i)];
        });
        for (const auto& s : seen)
          ASSERT_EQ(s.load(), 1) << threads << " " << count << " " << grain;
      }
    }
  }
}

TEST(ThreadPool, SmallWorkStaysOnTheCaller) {
  ThreadPool pool(4);
  const auto caller = std::this_thread::get_id();
  for (int i = 0; i < 100; ++i) {
    pool.parallel_for(64, 64, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(std::this_thread::get_id(), caller);
      EXPECT_EQ(end - begin, 64);
    });
  }
}

// What each job wrote is visible after it, whoever wrote it; short jobs end before sleeping workers
// arrive, and those must not work on the next one's data.
TEST(ThreadPool, ManyShortJobs) {
  ThreadPool pool(3);
  int64_t total = 0;
  for (int64_t job = 0; job < 20000; ++job) {
    std::vector<int64_t> values(16);
    pool.parallel_for(16, 1, [&values, job](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) values[static_cast<size_t>(i)] = job;
    });
    total += std::accumulate(values.begin(), values.end(), int64_t{0});
    if (job % 4000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(total, 16 * (int64_t{20000} * 19999 / 2));
}

// Ranges are only asked for: memory that is gone, none at all and more ranges than are kept do no
// harm.
TEST(ThreadPool, WhatIsReadSoonChangesNothing) {
  ThreadPool pool(3);
  auto gone = std::make_unique<std::vector<uint8_t>>(1 << 20);
  const std::vector<uint8_t> there(5000);
  std::vector<ThreadPool::Soon> soon;
  for (int i = 0; i < 3 * 6; ++i) {
    soon.push_back(i % 3 == 0   ? ThreadPool::Soon{gone->data(), 1 << 20}
                   : i % 3 == 1 ? ThreadPool::Soon{there.data(), 5000}
                                : ThreadPool::Soon{});
  }
  gone.reset();
  std::atomic<int64_t> total{0};
  for (int job = 0; job < 1000; ++job) {
    pool.parallel_for(
        64, 1,
        [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) total += i;
        },
        soon);
  }
  EXPECT_EQ(total.load(), 1000 * 63 * 32);
}

// Who is done takes from the others: the caller stays in its first piece until the rest is done.
TEST(ThreadPool, RangesOfASlowThreadAreTaken) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> of_worker{0}, done{0};
  pool.parallel_for(64, 1, [&](int64_t begin, int64_t end) {
    done += end - begin;
    if (std::this_thread::get_id() != caller) {
      of_worker += end - begin;
    } else {  // a worker without a core would keep it there for ever
      const auto stop = std::chrono::steady_clock::now() + std::chrono::seconds(5);
      while (done.load() < 64 && std::chrono::steady_clock::now() < stop) std::this_thread::yield();
    }
  });
  EXPECT_EQ(done.load(), 64);
  EXPECT_GE(of_worker.load(), 64 / 2);
}

TEST(ThreadPool, WorkersTakePart) {
  ThreadPool pool(2);
  std::atomic<int> inside{0};
  std::atomic<bool> met{false};
  // Each piece waits until another thread is in one as well, or gives up.
  pool.parallel_for(2, 1, [&](int64_t, int64_t) {
    ++inside;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (inside.load() < 2 && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    if (inside.load() == 2) met = true;
  });
  EXPECT_TRUE(met.load());
}

TEST(ThreadPool, NestedCallsRunOnTheirThread) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  pool.parallel_for(8, 1, [&](int64_t begin, int64_t end) {
    const auto self = std::this_thread::get_id();
    for (int64_t i = begin; i < end; ++i) {
      pool.parallel_for(10, 1, [&](int64_t from, int64_t to) {
        EXPECT_EQ(std::this_thread::get_id(), self);
        sum += to - from;
      });
    }
  });
  EXPECT_EQ(sum.load(), 80);
}

TEST(ThreadPool, TwoCallers) {
  ThreadPool pool(3);
  std::atomic<int64_t> sum{0};
  const auto use = [&] {
    for (int i = 0; i < 2000; ++i) {
      pool.parallel_for(32, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
    }
  };
  std::thread other(use);
  use();
  other.join();
  EXPECT_EQ(sum.load(), 2 * 2000 * 32);
}

// Far more threads than cores: nearly all workers are without one at any time. Waiting for each of
// them in every job would take minutes.
TEST(ThreadPool, DoesNotWaitForThoseWithoutACore) {
  ThreadPool pool(64);
  std::atomic<int64_t> sum{0};
  for (int i = 0; i < 2000; ++i) {
    pool.parallel_for(64, 1, [&](int64_t begin, int64_t end) { sum += end - begin; });
  }
  EXPECT_EQ(sum.load(), 2000 * 64);
}

}  // namespace
}  // namespace lathe
