#include "lathe/io/hub_client.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "lathe/base/hash.h"
#include "lathe/base/log.h"
#include "lathe/base/mapped_file.h"
#include "lathe/base/parse_number.h"
#include "lathe/io/hub_cache.h"

namespace lathe {
namespace {

constexpr size_t kListingBytes = size_t{64} << 20;
constexpr auto kFirstWait = std::chrono::milliseconds(500);
constexpr auto kLongestWait = std::chrono::milliseconds(8000);

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool is_on(std::string value) {
  for (char& c : value) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

bool is_hex(std::string_view text, size_t size) {
  return text.size() == size && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// The bare tag of an ETag header: W/"abc" → abc.
std::string bare_etag(std::string text) {
  if (text.starts_with("W/")) text.erase(0, 2);
  if (text.size() >= 2 && text.front() == '"' && text.back() == '"') {
    text = text.substr(1, text.size() - 2);
  }
  return text;
}

Result<std::string> git_blob_hash(const std::string& path) {
  LATHE_TRY(const Bytes bytes, map_file(path));
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  LATHE_CHECK(EVP_DigestInit_ex(context.get(), EVP_sha1(), nullptr) == 1);
  const std::string head = fmt::format("blob {}", bytes.size());
  EVP_DigestUpdate(context.get(), head.c_str(), head.size() + 1);  // with its NUL
  EVP_DigestUpdate(context.get(), bytes.data(), bytes.size());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &size);
  std::string text;
  for (unsigned int i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

// A file that is being filled.
class Partial {
 public:
  static Result<Partial> open(const std::string& path) {
    Partial file;
    file.path_ = path;
    file.fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file.fd_ < 0) return failed("{}: cannot create: {}", path, std::strerror(errno));
    struct stat info {};
    if (::fstat(file.fd_, &info) != 0) return failed("{}: {}", path, std::strerror(errno));
    file.size_ = info.st_size;
    return file;
  }
  Partial(Partial&& other) noexcept
      : path_(std::move(other.path_)), fd_(other.fd_), size_(other.size_) {
    other.fd_ = -1;
  }
  Partial& operator=(Partial&&) = delete;
  ~Partial() {
    if (fd_ >= 0) ::close(fd_);
  }

  int64_t size() const { return size_; }

  Status truncate(int64_t size) {
    if (::ftruncate(fd_, size) != 0) return failed("{}: {}", path_, std::strerror(errno));
    size_ = size;
    return {};
  }

  Status write(std::span<const uint8_t> bytes) {
    while (!bytes.empty()) {
      const ssize_t got = ::pwrite(fd_, bytes.data(), bytes.size(), size_);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0 && (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
        return failed("{}: cannot write: {}", path_, std::strerror(errno))
            .with_hint("free some disk space and pull again; it goes on from here");
      }
      if (got < 0) return failed("{}: cannot write: {}", path_, std::strerror(errno));
      size_ += got;
      bytes = bytes.subspan(static_cast<size_t>(got));
    }
    return {};
  }

  Status flush() {
    if (::fsync(fd_) != 0) return failed("{}: cannot write: {}", path_, std::strerror(errno));
    return {};
  }

 private:
  Partial() = default;
  std::string path_;
  int fd_ = -1;
  int64_t size_ = 0;
};

}  // namespace

Status check_content(const std::string& path, const HubFile& file) {
  std::string actual;
  if (is_hex(file.etag, 64)) {
    LATHE_TRY(actual, sha256_of_file(path));
  } else if (is_hex(file.etag, 40)) {
    LATHE_TRY(actual, git_blob_hash(path));
  } else {
    spdlog::warn("{}: the server gives no checksum; only its size was checked", file.name);
    return {};
  }
  if (actual == file.etag) return {};
  return failed("{}: wrong checksum: {} was promised, {} arrived", file.name, file.etag, actual)
      .with_hint("nothing of it was kept; pull again, and if it recurs, distrust the server");
}

Result<HubClient> HubClient::from_environment(std::string repo_id, HubKind kind, int retries) {
  if (is_on(environment("HF_HUB_OFFLINE"))) {
    return failed("{}: cannot pull while HF_HUB_OFFLINE is set", repo_id)
        .with_hint("unset HF_HUB_OFFLINE, or use what is in the cache already");
  }
  HubClient client;
  client.repo_id_ = std::move(repo_id);
  client.kind_ = kind;
  client.retries_ = std::max(retries, 0);
  client.endpoint_ = environment("HF_ENDPOINT");
  if (client.endpoint_.empty()) client.endpoint_ = "https://huggingface.co";
  while (client.endpoint_.ends_with('/')) client.endpoint_.pop_back();
  LATHE_TRY_IN(const Url url, parse_url(client.endpoint_), "HF_ENDPOINT");
  LATHE_OK_IN(url.check_allowed(), "HF_ENDPOINT");
  client.token_ = environment("HF_TOKEN");
  for (const char c : client.token_) {
    if (c <= ' ' || c == 0x7f) {
      return bad_input("HF_TOKEN holds a space or a control character")
          .with_hint("set it to the token alone");
    }
  }
  if (const std::string stated = environment("HF_HUB_DOWNLOAD_TIMEOUT"); !stated.empty()) {
    const auto seconds = parse_number<int>(stated);
    if (!seconds || *seconds < 1) {
      return bad_input("HF_HUB_DOWNLOAD_TIMEOUT is '{}', not a number of seconds", stated);
    }
    client.stall_seconds_ = *seconds;
  }
  return client;
}

HttpRequest HubClient::request_for(const Url& url) const {
  HttpRequest request;
  request.url = url;
  request.token = token_;
  request.stall_seconds = stall_seconds_;
  return request;
}

std::string HubClient::repo_path() const {
  return kind_ == HubKind::kDataset ? "datasets/" + repo_id_ : repo_id_;
}

Result<Url> HubClient::resolve_address(const std::string& commit, const std::string& name) const {
  return parse_url(fmt::format("{}/{}/resolve/{}/{}", endpoint_, repo_path(),
                               url_escape(commit, false), url_escape(name, true)));
}

Result<HttpResponse> HubClient::send(const std::function<HttpRequest()>& make, const BodySink& sink,
                                     const std::function<bool()>& moved) const {
  auto wait = kFirstWait;
  for (int tries = 0;; ++tries) {
    LATHE_TRY(HttpResponse response, http_send(make(), sink));
    if (!response.transient) return response;
    if (moved()) {
      tries = 0;
      wait = kFirstWait;
    }
    if (tries >= retries_) return response;
    const auto pause = std::max<std::chrono::milliseconds>(
        wait, std::chrono::seconds(response.retry_after_seconds));
    spdlog::info("{}: {}; trying again in {:.1f} s", endpoint_,
                 response.status ? fmt::format("status {}", response.status) : response.problem,
                 std::chrono::duration<double>(pause).count());
    std::this_thread::sleep_for(pause);
    wait = std::min(2 * wait, kLongestWait);
  }
}

Error HubClient::error_for(const HttpResponse& response, const std::string& what) const {
  const std::string where = fmt::format("{} ({})", what, endpoint_);
  const std::string token_hint = token_.empty()
                                     ? "set HF_TOKEN to a token that may read it, and check the id"
                                     : "check the id, and that the token in HF_TOKEN may read it";
  switch (response.status) {
    case 0:
      return failed("{}: {}", where, response.problem)
          .with_hint("check the network, HF_ENDPOINT and proxy settings, then pull again");
    case 401:
      return failed("{}: the server wants a valid token (401)", where).with_hint(token_hint);
    case 403:
      return failed("{}: access is refused (403)", where)
          .with_hint(fmt::format("gated? accept its licence at {}/{}; {}", endpoint_, repo_path(),
                                 token_hint));
    case 404:
      if (response.header("x-error-code") == "RevisionNotFound") {
        return not_found("{}: there is no such revision", where);
      }
      return not_found("{}: not there (404)", where).with_hint(token_hint);
    case 429:
      return failed("{}: too many requests (429)", where)
          .with_hint("wait a while, then pull again");
    default:
      return failed("{}: the server answers {}", where, response.status)
          .with_hint(response.status >= 500 ? "the server has trouble; pull again later" : "");
  }
}

Result<HubListing> HubClient::list(const std::string& revision) const {
  const std::string what = fmt::format("{} at {}", repo_id_, revision);
  LATHE_TRY(const Url url, parse_url(fmt::format("{}/api/{}/{}/revision/{}", endpoint_,
                                                 kind_ == HubKind::kDataset ? "datasets" : "models",
                                                 repo_id_, url_escape(revision, false))));
  std::string body;
  const auto make = [&] {
    body.clear();
    return request_for(url);
  };
  const auto sink = [&](int64_t, std::span<const uint8_t> bytes) -> Status {
    if (body.size() + bytes.size() > kListingBytes) {
      return failed("{}: the list of files is longer than {} bytes", what, kListingBytes);
    }
    body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return {};
  };
  LATHE_TRY(const HttpResponse response, send(make, sink, [] { return false; }));
  if (response.status != 200) return error_for(response, what);

  using nlohmann::json;
  const json answer = json::parse(body, nullptr, false);
  if (!answer.is_object() || !answer.contains("sha") || !answer["sha"].is_string() ||
      !answer.contains("siblings") || !answer["siblings"].is_array()) {
    return failed("{}: {} does not answer as a hub does", what, endpoint_)
        .with_hint("check HF_ENDPOINT");
  }
  HubListing listing;
  listing.commit = answer["sha"].get<std::string>();
  if (!is_safe_component(listing.commit)) {
    return failed("{}: the server names the commit '{}'", what, listing.commit);
  }
  std::set<std::string> names;
  for (const json& sibling : answer["siblings"]) {
    if (!sibling.is_object() || !sibling.contains("rfilename") ||
        !sibling["rfilename"].is_string()) {
      return failed("{}: the server lists a file without a name", what);
    }
    const auto& name = sibling["rfilename"].get_ref<const std::string&>();
    if (!is_safe_relative(name)) {
      return failed("{}: the server lists a file named '{}', which is no safe name", what, name)
          .with_hint("distrust this server");
    }
    names.insert(name);
  }
  listing.files.assign(names.begin(), names.end());
  return listing;
}

Result<HubFile> HubClient::describe(const std::string& commit, const std::string& name) const {
  const std::string what = fmt::format("{}: {}", repo_id_, name);
  LATHE_TRY(const Url url, resolve_address(commit, name));
  const auto make = [&] {
    HttpRequest request = request_for(url);
    request.head = true;
    request.leave_origin = false;
    return request;
  };
  const auto none = [](int64_t, std::span<const uint8_t>) -> Status { return {}; };
  LATHE_TRY(const HttpResponse response, send(make, none, [] { return false; }));
  if (response.status < 200 || response.status > 399) return error_for(response, what);

  HubFile file;
  file.name = name;
  const std::string linked = response.header("x-linked-etag");
  file.etag = bare_etag(linked.empty() ? response.header("etag") : linked);
  if (!is_safe_component(file.etag)) {
    return failed("{}: the server sends {}", what,
                  file.etag.empty() ? "no ETag" : "an ETag that is no safe name")
        .with_hint("check HF_ENDPOINT");
  }
  const std::string stated = response.header("x-repo-commit");
  if (!stated.empty() && stated != commit) {
    return failed("{}: asked for commit {}, and the server answers for {}", what, commit, stated)
        .with_hint("the repository changed meanwhile; pull again");
  }
  // The length of a redirect's own body says nothing about the file.
  std::string length = response.header("x-linked-size");
  if (length.empty() && response.status < 300) length = response.header("content-length");
  file.bytes = parse_number<int64_t>(length).value_or(-1);
  if (file.bytes < -1) file.bytes = -1;
  return file;
}

Status HubClient::download(const std::string& commit, const HubFile& file, const std::string& path,
                           const std::function<void(int64_t)>& on_bytes) const {
  const std::string what = fmt::format("{}: {}", repo_id_, file.name);
  LATHE_TRY(const Url url, resolve_address(commit, file.name));
  LATHE_TRY(Partial partial, Partial::open(path));
  for (bool resumed = partial.size() > 0;; resumed = false) {
    if (file.bytes >= 0 && partial.size() > file.bytes) LATHE_OK(partial.truncate(0));
    int64_t before = partial.size();
    const auto make = [&] {
      HttpRequest request = request_for(url);
      request.from_byte = before = partial.size();
      return request;
    };
    const auto sink = [&](int64_t first, std::span<const uint8_t> bytes) -> Status {
      if (first != partial.size()) LATHE_OK(partial.truncate(first));
      if (file.bytes >= 0 && static_cast<int64_t>(bytes.size()) > file.bytes - first) {
        return failed("{}: the server sends more than the {} bytes it stated", what, file.bytes);
      }
      LATHE_OK(partial.write(bytes));
      on_bytes(partial.size());
      return {};
    };
    const auto moved = [&] { return partial.size() > before; };
    HttpResponse response;
    response.status = 200;
    // A file that is whole already is only checked; one of no bytes has no body to receive.
    if (partial.size() != file.bytes) {
      LATHE_TRY(response, send(make, sink, moved));
    }
    if (response.status == 416 && resumed) {  // what is here is not a beginning of it
      LATHE_OK(partial.truncate(0));
      continue;
    }
    if (response.status < 200 || response.status > 299) return error_for(response, what);
    if (file.bytes >= 0 && partial.size() != file.bytes) {
      return failed("{}: {} bytes arrived of {}", what, partial.size(), file.bytes)
          .with_hint("pull again; it goes on from here");
    }
    LATHE_OK(partial.flush());
    Status checked = check_content(path, file);
    if (checked.ok()) return {};
    LATHE_OK(partial.truncate(0));
    if (resumed) {
      spdlog::warn("{}: what was there from an earlier pull does not fit; fetching it anew", what);
      continue;
    }
    ::unlink(path.c_str());
    return std::move(checked).error().in(repo_id_);
  }
}

}  // namespace lathe
