#include "lathe/eval/data/rows.h"

#include <cstdlib>
#include <filesystem>
#include <span>

#include "lathe/base/suggest.h"
#include "lathe/eval/data/csv.h"
#include "lathe/eval/data/hub_data.h"
#include "lathe/eval/data/text_file.h"
#include "lathe/model/checkpoint.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;

bool is_file(const std::string& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

Result<std::string> locate(const RowSource& source, const std::string& suffix) {
  std::vector<std::string> tried;
  for (const std::string& path : source.paths) {
    constexpr std::string_view kBundled = "bundled:";
    if (path.starts_with(kBundled)) {
      LATHE_TRY(const std::string model, resolve_model("bundled"));
      tried.push_back(model + "/data/" + path.substr(kBundled.size()));
    } else {
      tried.push_back(path);
      if (!source.folder.empty()) tried.push_back(source.folder + "/" + path);
      if (const char* data = std::getenv("LATHE_DATA"))
        tried.push_back(std::string(data) + "/" + path);
    }
  }
  for (const std::string& path : tried) {
    if (is_file(path + suffix)) return path;
  }
  for (const std::string& path : source.paths) {
    LATHE_TRY(const auto pulled, find_in_pulled_data(path));
    if (pulled && is_file(*pulled + suffix)) return *pulled;
  }
  if (tried.empty()) {
    return bad_input("no data given").with_hint("set the task's parameter 'data' to a file");
  }
  return not_found("data file '{}' is not there", source.paths.front() + suffix)
      .with_hint(
          "set the task's parameter 'data' to a file, or to ORG/NAME:FILE after 'lathe pull "
          "--dataset ORG/NAME', or LATHE_DATA to the folder that holds it");
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.push_back(line);
    begin = end + 1;
  }
  return lines;
}

bool full(const std::vector<Row>& rows, int64_t limit) {
  return limit > 0 && std::ssize(rows) >= limit;
}

Result<std::vector<Row>> read_json(const RowSource& source, const std::string& path,
                                   int64_t limit) {
  LATHE_TRY(const std::string text, read_utf8(path));
  const Row json = Row::parse(text, nullptr, false);
  if (json.is_discarded()) return bad_input("{}: not valid JSON", path);
  const Row* list = &json;
  for (size_t begin = 0; begin < source.rows.size();) {
    const size_t end = std::min(source.rows.find('.', begin), source.rows.size());
    const std::string key = source.rows.substr(begin, end - begin);
    if (!list->is_object() || !list->contains(key)) {
      return bad_input("{}: has no '{}' ('rows' is '{}')", path, key, source.rows);
    }
    list = &(*list)[key];
    begin = end + 1;
  }
  if (!list->is_array()) {
    return bad_input("{}: the rows are not a list", path)
        .with_hint("'rows' names the key of the list inside the file");
  }
  std::vector<Row> rows;
  for (const Row& row : *list) {
    if (full(rows, limit)) break;
    if (!row.is_object()) return bad_input("{}: row {} is no object", path, rows.size() + 1);
    rows.push_back(row);
  }
  return rows;
}

Result<std::vector<Row>> read_jsonl(const std::string& path, int64_t limit) {
  LATHE_TRY(const std::string text, read_utf8(path));
  std::vector<Row> rows;
  int64_t number = 0;
  for (const std::string_view line : lines_of(text)) {
    ++number;
    if (full(rows, limit)) break;
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    Row row = Row::parse(line, nullptr, false);
    if (row.is_discarded() || !row.is_object()) {
      return bad_input("{}:{}: not a JSON object", path, number);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::vector<Row>> read_table(const RowSource& source, const std::string& path,
                                    char separator, int64_t limit) {
  LATHE_TRY(const std::string text, read_utf8(path));
  LATHE_TRY_IN(const auto records, parse_csv(text, separator, limit > 0 ? limit + 1 : 0), path);
  std::vector<std::string> names;
  for (const auto& [name, suffix] : source.columns) names.push_back(name);
  size_t first = 0;
  if (names.empty() && !records.empty()) {
    names = records[0].fields;
    first = 1;
  }
  std::vector<Row> rows;
  for (size_t r = first; r < records.size() && !full(rows, limit); ++r) {
    const CsvRecord& record = records[r];
    if (record.fields.size() != names.size()) {
      return bad_input("{}:{}: {} fields, expected {}", path, record.line, record.fields.size(),
                       names.size());
    }
    Row row = Row::object();
    for (size_t i = 0; i < names.size(); ++i) row[names[i]] = record.fields[i];
    rows.push_back(std::move(row));
  }
  return rows;
}

Result<std::vector<Row>> read_parallel(const RowSource& source, const std::string& path,
                                       int64_t limit) {
  std::vector<Row> rows;
  size_t expected = 0;
  for (const auto& [name, suffix] : source.columns) {
    LATHE_TRY(const std::string text, read_utf8(path + suffix));
    const auto lines = lines_of(text);
    const bool first = &source.columns.front().first == &name;
    if (first) expected = lines.size();
    if (lines.size() != expected) {
      return bad_input("{}: {} lines, but {} has {}", path + suffix, lines.size(),
                       path + source.columns.front().second, expected);
    }
    const size_t count =
        limit > 0 ? std::min(lines.size(), static_cast<size_t>(limit)) : lines.size();
    if (first) rows.assign(count, Row::object());
    for (size_t i = 0; i < count; ++i) rows[i][name] = std::string(lines[i]);
  }
  return rows;
}

std::string format_of(const RowSource& source, const std::string& path) {
  const bool by_line = source.format == "lines" || source.format == "parallel";
  if (!source.format.empty() && (by_line || !source.ending_decides)) return source.format;
  if (path.ends_with(".jsonl") || path.ends_with(".ndjson")) return "jsonl";
  if (path.ends_with(".json")) return "json";
  if (path.ends_with(".csv")) return "csv";
  if (path.ends_with(".tsv")) return "tsv";
  if (path.ends_with(".parquet")) return "parquet";
  return source.format;
}

}  // namespace

std::vector<std::string> row_files(const RowSource& source) {
  std::vector<std::string> files;
  const bool parallel = source.format == "parallel";
  const auto path = locate(source, parallel ? source.columns.front().second : "");
  if (!path.ok()) return files;
  if (!parallel) return {*path};
  for (const auto& [name, suffix] : source.columns) files.push_back(*path + suffix);
  return files;
}

const std::vector<std::string>& row_formats() {
  static const std::vector<std::string> formats = {"json", "jsonl", "csv",
                                                   "tsv",  "lines", "parallel"};
  return formats;
}

RowSource with_file(RowSource source, const std::string& path) {
  source.paths = {path};
  source.ending_decides = true;
  return source;
}

Result<std::vector<Row>> read_rows(const RowSource& source, int64_t limit, std::string* path) {
  const bool by_suffix = source.format == "parallel";
  LATHE_TRY(const std::string found,
            locate(source, by_suffix ? source.columns.front().second : ""));
  if (path) *path = found;
  const std::string format = format_of(source, found);
  Result<std::vector<Row>> rows = std::vector<Row>();
  if (format == "json") {
    rows = read_json(source, found, limit);
  } else if (format == "jsonl") {
    rows = read_jsonl(found, limit);
  } else if (format == "csv" || format == "tsv") {
    rows = read_table(source, found, format == "csv" ? ',' : '\t', limit);
  } else if (by_suffix || format == "lines") {
    rows = read_parallel(source, found, limit);
  } else if (format == "parquet") {
    return unsupported("{}: Parquet is not read", found)
        .with_hint(
            "convert it, for example with DuckDB: COPY (FROM 'x.parquet') TO 'x.jsonl' (FORMAT "
            "json)");
  } else {
    return bad_input("{}: cannot tell the format from the name", found)
        .with_hint("set 'format' to one of json, jsonl, csv, tsv, lines, parallel");
  }
  if (rows.ok() && rows->empty()) return bad_input("{}: holds no rows", found);
  return rows;
}

}  // namespace lathe
