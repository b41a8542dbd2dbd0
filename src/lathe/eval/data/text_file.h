// Text of a data set's file, as it is.
#pragma once

#include <string>

#include "lathe/base/result.h"

namespace lathe {

// The whole file. Empty, or not UTF-8, is an error that names the file (and the line): a tokenizer
// would put other characters in place of broken ones, and the scores would be of another text.
Result<std::string> read_utf8(const std::string& path);

}  // namespace lathe
