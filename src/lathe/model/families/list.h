// One function per family, for registry.cc.
#pragma once

#include "lathe/model/family.h"

namespace lathe {

// The names of the two norms of a Llama block, shared by families built like it.
const std::vector<HfName>& llama_norm_names();

Family llama_family();
Family mistral_family();
Family qwen2_family();
Family qwen3_family();
Family phi_family();
Family phi3_family();
Family gemma_family();
Family gemma2_family();
Family gemma3_family();
Family gpt2_family();
Family opt_family();
Family bert_family();

}  // namespace lathe
