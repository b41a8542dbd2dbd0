#include "lathe/eval/data/text_file.h"

#include <algorithm>

#include "lathe/base/mapped_file.h"
#include "lathe/text/unicode.h"

namespace lathe {

Result<std::string> read_utf8(const std::string& path) {
  LATHE_TRY(std::string text, read_text(path));
  if (text.empty()) return bad_input("{}: the file is empty", path);
  std::string storage;
  const std::string_view valid = text::valid_utf8(text, storage);
  if (valid.data() == text.data()) return text;
  size_t line = 1, i = 0;
  for (; i < std::min(text.size(), storage.size()) && text[i] == storage[i]; ++i) {
    line += text[i] == '\n' ? 1 : 0;
  }
  return bad_input("{}:{}: not valid UTF-8", path, line).with_hint("convert the file to UTF-8");
}

}  // namespace lathe
