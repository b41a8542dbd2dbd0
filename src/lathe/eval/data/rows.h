// Rows of a data set from the usual files, each an object of named fields.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

using Row = nlohmann::ordered_json;

struct RowSource {
  // Where to look, the first that is there: "bundled:FILE" lies beside the bundled model; other
  // names are tried as they are, below `folder`, below LATHE_DATA, and as data sets of the hub
  // that were pulled (hub_data.h).
  std::vector<std::string> paths;
  std::string folder;  // of the task file; may be empty
  // "json" (a list, or an object that has one at `rows`), "jsonl", "csv", "tsv", "lines" (one
  // field, named by the only column), "parallel" (line-aligned files: path + suffix for each
  // column); empty: by the file's ending.
  std::string format;
  std::string rows;  // json: keys on the way to the list: "data.items"
  std::vector<std::pair<std::string, std::string>>
      columns;                  // lines: {name, ""}; parallel: {name, suffix};
                                // csv and tsv without a header: names
  bool ending_decides = false;  // over `format`, unless that is line-aligned
};

const std::vector<std::string>& row_formats();

// The same rows from another file, which the user named: where its ending tells a format, that one
// stands instead of the task's.
RowSource with_file(RowSource source, const std::string& path);

// At most `limit` rows (0: all); none is an error. All text is UTF-8. `path` receives the file
// read.
Result<std::vector<Row>> read_rows(const RowSource& source, int64_t limit,
                                   std::string* path = nullptr);

// The files that read_rows() would read; none where they are not there.
std::vector<std::string> row_files(const RowSource& source);

}  // namespace lathe
