// A hub on this machine for the tests: the API's list of files, `resolve` for small files, and a
// second server (another origin) to which large files are redirected, as a content network does.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/base/hash.h"
#include "local_server.h"

namespace lathe {

inline const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";

struct HubServer {
  struct File {
    std::string content, etag;
    bool large = false;
  };

  void add_small(const std::string& name, const std::string& content, const std::string& etag) {
    files[name] = {content, etag, false};
  }
  void add_large(const std::string& name, const std::string& content) {
    files[name] = {content, sha256_hex(content), true};
  }
  // How many requests hold this text: "server METHOD path [token] [range]".
  int count(std::string_view text) {
    const std::lock_guard lock(mutex);
    int found = 0;
    for (const std::string& line : log) found += line.find(text) != std::string::npos;
    return found;
  }

  const std::string repo = "org/name";
  bool dataset = false;  // the repository is a data set
  std::map<std::string, File> files;
  std::string needs_token;
  std::optional<std::string> elsewhere;    // where the network redirects to
  std::optional<std::string> stated_size;  // a lie in X-Linked-Size
  std::string stated_commit = kCommit;
  bool ranges = true;
  std::atomic<int> cuts{0}, refuse_lists{0};  // how many answers to cut in the middle, to refuse

 private:
  void note(const char* who, const ServedRequest& request) {
    std::string line = std::string(who) + " " + request.method + " " + request.path;
    for (const char* name : {"authorization", "range"}) {
      const auto it = request.headers.find(name);
      if (it != request.headers.end()) line += " " + it->second;
    }
    const std::lock_guard lock(mutex);
    log.push_back(line);
  }

  ServedResponse list(const ServedRequest& request, const std::string& revision) {
    if (refuse_lists > 0) {
      --refuse_lists;
      return {.status = 503};
    }
    const auto given = request.headers.find("authorization");
    if (!needs_token.empty() &&
        (given == request.headers.end() || given->second != "Bearer " + needs_token)) {
      return {.status = 401};
    }
    if (revision != "main") return {404, {{"X-Error-Code", "RevisionNotFound"}}, ""};
    nlohmann::json siblings = nlohmann::json::array();
    for (const auto& [name, file] : files) siblings.push_back({{"rfilename", name}});
    return {.body = nlohmann::json{{"sha", kCommit}, {"siblings", siblings}}.dump()};
  }

  ServedResponse resolve(const std::string& name) {
    const auto it = files.find(name);
    if (it == files.end()) return {.status = 404};
    const File& file = it->second;
    ServedResponse response;
    response.headers = {{"X-Repo-Commit", stated_commit}};
    if (!file.large) {
      response.headers.emplace_back("ETag", "W/\"" + file.etag + "\"");
      response.body = file.content;
      return response;
    }
    response.status = 302;
    response.headers.emplace_back("X-Linked-Etag", "\"" + file.etag + "\"");
    response.headers.emplace_back("X-Linked-Size",
                                  stated_size.value_or(std::to_string(file.content.size())));
    response.headers.emplace_back("Location", network.url() + "/" + file.etag + "?signed=1");
    response.body = "elsewhere";
    return response;
  }

  ServedResponse answer_hub(const ServedRequest& request) {
    note("hub", request);
    const std::string lists = (dataset ? "/api/datasets/" : "/api/models/") + repo + "/revision/";
    const std::string resolves =
        (dataset ? "/datasets/" : "/") + repo + "/resolve/" + kCommit + "/";
    if (request.path.starts_with(lists)) return list(request, request.path.substr(lists.size()));
    if (request.path.starts_with(resolves)) return resolve(request.path.substr(resolves.size()));
    return {.status = 404};
  }

  ServedResponse answer_network(const ServedRequest& request) {
    note("network", request);
    if (elsewhere) return {302, {{"Location", *elsewhere}}, ""};
    for (const auto& [name, file] : files) {
      if (request.path != "/" + file.etag) continue;
      ServedResponse response{.body = file.content, .ranges = ranges};
      if (cuts > 0) {
        --cuts;
        response.cut_at = static_cast<long>(file.content.size() / 2);
      }
      return response;
    }
    return {.status = 404};
  }

 public:
  std::mutex mutex;
  std::vector<std::string> log;
  LocalServer network{[this](const ServedRequest& request) { return answer_network(request); }};
  LocalServer hub{[this](const ServedRequest& request) { return answer_hub(request); }};
};

}  // namespace lathe
