#include "lathe/io/rest.h"

#include <curl/curl.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>

namespace lathe {
namespace {

constexpr size_t kMaxAnswerBytes = size_t{8} << 20;

struct Received {
  std::string body;
  bool too_long = false;
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& received = *static_cast<Received*>(user);
  if (received.body.size() + size * count > kMaxAnswerBytes) {
    received.too_long = true;
    return 0;
  }
  received.body.append(data, size * count);
  return size * count;
}

struct Closer {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<RestAnswer> rest_call(const RestCall& call) {
  static std::once_flag once;
  std::call_once(once, [] { LATHE_CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); });
  LATHE_OK(call.url.check_allowed());
  const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> handle(curl_easy_init(),
                                                                   &curl_easy_cleanup);
  LATHE_CHECK(handle != nullptr);
  CURL* curl = handle.get();
  curl_slist* list = nullptr;
  const auto add = [&list](const std::string& line) {
    list = curl_slist_append(list, line.c_str());
    LATHE_CHECK(list != nullptr);
  };
  add(call.file.empty() ? "Content-Type: application/json"
                        : "Content-Type: application/octet-stream");
  add("Expect:");  // no waiting for 100 Continue, which many servers never send
  if (!call.authorization.empty()) add("Authorization: " + call.authorization);
  const std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(list,
                                                                            &curl_slist_free_all);
  Received received;
  char details[CURL_ERROR_SIZE] = {};
  curl_easy_setopt(curl, CURLOPT_URL, call.url.text.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, "lathe");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, long{call.timeout_seconds});
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, details);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, &on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &received);
  if (call.url.loopback()) curl_easy_setopt(curl, CURLOPT_PROXY, "");
  std::unique_ptr<std::FILE, Closer> file;
  if (!call.file.empty()) {
    file.reset(std::fopen(call.file.c_str(), "rb"));
    if (!file) return failed("{}: cannot open: {}", call.file, std::strerror(errno));
    std::fseek(file.get(), 0, SEEK_END);
    const long bytes = std::ftell(file.get());
    std::rewind(file.get());
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_READDATA, file.get());
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(bytes));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, long{call.timeout_seconds});
  } else {
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, long{call.timeout_seconds});
    if (call.method != "GET") {
      curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                       static_cast<curl_off_t>(call.body.size()));
      curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call.body.data());
    }
  }
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  const CURLcode code = curl_easy_perform(curl);
  if (received.too_long) return failed("{}: the answer is too long", call.url.origin());
  if (code != CURLE_OK) {
    return failed("{}: {}", call.url.origin(), details[0] ? details : curl_easy_strerror(code));
  }
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return RestAnswer{static_cast<int>(status), std::move(received.body)};
}

}  // namespace lathe
