// The files of a model directory that are not weights.
#pragma once

#include <string>

#include "lathe/model/checkpoint.h"

namespace lathe {

// Copies configuration and tokenizer of `source` into `directory`. A source without a tokenizer
// (tests have such) gives a directory without one.
Status copy_side_files(const Checkpoint& source, const std::string& directory);

}  // namespace lathe
