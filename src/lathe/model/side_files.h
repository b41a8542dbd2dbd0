// The files of a model directory that are not weights.
#pragma once

#include <string>

#include "lathe/model/checkpoint.h"

namespace lathe {

// Copies the tokenizer of `source`, and how it generates, into `directory`; of a GGUF file, its
// metadata as tokenizer.gguf. A source without a tokenizer (tests have such) gives a directory
// without one.
Status copy_tokenizer_files(const Checkpoint& source, const std::string& directory);
// The same, and config.json.
Status copy_side_files(const Checkpoint& source, const std::string& directory);

}  // namespace lathe
