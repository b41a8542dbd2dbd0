// Regular expressions as tokenizer files write them (Oniguruma's Ruby syntax, Unicode), run by
// PCRE2 with its JIT. The two dialects differ; what published patterns use is translated, the rest
// is refused: \s \S \w \W get Oniguruma's Unicode meaning, \h is a hexadecimal digit, ^ and $ are
// line anchors; class intersection (&&) and nested classes are unsupported.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe::text {

struct Range {
  size_t begin, end;
};

class Regex {
 public:
  static Result<Regex> compile(const std::string& pattern);
  Regex(Regex&&) noexcept;
  Regex& operator=(Regex&&) noexcept;
  ~Regex();

  // All matches, left to right, not overlapping. `text` is valid UTF-8.
  void find_all(std::string_view text, std::vector<Range>& matches) const;

 private:
  struct Impl;
  explicit Regex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::text
