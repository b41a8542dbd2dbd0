// Regular expressions of task files: Python's re, as far as PCRE2 reads the same language (that is
// all that published filters use).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

class Pattern {
 public:
  static Result<Pattern> compile(const std::string& source);
  Pattern(Pattern&&) noexcept;
  Pattern& operator=(Pattern&&) noexcept;
  ~Pattern();

  // re.findall as lm-evaluation-harness reads it: of each match the whole, the only group, or the
  // first group that is not empty. `text` may hold broken UTF-8, which counts as U+FFFD.
  std::vector<std::string> find_all(std::string_view text) const;
  // re.sub(source, "", text).
  std::string remove(std::string_view text) const;

 private:
  struct Impl;
  explicit Pattern(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
