#include "lathe/io/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>

#include "lathe/base/parse_number.h"

namespace lathe {
namespace {

constexpr int kMaxRedirects = 10;
constexpr size_t kErrorBodyBytes = 4096;
constexpr int64_t kHeaderBytes = 256 << 10;  // all headers of one answer

void init_curl() {
  static std::once_flag once;
  std::call_once(once, [] { LATHE_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view trim(std::string_view text) {
  const auto space = [](char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

using CurlUrl = std::unique_ptr<CURLU, decltype(&curl_url_cleanup)>;

std::string url_part(CURLU* handle, CURLUPart part, unsigned flags = 0) {
  char* text = nullptr;
  if (curl_url_get(handle, part, &text, flags) != CURLUE_OK || !text) return {};
  std::string out = text;
  curl_free(text);
  return out;
}

Result<Url> read_url(CURLU* handle, const std::string& text) {
  Url url;
  url.scheme = lower(url_part(handle, CURLUPART_SCHEME));
  url.host = lower(url_part(handle, CURLUPART_HOST));
  url.port = url_part(handle, CURLUPART_PORT, CURLU_DEFAULT_PORT);
  url.text = url_part(handle, CURLUPART_URL);
  if ((url.scheme != "http" && url.scheme != "https") || url.host.empty() || url.text.empty()) {
    return bad_input("'{}' is not an http(s) address", text);
  }
  if (!url_part(handle, CURLUPART_USER).empty() || !url_part(handle, CURLUPART_PASSWORD).empty()) {
    return bad_input("the address of '{}' holds a user name or password", url.host)
        .with_hint("give a token in HF_TOKEN instead");
  }
  return url;
}

// One exchange, without redirects.
class Exchange {
 public:
  Exchange(const HttpRequest& request, const Url& url, const BodySink& sink)
      : request_(request), url_(url), sink_(sink) {}

  Result<HttpResponse> run() {
    init_curl();
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(),
                                                                     &curl_easy_cleanup);
    LATHE_CHECK(handle != nullptr);
    curl_ = handle.get();
    curl_slist* list = nullptr;
    const auto add = [&list](const std::string& line) {
      list = curl_slist_append(list, line.c_str());
      LATHE_CHECK(list != nullptr);
    };
    add("Accept-Encoding: identity");
    if (!request_.token.empty() && url_.origin() == request_.url.origin()) {
      add("Authorization: Bearer " + request_.token);
    }
    const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list,
                                                                              &curl_slist_free_all);
    set_options(list);
    const CURLcode code = curl_easy_perform(curl_);
    if (sink_error_) return *sink_error_;
    long status = 0;
    curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &status);
    response_.status = static_cast<int>(status);
    if (code != CURLE_OK) {
      response_.status = 0;
      response_.problem = refusal_.empty() ? curl_easy_strerror(code) : refusal_;
      if (refusal_.empty() && details_[0]) response_.problem += fmt::format(" ({})", details_);
      response_.transient = refusal_.empty() && code != CURLE_PEER_FAILED_VERIFICATION &&
                            code != CURLE_SSL_CACERT_BADFILE && code != CURLE_URL_MALFORMAT;
      return std::move(response_);
    }
    response_.transient = status == 408 || status == 429 || status >= 500;
    const auto wait = parse_number<int>(response_.header("retry-after"));
    response_.retry_after_seconds = std::clamp(wait.value_or(0), 0, 60);
    return std::move(response_);
  }

 private:
  void set_options(curl_slist* headers) {
    curl_easy_setopt(curl_, CURLOPT_URL, url_.text.c_str());
    curl_easy_setopt(curl_, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl_, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(curl_, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl_, CURLOPT_USERAGENT, "lathe");
    curl_easy_setopt(curl_, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl_, CURLOPT_CONNECTTIMEOUT, 15L);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(curl_, CURLOPT_LOW_SPEED_TIME, long{request_.stall_seconds});
    curl_easy_setopt(curl_, CURLOPT_ERRORBUFFER, details_);
    curl_easy_setopt(curl_, CURLOPT_HEADERFUNCTION, &Exchange::on_header);
    curl_easy_setopt(curl_, CURLOPT_HEADERDATA, this);
    curl_easy_setopt(curl_, CURLOPT_WRITEFUNCTION, &Exchange::on_body);
    curl_easy_setopt(curl_, CURLOPT_WRITEDATA, this);
    if (url_.loopback()) curl_easy_setopt(curl_, CURLOPT_PROXY, "");
    if (request_.head) curl_easy_setopt(curl_, CURLOPT_NOBODY, 1L);
    if (request_.from_byte > 0) {
      const std::string range = fmt::format("{}-", request_.from_byte);
      curl_easy_setopt(curl_, CURLOPT_RANGE, range.c_str());
    }
  }

  static size_t on_header(char* data, size_t size, size_t count, void* self) {
    auto& me = *static_cast<Exchange*>(self);
    const std::string_view line(data, size * count);
    if ((me.header_bytes_ += static_cast<int64_t>(line.size())) > kHeaderBytes) {
      me.refusal_ = "the headers of the answer are too long";
      return 0;
    }
    if (line.starts_with("HTTP/")) me.response_.headers.clear();  // after 100 Continue, or a proxy
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos) {
      me.response_.headers[lower(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
    }
    return line.size();
  }

  static size_t on_body(char* data, size_t size, size_t count, void* self) {
    auto& me = *static_cast<Exchange*>(self);
    const size_t bytes = size * count;
    long status = 0;
    curl_easy_getinfo(me.curl_, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200 || status > 299) {
      std::string& body = me.response_.error_body;
      body.append(data, std::min(bytes, kErrorBodyBytes - body.size()));
      return bytes;
    }
    if (me.received_ == 0 && !me.find_start(status)) return 0;
    const Status done =
        me.sink_(me.start_ + me.received_, {reinterpret_cast<const uint8_t*>(data), bytes});
    if (!done.ok()) {
      me.sink_error_ = done.error();
      return 0;
    }
    me.received_ += static_cast<int64_t>(bytes);
    return bytes;
  }

  // Where the body begins in the file: 0, or what Content-Range says.
  bool find_start(long status) {
    start_ = 0;
    if (status != 206) return true;
    const std::string range = response_.header("content-range");  // "bytes 5-9/10"
    const size_t dash = range.find('-');
    const auto first = range.starts_with("bytes ") && dash != std::string::npos
                           ? parse_number<int64_t>(std::string_view(range).substr(6, dash - 6))
                           : std::nullopt;
    if (!first || *first != request_.from_byte) {
      refusal_ =
          fmt::format("asked for bytes from {}, and was sent '{}'", request_.from_byte, range);
      return false;
    }
    start_ = *first;
    return true;
  }

  const HttpRequest& request_;
  const Url& url_;
  const BodySink& sink_;
  CURL* curl_ = nullptr;
  char details_[CURL_ERROR_SIZE] = {};
  HttpResponse response_;
  std::string refusal_;
  std::optional<Error> sink_error_;
  int64_t start_ = 0, received_ = 0, header_bytes_ = 0;
};

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

}  // namespace

std::string HttpResponse::header(const std::string& name) const {
  const auto it = headers.find(name);
  return it == headers.end() ? std::string() : it->second;
}

bool Url::loopback() const {
  in_addr v4{};
  if (::inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "localhost" || host == "[::1]" || host == "::1";
}

Status Url::check_allowed() const {
  if (scheme == "https" || loopback()) return {};
  const char* allow = std::getenv("LATHE_ALLOW_HTTP");
  if (allow && std::string_view(allow) == "1") return {};
  return bad_input("{}: plain http, which anyone on the way can read and change", text)
      .with_hint("use https, or set LATHE_ALLOW_HTTP=1 where you trust the network");
}

Result<Url> parse_url(const std::string& text) {
  const CurlUrl handle(curl_url(), &curl_url_cleanup);
  if (curl_url_set(handle.get(), CURLUPART_URL, text.c_str(), 0) != CURLUE_OK) {
    return bad_input("'{}' is not an http(s) address", text);
  }
  return read_url(handle.get(), text);
}

Result<Url> resolve_url(const Url& base, const std::string& location) {
  const CurlUrl handle(curl_url(), &curl_url_cleanup);
  LATHE_CHECK(curl_url_set(handle.get(), CURLUPART_URL, base.text.c_str(), 0) == CURLUE_OK);
  if (location.empty() ||
      curl_url_set(handle.get(), CURLUPART_URL, location.c_str(), 0) != CURLUE_OK) {
    return failed("{} redirects to '{}', which is no address", base.origin(), location);
  }
  return read_url(handle.get(), location);
}

std::string url_escape(std::string_view text, bool keep_slashes) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '-' || c == '.' || c == '_' || c == '~' || (keep_slashes && c == '/');
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Result<HttpResponse> http_send(const HttpRequest& request, const BodySink& sink) {
  Url url = request.url;
  LATHE_OK(url.check_allowed());
  std::map<std::string, std::string> kept;
  for (int hop = 0; hop <= kMaxRedirects; ++hop) {
    LATHE_TRY(HttpResponse response, Exchange(request, url, sink).run());
    for (const auto& [name, value] : kept) response.headers.emplace(name, value);
    if (!is_redirect(response.status)) return response;
    LATHE_TRY(Url next, resolve_url(url, response.header("location")));
    if (next.origin() != request.url.origin()) {
      if (!request.leave_origin) return response;
      // An encrypted address may not lead to an open one, nor a remote one into this machine.
      if ((url.scheme == "https" && next.scheme != "https") ||
          (!url.loopback() && next.loopback())) {
        return failed("{} redirects to {}, which is not followed", url.origin(), next.origin());
      }
    }
    LATHE_OK(next.check_allowed());
    for (const auto& [name, value] : response.headers) {
      if (name.starts_with("x-")) kept.emplace(name, value);
    }
    url = std::move(next);
  }
  return failed("{}: more than {} redirects", request.url.text, kMaxRedirects);
}

}  // namespace lathe
