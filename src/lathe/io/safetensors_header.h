// The JSON header of a safetensors file and the index of a sharded one, as they stand: nothing here
// is checked against the files.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

struct SafetensorsEntry {
  std::string name, dtype;
  std::vector<int64_t> shape;
  int64_t begin = 0, end = 0;  // data_offsets
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // in file order
  std::map<std::string, std::string> metadata;
};

// Refuses wrong JSON, unknown or repeated keys, names that come twice, missing fields, numbers that
// are not whole and non-negative. Memory stays proportional to the text.
Result<SafetensorsHeader> parse_safetensors_header(std::string_view json);

// model.safetensors.index.json: tensor → shard, each a plain file name of the same directory.
// `path` names the text in errors.
Result<std::map<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                   const std::string& path);

}  // namespace lathe
