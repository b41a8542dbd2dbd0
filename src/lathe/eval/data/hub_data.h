// Data sets from the hub, as `lathe pull --dataset` leaves them in the local cache.
#pragma once

#include <optional>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

// The file that ORG/NAME[@REVISION][:FILE] names. Without FILE: the only file that is read, or else
// the only one whose name has a part "test" ("test.jsonl", "data/lambada_test_en.jsonl"); several
// are an error that lists them. nullopt: the text names nothing in the cache.
Result<std::optional<std::string>> find_in_pulled_data(const std::string& name);

}  // namespace lathe
