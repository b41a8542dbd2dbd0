#include "lathe/compress/output_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

namespace lathe {
namespace {

namespace fs = std::filesystem;

Status check_target(const std::string& path, bool overwrite) {
  std::error_code error;
  if (!fs::exists(fs::symlink_status(path, error))) return {};
  const bool ours = fs::is_directory(path, error) && fs::exists(path + "/lathe.json", error);
  if (ours && overwrite) return {};
  if (ours) {
    return bad_input("{}: exists already", path).with_hint("overwrite it with --overwrite");
  }
  return bad_input("{}: exists already, and is no model that Lathe has written", path)
      .with_hint("choose another name");
}

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// A lock on a folder, which the system takes back however the process ends; -1 if it cannot be had.
int lock_folder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

LeftFolder::LeftFolder(LeftFolder&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::exchange(other.lock_, -1)) {}

LeftFolder::~LeftFolder() {
  std::error_code error;
  if (!path_.empty()) fs::remove_all(path_, error);
  if (lock_ >= 0) ::close(lock_);
}

std::vector<LeftFolder> left_folders(const std::string& target) {
  const fs::path path(without_slashes(target));
  const std::string prefix = path.filename().string() + ".tmp-";
  std::vector<LeftFolder> out;
  std::error_code error;
  fs::directory_iterator it(path.has_parent_path() ? path.parent_path() : ".", error);
  for (; !error && it != fs::directory_iterator(); it.increment(error)) {
    if (!it->path().filename().string().starts_with(prefix)) continue;
    const int lock = lock_folder(it->path().string());
    if (lock >= 0) out.emplace_back(it->path().string(), lock);  // else somebody is filling it
  }
  return out;
}

Result<OutputDirectory> OutputDirectory::create(const std::string& path, bool overwrite) {
  std::string target = without_slashes(path);
  if (target.empty() || target == "/") return bad_input("'{}' is not the name of a folder", path);
  LATHE_OK(check_target(target, overwrite));
  left_folders(target).clear();
  static std::atomic<uint32_t> counter{0};
  for (int attempt = 0; attempt < 1000; ++attempt) {
    std::string temporary = fmt::format("{}.tmp-{}-{}", target, ::getpid(), counter++);
    if (::mkdir(temporary.c_str(), 0777) == 0) {
      const int lock = lock_folder(temporary);
      return OutputDirectory(std::move(target), std::move(temporary), overwrite, lock);
    }
    const int error = errno;
    if (error == EEXIST) continue;
    if (error == ENOENT) {
      return not_found("{}: cannot create: the folder above it is missing", target);
    }
    const bool full = error == ENOSPC || error == EDQUOT;
    return failed("{}: cannot create: {}", target, std::strerror(error))
        .with_hint(full ? "free some disk space or write elsewhere"
                        : "is the folder above it writable?");
  }
  return failed("{}: cannot find a free temporary name beside it", target);
}

OutputDirectory::OutputDirectory(OutputDirectory&& other) noexcept
    : target_(std::move(other.target_)),
      temporary_(std::move(other.temporary_)),
      overwrite_(other.overwrite_),
      lock_(std::exchange(other.lock_, -1)) {
  other.temporary_.clear();
}

OutputDirectory::~OutputDirectory() {
  std::error_code error;
  if (!temporary_.empty()) fs::remove_all(temporary_, error);
  if (lock_ >= 0) ::close(lock_);
}

Status OutputDirectory::commit() {
  LATHE_OK(check_target(target_, overwrite_));
  // An older model changes places with the new one in one step, and goes with the temporary name.
  const unsigned swap = RENAME_EXCHANGE;
  std::error_code error;
  if (fs::exists(target_, error)) {
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, target_.c_str(), swap) == 0) return {};
    // A file system that cannot swap: there is a moment without the target.
    const std::string aside = temporary_ + ".old";
    if (::rename(target_.c_str(), aside.c_str()) != 0) {
      return failed("{}: cannot replace: {}", target_, std::strerror(errno));
    }
    if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
      const int failure = errno;
      ::rename(aside.c_str(), target_.c_str());
      return failed("{}: cannot replace: {}", target_, std::strerror(failure));
    }
    temporary_ = aside;
    return {};
  }
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) {
    return failed("{}: cannot create: {}", target_, std::strerror(errno));
  }
  temporary_.clear();
  return {};
}

}  // namespace lathe
