// HTTP requests as the hub needs them, over libcurl: redirects checked hop by hop, a token that
// never leaves its host, ranges, and stalled connections given up.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

struct Url {
  std::string text;                // whole
  std::string scheme, host, port;  // lower-case; the port is always given

  std::string origin() const { return scheme + "://" + host + ":" + port; }
  bool loopback() const;
  // https anywhere, http on this machine; plain http elsewhere only with LATHE_ALLOW_HTTP=1.
  Status check_allowed() const;
};
Result<Url> parse_url(const std::string& text);
// Resolves a Location header.
Result<Url> resolve_url(const Url& base, const std::string& location);
// Escapes all but letters, digits and "-._~" (and '/', where `keep_slashes`).
std::string url_escape(std::string_view text, bool keep_slashes);

struct HttpRequest {
  Url url;
  bool head = false;
  int64_t from_byte = 0;  // > 0: asks for the rest of the file only
  std::string token;      // sent as Bearer to url's own origin, never to another
  // Redirects to another origin are followed, or end the request with the 3xx answer.
  bool leave_origin = true;
  int stall_seconds = 30;  // give up when less than 1 KB/s arrives for so long
};

struct HttpResponse {
  int status = 0;          // 0: no (whole) answer; see `problem`
  std::string problem;     // what the transport said
  bool transient = false;  // worth trying again
  int retry_after_seconds = 0;
  // Lower-case names. Those that begin with "x-" are kept from earlier hops too.
  std::map<std::string, std::string> headers;
  std::string error_body;  // the first 4 KB of an answer that is no 2xx

  std::string header(const std::string& name) const;
};

// Receives the body of a 2xx answer. `first_byte` is where this piece belongs in the file, from the
// answer's Content-Range (a server may ignore the range and send all).
using BodySink = std::function<Status(int64_t first_byte, std::span<const uint8_t>)>;

// An Error is the sink's own, or a redirect that is not allowed. All else is told in the response.
Result<HttpResponse> http_send(const HttpRequest& request, const BodySink& sink);

}  // namespace lathe
