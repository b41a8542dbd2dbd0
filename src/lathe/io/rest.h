// One HTTP call that sends something, as REST interfaces want it. Redirects are not followed: a
// body must not go where nobody sent it.
#pragma once

#include <string>

#include "lathe/base/result.h"
#include "lathe/io/http.h"

namespace lathe {

struct RestCall {
  std::string method = "POST";
  Url url;
  std::string body;           // or, if `file` is given, that file's bytes
  std::string file;           // path
  std::string authorization;  // value of the header; empty: none
  int timeout_seconds = 20;   // whole call; for a file: how long nothing may move
};

struct RestAnswer {
  int status = 0;
  std::string body;
};

// Any answer is a RestAnswer, whatever its status. An Error: there was none (refused, stalled, cut
// short), the answer is too long (8 MB), or the address may not be used.
Result<RestAnswer> rest_call(const RestCall& call);

}  // namespace lathe
