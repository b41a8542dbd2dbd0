// Runs a parsed template.
#pragma once

#include <ctime>
#include <optional>
#include <string>

#include "lathe/text/jinja/ast.h"

namespace lathe::jinja {

// `variables` are the names the template sees beside the built-in functions. `now` is what
// strftime_now() shows (in UTC); without it, the present in local time. Throws TemplateError.
// `strict`: an undefined value that is printed, looped over or filtered (but by default) is an
// error; otherwise it is empty.
std::string render(const Block& block, const Dict& variables, std::optional<std::time_t> now,
                   bool strict = false);

}  // namespace lathe::jinja
