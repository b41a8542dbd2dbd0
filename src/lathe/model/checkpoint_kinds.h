// The kinds of checkpoint behind open_checkpoint(), and what they share.
#pragma once

#include <fmt/ranges.h>

#include <initializer_list>
#include <map>
#include <span>
#include <string_view>

#include "lathe/model/checkpoint.h"
#include "lathe/model/family.h"

namespace lathe {

Result<std::unique_ptr<const Checkpoint>> open_hf_checkpoint(const std::string& directory);
Result<std::unique_ptr<const Checkpoint>> open_gguf_checkpoint(const std::string& path);
// A directory written by `lathe compress` (see lathe_checkpoint.cc for its layout).
Result<std::unique_ptr<const Checkpoint>> open_lathe_checkpoint(const std::string& directory);

// `path`: a .onnx file with config.json beside it.
Result<std::unique_ptr<const Checkpoint>> open_onnx_checkpoint(const std::string& path);

// What the config.json of a Hugging Face directory says.
struct HfDescription {
  nlohmann::json json;
  const Family* family;
  ModelConfig config;
};
Result<HfDescription> read_hf_config(const std::string& directory);

// What lathe.json says.
struct StoredMatrix {
  FormatPtr format;
  int64_t rows, cols;
};
struct LatheDescription {
  ModelConfig config;
  std::map<std::string, StoredMatrix> matrices;
};
// `where` names the text in errors. The sizes of matrices are compared when they are asked for.
Result<LatheDescription> parse_lathe_json(std::string_view text, const std::string& where);

Status check_shape(const std::string& name, std::span<const int64_t> found,
                   std::initializer_list<int64_t> expected);

}  // namespace lathe
