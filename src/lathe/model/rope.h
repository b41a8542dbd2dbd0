// Rotary frequencies of a model for a given context length.
// Sources: Su et al. 2021; linear: kaiokendev 2023; dynamic NTK and YaRN: Peng et al. 2023
// (sections 3.1, 3.3); LongRoPE: Ding et al. 2024; llama3: Llama 3.1's published scaling. Worked
// out in f32 as transformers does. Where transformers switches LongRoPE and dynamic NTK by the
// length reached so far, we choose once by the context length of the session, so that cached keys
// never mix two rotations.
#pragma once

#include "lathe/model/config.h"

namespace lathe {

// `context`: the most positions that a session will use; `max_positions`: the model's own.
Rope make_rope(const RopeConfig& config, int64_t context, int64_t max_positions);

}  // namespace lathe
