// Comma-separated values (RFC 4180): quoted fields may hold separators, newlines and doubled
// quotes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

struct CsvRecord {
  int64_t line;  // where it begins
  std::vector<std::string> fields;
};

// Blank lines are left out. At most `limit` records (0: all).
Result<std::vector<CsvRecord>> parse_csv(std::string_view text, char separator, int64_t limit);

}  // namespace lathe
