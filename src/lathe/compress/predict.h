// Sizes and memory before anything is read.
#pragma once

#include <vector>

#include "lathe/compress/plan.h"
#include "lathe/compress/recipe.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// Bytes that the weights of `source` take once the recipe is applied (an empty recipe: as they
// are).
Result<int64_t> predicted_bytes(const Checkpoint& source, const Recipe& recipe);

// One matrix is in memory at a time: as it will be stored and, where a pass works on it, as floats
// and what the pass makes of them. Refuses (kNoRoom) what cannot be held.
Status check_memory(const Checkpoint& source, const std::vector<MatrixPlan>& plans);

}  // namespace lathe
