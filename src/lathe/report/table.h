// Renderings of a Comparison, and of plain result rows.
#pragma once

#include <string>

#include "lathe/report/comparison.h"

namespace lathe {

// Aligned, with colours where `colour`: green better, red worse than the baseline, yellow
// undecided.
std::string terminal_table(const Comparison& comparison, bool colour);
std::string markdown_table(const Comparison& comparison);
// One line a number, all of them (RFC 4180).
std::string csv_rows(const std::vector<Run>& runs);
// The same as JSON, one object a line.
std::string jsonl_rows(const std::vector<Run>& runs);

// Of the tasks' preflights, a sentence for each metric that a task has left out, and why.
std::vector<std::string> left_out(const nlohmann::json& preflights);

// Rows without variants (eval, profile): metric, value with interval, unit, n.
std::string terminal_rows(const std::vector<Measurement>& rows, bool colour);

// Aligned columns: `left_columns` of text, the others figures. The first row is the heading.
std::string plain_table(const std::vector<std::vector<std::string>>& rows, size_t left_columns);
// "3.2 s", "4 min 10 s", "2 h 5 min"
std::string time_text(double seconds);

// "6.18", "1,446", "3.2 MB": a number for people.
std::string human(double value, const std::string& unit);

}  // namespace lathe
