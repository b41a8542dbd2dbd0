// Talks to a hub-compatible server: what a repository holds, and the bytes of one file.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lathe/base/result.h"
#include "lathe/io/http.h"
#include "lathe/io/hub.h"

namespace lathe {

struct HubListing {
  std::string commit;
  std::vector<std::string> files;  // safe relative names, each once
};

struct HubFile {
  std::string name;
  std::string etag;    // 64 hex: SHA-256 of the content; 40 hex: its git blob hash; safe as a name
  int64_t bytes = -1;  // -1: the server did not say
};

class HubClient {
 public:
  // From HF_ENDPOINT and HF_TOKEN; refused when HF_HUB_OFFLINE is set.
  static Result<HubClient> from_environment(std::string repo_id, HubKind kind, int retries);

  Result<HubListing> list(const std::string& revision) const;
  Result<HubFile> describe(const std::string& commit, const std::string& name) const;
  // Brings `path` (which may hold the beginning already) to the whole content of the file and
  // checks it. `on_bytes` is told how many bytes of the file are there. On a failed check the file
  // is removed; on a broken connection it stays, to be resumed.
  Status download(const std::string& commit, const HubFile& file, const std::string& path,
                  const std::function<void(int64_t)>& on_bytes) const;

 private:
  HubClient() = default;
  HttpRequest request_for(const Url& url) const;
  Result<Url> resolve_address(const std::string& commit, const std::string& name) const;
  // Sends until there is an answer worth having, or the retries are used up. `moved` says whether
  // the last try got anywhere, which makes the count begin anew.
  Result<HttpResponse> send(const std::function<HttpRequest()>& make, const BodySink& sink,
                            const std::function<bool()>& moved) const;
  Error error_for(const HttpResponse& response, const std::string& what) const;

  // "org/name", or "datasets/org/name" as the addresses of files and pages have it.
  std::string repo_path() const;

  std::string repo_id_, endpoint_, token_;
  HubKind kind_ = HubKind::kModel;
  int retries_ = 3, stall_seconds_ = 30;
};

// Checks the content of a file against its etag; an etag that is no hash passes.
Status check_content(const std::string& path, const HubFile& file);

}  // namespace lathe
