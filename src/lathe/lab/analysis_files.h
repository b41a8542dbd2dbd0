// The files of an analysis: read strictly, appended line by line.
#pragma once

#include "lathe/lab/analysis.h"

namespace lathe {

// The objects of a .jsonl file; none if it does not exist. A last line without its newline was cut
// short by a kill: it is dropped, from the file too.
Result<std::vector<nlohmann::json>> read_lines(const std::string& path);
// Appends one line and hands it to the system.
Status append_line(const std::string& path, const nlohmann::json& line);

nlohmann::json to_json(const KernelTime& time);

}  // namespace lathe
