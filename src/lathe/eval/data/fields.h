// Reading the keys of a map from a task file: typed, with defaults, and an error that names the
// nearest known key for one that was never asked for.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

class Fields {
 public:
  // `what` names the map in errors. A null counts as an empty map.
  Fields(const nlohmann::ordered_json& map, std::string what);

  bool has(const std::string& key);
  const nlohmann::ordered_json& at(const std::string& key);  // of a key that is there

  Result<std::string> text(const std::string& key);  // required
  Result<std::string> text(const std::string& key, const std::string& fallback);
  Result<int64_t> integer(const std::string& key, int64_t fallback);
  Result<bool> boolean(const std::string& key, bool fallback);
  // One text or a list of them.
  Result<std::vector<std::string>> texts(const std::string& key);

  // Refuses what is no map and keys that nobody asked for. Called last.
  Status finish() const;

 private:
  const nlohmann::ordered_json* find(const std::string& key);

  const nlohmann::ordered_json& map_;
  std::string what_;
  std::vector<std::string> known_;
};

}  // namespace lathe
