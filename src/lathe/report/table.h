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

// Rows without variants (eval, profile): metric, value with interval, unit, n.
std::string terminal_rows(const std::vector<Measurement>& rows, bool colour);

// "6.18", "1,446", "3.2 MB": a number for people.
std::string human(double value, const std::string& unit);

}  // namespace lathe
