// The tokenizer of a model directory as GGUF metadata.
#pragma once

#include <string>

#include "lathe/io/gguf_writer.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// Sets tokenizer.ggml.* and tokenizer.chat_template so that the tokenizer read back from them gives
// the same ids as the source's: both are run over a set of texts, and where no scheme that GGUF
// readers know gives them, the error says so. From a GGUF source the keys are copied. Returns false
// when the source has no tokenizer.
Result<bool> set_gguf_tokenizer(const Checkpoint& source, GgufMetadata& metadata);

}  // namespace lathe
