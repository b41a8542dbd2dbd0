// From generated text to the answer that is scored: the steps of a task file's `filters`.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "lathe/eval/data/pattern.h"

namespace lathe {

// Steps, in order:
//   regex: PATTERN, or {pattern, select: 0, fallback: "[invalid]"}: the select-th match (negative:
//          from the end), without white space around it; lm-evaluation-harness's rule
//   strip, first_line, lower: true
//   until: TEXT, what stands before it
//   remove: PATTERN, all its matches
//   replace: {TEXT: TEXT, …}
class Filter {
 public:
  // `steps`: a list of maps of one key each.
  static Result<Filter> parse(const nlohmann::ordered_json& steps);
  std::string apply(std::string text) const;

 private:
  struct Step {
    enum class Kind : uint8_t {
      kRegex,
      kStrip,
      kFirstLine,
      kLower,
      kUntil,
      kRemove,
      kReplace
    } kind;
    std::vector<Pattern> pattern;  // one, of kRegex and kRemove
    int64_t select = 0;
    std::string text;     // the fallback, what to stop at, or what to replace …
    std::string by = {};  // … and by what
  };
  static Result<Step> parse_step(const std::string& name, const nlohmann::ordered_json& value);
  Status add(const std::string& name, const nlohmann::ordered_json& value);

  std::vector<Step> steps_;
};

}  // namespace lathe
