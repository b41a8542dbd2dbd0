#include "lathe/io/hub_cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"

namespace lathe {
namespace {

constexpr size_t kLongestName = 200;

std::string from_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_name_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
         c == '_' || c == '.';
}

}  // namespace

bool looks_like_repo_id(std::string_view text) {
  if (text.empty() || text.size() > 2 * kLongestName) return false;
  if (std::count(text.begin(), text.end(), '/') > 1) return false;
  if (text.find("..") != std::string_view::npos || text.find("--") != std::string_view::npos) {
    return false;
  }
  const auto good = [](std::string_view part) {
    return !part.empty() && part.size() <= kLongestName && part.front() != '.' &&
           part.front() != '-' && part.back() != '.' && part.back() != '-' &&
           std::all_of(part.begin(), part.end(), is_name_char);
  };
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return good(text);
  return good(text.substr(0, slash)) && good(text.substr(slash + 1));
}

std::string hub_cache_directory() {
  if (std::string path = from_environment("HF_HUB_CACHE"); !path.empty()) return path;
  if (std::string home = from_environment("HF_HOME"); !home.empty()) return home + "/hub";
  if (std::string xdg = from_environment("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg + "/huggingface/hub";
  }
  return from_environment("HOME") + "/.cache/huggingface/hub";
}

bool is_safe_component(std::string_view name) {
  return !name.empty() && name.size() <= kLongestName && name.front() != '.' &&
         std::all_of(name.begin(), name.end(), is_name_char);
}

bool is_safe_relative(std::string_view path) {
  if (path.empty() || path.size() > 1000) return false;
  for (const char c : path) {
    if (c == '\\' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('/', start), path.size());
    const std::string_view part = path.substr(start, end - start);
    if (part.empty() || part == "." || part == ".." || part.size() > kLongestName) return false;
    start = end + 1;
  }
  return true;
}

HubFolder::HubFolder(const std::string& repo_id, HubKind kind) {
  std::string name = (kind == HubKind::kDataset ? "datasets--" : "models--") + repo_id;
  if (const size_t slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  const std::string cache = hub_cache_directory();
  root = cache + "/" + name;
  locks = cache + "/.locks/" + name;
}

std::optional<std::string> find_in_hub_cache(const std::string& repo_id,
                                             const std::string& revision, HubKind kind) {
  if (!looks_like_repo_id(repo_id) || !is_safe_relative(revision)) return std::nullopt;
  const HubFolder folder(repo_id, kind);
  std::error_code ignored;
  std::string commit = revision;
  if (const auto ref = read_text(folder.ref(revision), 4096); ref.ok()) {
    commit = *ref;
    while (!commit.empty() && (commit.back() == '\n' || commit.back() == ' ')) commit.pop_back();
  }
  if (!is_safe_component(commit)) return std::nullopt;
  const std::string path = folder.snapshot(commit);
  if (!std::filesystem::is_directory(path, ignored)) return std::nullopt;
  return path;
}

Status make_folders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return failed("{}: cannot create the folder: {}", path, error.message());
  return {};
}

Result<FileLock> FileLock::take(const std::string& path) {
  LATHE_OK(make_folders(std::filesystem::path(path).parent_path().string()));
  FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (lock.fd_ < 0) return failed("{}: cannot create: {}", path, std::strerror(errno));
  if (::flock(lock.fd_, LOCK_EX | LOCK_NB) == 0) return lock;
  if (errno == EWOULDBLOCK) {
    spdlog::info("waiting for another download of the same file ({})", path);
    while (::flock(lock.fd_, LOCK_EX) != 0) {
      if (errno != EINTR) return failed("{}: cannot lock: {}", path, std::strerror(errno));
    }
    return lock;
  }
  return failed("{}: cannot lock: {}", path, std::strerror(errno));
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace lathe
