// ModelConfig from the GGUF metadata that all architectures share.
#pragma once

#include "lathe/io/gguf.h"
#include "lathe/model/config.h"

namespace lathe {

Result<ModelConfig> config_from_gguf(const GgufFile& gguf);

}  // namespace lathe
