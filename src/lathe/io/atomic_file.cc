#include "lathe/io/atomic_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "lathe/io/direct_writer.h"

namespace lathe {
namespace {

// Writes of this size go past the page cache.
constexpr int64_t kLarge = int64_t{1} << 20;

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Error write_error(const std::string& path, int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    return failed("{}: cannot write: {}", path, std::strerror(error))
        .with_hint("free some disk space or write elsewhere; nothing was left behind");
  }
  return failed("{}: cannot write: {}", path, std::strerror(error));
}

// Opens a new file beside `path`, with the permissions of any new file, and tells its name.
int open_beside(const std::string& path, std::string& name) {
  static std::atomic<uint32_t> counter{0};
  for (int attempt = 0; attempt < 1000; ++attempt) {
    name = fmt::format("{}.tmp-{}-{}", path, ::getpid(), counter++);
    const int fd = ::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0 || errno != EEXIST) return fd;
  }
  return -1;
}

}  // namespace

struct AtomicFile::Impl {
  std::string path, temporary;
  int fd = -1;
  int64_t size = 0;
  bool broken = false, tried_direct = false;
  std::unique_ptr<DirectWriter> direct;

  ~Impl() {
    direct.reset();
    if (fd >= 0) ::close(fd);
    if (!temporary.empty()) ::unlink(temporary.c_str());
  }

  Status write_at(int64_t offset, std::span<const uint8_t> bytes) {
    LATHE_CHECK(offset >= 0 && fd >= 0 && !broken);
    const auto count = static_cast<int64_t>(bytes.size());
    size = std::max(size, offset + count);
    if (count >= kLarge && !direct && !tried_direct) {
      tried_direct = true;
      direct = DirectWriter::open(fd);
    }
    if (!direct) return write_plainly(offset, bytes);
    direct->settle(offset, count);
    if (count < kLarge) return write_plainly(offset, bytes);
    // Whole blocks, and what stands before and behind them.
    const auto head = static_cast<size_t>(-offset & (DirectWriter::kBlock - 1));
    const size_t blocks = (bytes.size() - head) & ~static_cast<size_t>(DirectWriter::kBlock - 1);
    LATHE_OK(write_plainly(offset, bytes.first(head)));
    direct->write(offset + static_cast<int64_t>(head), bytes.subspan(head, blocks));
    if (const int error = direct->error()) return broken_by(error);
    return write_plainly(offset + static_cast<int64_t>(head + blocks),
                         bytes.subspan(head + blocks));
  }

  Status write_plainly(int64_t offset, std::span<const uint8_t> bytes) {
    size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t got = ::pwrite(fd, bytes.data() + done, bytes.size() - done,
                                   static_cast<off_t>(offset) + static_cast<off_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return broken_by(got < 0 ? errno : ENOSPC);
      done += static_cast<size_t>(got);
    }
    return {};
  }

  Status broken_by(int error) {
    broken = true;
    return write_error(path, error);
  }
};

AtomicFile::AtomicFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;
AtomicFile::~AtomicFile() = default;

Result<int64_t> free_disk_bytes(const std::string& directory) {
  struct statvfs info {};
  if (::statvfs(directory.c_str(), &info) != 0) {
    return failed("{}: cannot ask for free disk space: {}", directory, std::strerror(errno));
  }
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

Result<AtomicFile> AtomicFile::create(const std::string& path, int64_t expected_bytes) {
  if (path.empty() || path.back() == '/') return bad_input("'{}' is not the name of a file", path);
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    return bad_input("{}: exists and is not a file", path);
  }
  const std::string folder = folder_of(path);
  if (::stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return not_found("{}: cannot create: there is no folder {}", path, folder);
  }
  if (expected_bytes > 0) {
    LATHE_TRY(const int64_t free, free_disk_bytes(folder));
    if (expected_bytes > free) {
      return failed("{}: needs {} bytes, but the disk has {} free", path, expected_bytes, free)
          .with_hint("free some disk space or write elsewhere");
    }
  }
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  std::string temporary;
  impl->fd = open_beside(path, temporary);
  if (impl->fd < 0) {
    const int error = errno;
    if (error == ENOSPC || error == EDQUOT) return write_error(path, error);
    return failed("{}: cannot create: {}", path, std::strerror(error))
        .with_hint(fmt::format("is the folder {} writable?", folder));
  }
  impl->temporary = std::move(temporary);
  if (expected_bytes > 0 &&
      ::fallocate(impl->fd, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(expected_bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    return write_error(path, errno);
  }
  return AtomicFile(std::move(impl));
}

Status AtomicFile::write(std::span<const uint8_t> bytes) {
  return impl_->write_at(impl_->size, bytes);
}

Status AtomicFile::write(std::string_view text) {
  return write({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

Status AtomicFile::write_at(int64_t offset, std::span<const uint8_t> bytes) {
  return impl_->write_at(offset, bytes);
}

Status AtomicFile::flush() {
  Impl& file = *impl_;
  LATHE_CHECK(file.fd >= 0 && !file.broken);
  if (const int error = file.direct ? file.direct->finish() : 0) return file.broken_by(error);
  return {};
}

Status AtomicFile::commit() {
  Impl& file = *impl_;
  LATHE_OK(flush());
  file.direct.reset();
  // The truncation gives back what was reserved and not used.
  if (::ftruncate(file.fd, static_cast<off_t>(file.size)) != 0 || ::fsync(file.fd) != 0) {
    return write_error(file.path, errno);
  }
  const int closed = ::close(file.fd);
  file.fd = -1;
  if (closed != 0) return write_error(file.path, errno);
  if (::rename(file.temporary.c_str(), file.path.c_str()) != 0) {
    return write_error(file.path, errno);
  }
  file.temporary.clear();
  // The name itself must survive a power cut too; a file system that cannot do this is no error.
  const int folder = ::open(folder_of(file.path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
  return {};
}

Status write_atomically(const std::string& path, std::string_view text) {
  LATHE_TRY(AtomicFile file, AtomicFile::create(path, static_cast<int64_t>(text.size())));
  LATHE_OK(file.write(text));
  return file.commit();
}

}  // namespace lathe
