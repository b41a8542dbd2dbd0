#include "lathe/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>

namespace lathe {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

Result<size_t> open_regular(const std::string& path, Descriptor& file) {
  file.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file.fd < 0) {
    const int error = errno;
    if (error == ENOENT) return not_found("{}: no such file", path);
    return failed("{}: cannot open: {}", path, std::strerror(error));
  }
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) return failed("{}: {}", path, std::strerror(errno));
  if (!S_ISREG(info.st_mode)) return bad_input("{}: not a regular file", path);
  return static_cast<size_t>(info.st_size);
}

// The mappings alive, by first address. Bytes do not say whether they lie in a file or on the heap,
// where releasing pages would wipe them out.
struct Mappings {
  std::mutex mutex;
  std::map<uintptr_t, size_t> sizes;

  bool hold(uintptr_t start, size_t size) {
    const std::lock_guard lock(mutex);
    auto it = sizes.upper_bound(start);
    if (it == sizes.begin()) return false;
    --it;
    return start + size <= it->first + it->second;
  }
};

// Never destroyed: a mapping may outlive the static objects of other files.
Mappings& mappings() {
  static auto* all = new Mappings;
  return *all;
}

}  // namespace

Result<Bytes> map_file(const std::string& path) {
  Descriptor file{-1};
  LATHE_TRY(const size_t size, open_regular(path, file));
  if (size == 0) return Bytes();
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd, 0);
  if (address == MAP_FAILED) {
    if (errno != ENOMEM) return failed("{}: cannot map: {}", path, std::strerror(errno));
    return no_room("{}: cannot map {} MB: {}", path, size >> 20, std::strerror(errno))
        .with_hint("the address space of this process is limited (ulimit -v)");
  }
  {
    const std::lock_guard lock(mappings().mutex);
    mappings().sizes[reinterpret_cast<uintptr_t>(address)] = size;
  }
  std::shared_ptr<const void> owner(address, [size](const void* p) {
    {
      const std::lock_guard lock(mappings().mutex);
      mappings().sizes.erase(reinterpret_cast<uintptr_t>(p));
    }
    ::munmap(const_cast<void*>(p), size);
  });
  return Bytes(static_cast<const uint8_t*>(address), size, std::move(owner));
}

void release_pages(const Bytes& bytes) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(bytes.data());
  if (!mappings().hold(start, bytes.size())) return;
  const uintptr_t first = (start + page - 1) / page * page;
  const uintptr_t last = (start + bytes.size()) / page * page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

Result<std::string> read_text(const std::string& path, size_t limit_bytes) {
  Descriptor file{-1};
  LATHE_TRY(const size_t size, open_regular(path, file));
  if (size > limit_bytes) {
    return bad_input("{}: {} bytes, more than the {} allowed here", path, size, limit_bytes);
  }
  std::string text(size, '\0');
  size_t done = 0;
  while (done < size) {
    const ssize_t got = ::read(file.fd, text.data() + done, size - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return failed("{}: cannot read: {}", path, std::strerror(errno));
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  text.resize(done);
  return text;
}

}  // namespace lathe
