#include "lathe/eval/data/csv.h"

namespace lathe {
namespace {

class Parser {
 public:
  Parser(std::string_view text, char separator) : text_(text), separator_(separator) {}

  bool done() const { return at_ >= text_.size(); }

  Result<CsvRecord> record() {
    CsvRecord record{line_, {}};
    while (true) {
      LATHE_TRY(std::string value, field());
      record.fields.push_back(std::move(value));
      if (done()) return record;
      const char c = text_[at_++];
      if (c == separator_) continue;
      if (c == '\r' && !done() && text_[at_] == '\n') ++at_;
      ++line_;
      return record;
    }
  }

 private:
  // Up to a separator, the end of the line, or the end of the text, none of them taken.
  Result<std::string> field() {
    if (done() || text_[at_] != '"') {
      const size_t begin = at_;
      while (!done() && !ends_field(text_[at_])) ++at_;
      return std::string(text_.substr(begin, at_ - begin));
    }
    const int64_t opened = line_;
    std::string value;
    for (++at_; !done(); ++at_) {
      if (text_[at_] == '\n') ++line_;
      if (text_[at_] != '"') {
        value += text_[at_];
      } else if (at_ + 1 < text_.size() && text_[at_ + 1] == '"') {
        value += '"';
        ++at_;
      } else {
        ++at_;
        if (!done() && !ends_field(text_[at_])) {
          return bad_input("line {}: text behind a closing quote", line_);
        }
        return value;
      }
    }
    return bad_input("line {}: a quote that is never closed", opened);
  }

  bool ends_field(char c) const { return c == separator_ || c == '\n' || c == '\r'; }

  std::string_view text_;
  char separator_;
  size_t at_ = 0;
  int64_t line_ = 1;
};

}  // namespace

Result<std::vector<CsvRecord>> parse_csv(std::string_view text, char separator, int64_t limit) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  Parser parser(text, separator);
  std::vector<CsvRecord> records;
  while (!parser.done() && (limit == 0 || std::ssize(records) < limit)) {
    LATHE_TRY(CsvRecord record, parser.record());
    if (record.fields.size() == 1 && record.fields[0].empty()) continue;
    records.push_back(std::move(record));
  }
  return records;
}

}  // namespace lathe
