#include "lathe/io/direct_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "lathe/base/check.h"

namespace lathe {
namespace {

constexpr int64_t kPiece = int64_t{1} << 20;
constexpr size_t kPieces = 8;
constexpr std::align_val_t kAlignment{DirectWriter::kBlock};

struct Free {
  void operator()(uint8_t* p) const { ::operator delete(p, kAlignment); }
};
using Buffer = std::unique_ptr<uint8_t, Free>;

struct Job {
  Buffer data;
  int64_t offset, size;
  bool overlaps(int64_t begin, int64_t end) const { return offset < end && begin < offset + size; }
};

}  // namespace

struct DirectWriter::Impl {
  int direct = -1, plain = -1;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::deque<Job> jobs;  // the first is being written
  std::vector<Buffer> buffers;
  int error = 0;
  bool stop = false;
  std::thread thread;

  ~Impl() {
    {
      const std::lock_guard lock(mutex);
      stop = true;
    }
    changed.notify_all();
    if (thread.joinable()) thread.join();
    if (direct >= 0) ::close(direct);
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stop || !jobs.empty(); });
      if (stop) return;
      int failed = error;
      if (!failed) {
        const Job& job = jobs.front();  // push_back() leaves references to a deque valid
        lock.unlock();
        failed = put(job);
        lock.lock();
      }
      if (!error) error = failed;
      buffers.push_back(std::move(jobs.front().data));
      jobs.pop_front();
      changed.notify_all();
    }
  }

  int put(const Job& job) {
    for (int64_t done = 0; done < job.size;) {
      const ssize_t got = ::pwrite(direct >= 0 ? direct : plain, job.data.get() + done,
                                   static_cast<size_t>(job.size - done), job.offset + done);
      if (got < 0 && errno == EINTR) continue;
      // A file system may take the flag and refuse the write, or stop inside a block.
      const bool refused = got < 0 && errno == EINVAL;
      if (direct >= 0 && (refused || (got > 0 && got % kBlock != 0))) {
        ::close(direct);
        direct = -1;
        if (refused) continue;
      }
      if (got <= 0) return got < 0 ? errno : ENOSPC;
      done += got;
    }
    return 0;
  }
};

DirectWriter::DirectWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DirectWriter::~DirectWriter() = default;

std::unique_ptr<DirectWriter> DirectWriter::open(int fd) {
  // Not by the file's name, which may be another's by now.
  const std::string same = "/proc/self/fd/" + std::to_string(fd);
  const int direct = ::open(same.c_str(), O_WRONLY | O_DIRECT | O_CLOEXEC);
  if (direct < 0) return nullptr;
  auto impl = std::make_unique<Impl>();
  impl->direct = direct;
  impl->plain = fd;
  impl->thread = std::thread([raw = impl.get()] { raw->work(); });
  return std::unique_ptr<DirectWriter>(new DirectWriter(std::move(impl)));
}

void DirectWriter::write(int64_t offset, std::span<const uint8_t> bytes) {
  LATHE_CHECK(offset % kBlock == 0 && static_cast<int64_t>(bytes.size()) % kBlock == 0);
  while (!bytes.empty()) {
    Buffer buffer;
    {
      std::unique_lock lock(impl_->mutex);
      impl_->changed.wait(lock, [&] { return impl_->jobs.size() < kPieces; });
      if (!impl_->buffers.empty()) {
        buffer = std::move(impl_->buffers.back());
        impl_->buffers.pop_back();
      }
    }
    if (!buffer) {
      buffer.reset(static_cast<uint8_t*>(::operator new(static_cast<size_t>(kPiece), kAlignment)));
    }
    const auto size = std::min<size_t>(kPiece, bytes.size());
    std::memcpy(buffer.get(), bytes.data(), size);
    {
      const std::lock_guard lock(impl_->mutex);
      impl_->jobs.push_back({std::move(buffer), offset, static_cast<int64_t>(size)});
    }
    impl_->changed.notify_all();
    offset += static_cast<int64_t>(size);
    bytes = bytes.subspan(size);
  }
}

void DirectWriter::settle(int64_t offset, int64_t size) {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [&] {
    return std::none_of(impl_->jobs.begin(), impl_->jobs.end(),
                        [&](const Job& job) { return job.overlaps(offset, offset + size); });
  });
}

int DirectWriter::finish() {
  std::unique_lock lock(impl_->mutex);
  impl_->changed.wait(lock, [&] { return impl_->jobs.empty(); });
  return impl_->error;
}

int DirectWriter::error() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->error;
}

}  // namespace lathe
