// A ModelConfig as GGUF metadata.
#pragma once

#include <string>
#include <vector>

#include "lathe/io/gguf_writer.h"
#include "lathe/model/config.h"

namespace lathe {

struct GgufDescription {
  std::string architecture;
  GgufMetadata metadata;  // general.* and <architecture>.*
  // What a reader of these keys is to find again: the source's configuration, as far as the
  // architecture can say it.
  ModelConfig expected;
  std::vector<std::string> notes;  // where that is less than the source says
};

// Refuses what llama.cpp's architecture of that name cannot compute.
Result<GgufDescription> describe_for_gguf(const ModelConfig& config, const std::string& name);

// The configuration read back from an exported file against the expected one; the error names the
// first feature that was lost.
Status check_description(const ModelConfig& expected, const ModelConfig& found);

}  // namespace lathe
