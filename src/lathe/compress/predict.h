// Sizes before anything is read.
#pragma once

#include "lathe/compress/recipe.h"
#include "lathe/model/checkpoint.h"

namespace lathe {

// Bytes that the weights of `source` take once the recipe is applied (an empty recipe: as they
// are).
Result<int64_t> predicted_bytes(const Checkpoint& source, const Recipe& recipe);

}  // namespace lathe
