// The known name nearest to a mistyped one, for error messages.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

// "did you mean 'x'?" when a known name is near enough (two edits, or a third of the length);
// otherwise "known: a, b, c". Empty when `known` is empty.
std::string suggest(std::string_view name, const std::vector<std::string>& known);

}  // namespace lathe
