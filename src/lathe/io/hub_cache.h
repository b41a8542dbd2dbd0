// Where things lie in huggingface_hub's cache, so that both programs share it:
//   models--org--name/blobs/<etag>                      the files' contents
//   models--org--name/snapshots/<commit>/<file>         links to the blobs
//   models--org--name/refs/<revision>                   the commit of a branch or tag
//   .locks/models--org--name/<etag>.lock                held while a blob is downloaded
// A data set's folder begins with "datasets--".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lathe/base/result.h"
#include "lathe/io/hub.h"

namespace lathe {

struct HubFolder {
  HubFolder(const std::string& repo_id, HubKind kind);
  std::string root, locks;

  std::string blob(const std::string& etag) const { return root + "/blobs/" + etag; }
  std::string snapshot(const std::string& commit) const { return root + "/snapshots/" + commit; }
  std::string ref(const std::string& revision) const { return root + "/refs/" + revision; }
  std::string lock(const std::string& etag) const { return locks + "/" + etag + ".lock"; }
};

// Names that come from a server or a user and become paths.
bool is_safe_component(std::string_view name);  // one file name: a commit, an etag
bool is_safe_relative(std::string_view path);   // "a/b.json": no "..", "//", backslash, leading '/'

// A lock between processes, held until destroyed. Waits for whoever holds it.
class FileLock {
 public:
  static Result<FileLock> take(const std::string& path);
  FileLock(FileLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

Status make_folders(const std::string& path);

}  // namespace lathe
