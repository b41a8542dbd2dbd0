#include "lathe/eval/data/filter.h"

#include "lathe/base/suggest.h"
#include "lathe/eval/data/fields.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

std::string strip(std::string_view text) {
  const std::u32string decoded = decode_utf8(text);
  return encode_utf8(python_strip(decoded));
}

}  // namespace

Result<Filter::Step> Filter::parse_step(const std::string& name,
                                        const nlohmann::ordered_json& value) {
  const std::vector<std::string> known = {"regex", "strip",  "first_line", "lower",
                                          "until", "remove", "replace"};
  if (name == "regex") {
    Step step{Step::Kind::kRegex, {}, 0, "[invalid]"};
    std::string source;
    if (value.is_string()) {
      source = value.get<std::string>();
    } else {
      Fields fields(value, "regex");
      LATHE_TRY(source, fields.text("pattern"));
      LATHE_TRY(step.select, fields.integer("select", 0));
      LATHE_TRY(step.text, fields.text("fallback", step.text));
      LATHE_OK(fields.finish());
    }
    LATHE_TRY(Pattern pattern, Pattern::compile(source));
    step.pattern.push_back(std::move(pattern));
    return step;
  }
  if (name == "remove") {
    if (!value.is_string()) return bad_input("the filter 'remove' needs a pattern");
    LATHE_TRY(Pattern pattern, Pattern::compile(value.get<std::string>()));
    Step step{Step::Kind::kRemove, {}, 0, ""};
    step.pattern.push_back(std::move(pattern));
    return step;
  }
  if (name == "until") {
    if (!value.is_string() || value.get<std::string>().empty()) {
      return bad_input("the filter 'until' needs a text");
    }
    return Step{Step::Kind::kUntil, {}, 0, value.get<std::string>()};
  }
  if (name != "strip" && name != "first_line" && name != "lower") {
    return bad_input("unknown filter '{}'", name).with_hint(suggest(name, known));
  }
  if (value != true) return bad_input("the filter '{}' must be true", name);
  const auto kind = name == "strip"        ? Step::Kind::kStrip
                    : name == "first_line" ? Step::Kind::kFirstLine
                                           : Step::Kind::kLower;
  return Step{kind, {}, 0, ""};
}

Status Filter::add(const std::string& name, const nlohmann::ordered_json& value) {
  if (name != "replace") {
    LATHE_TRY(Step step, parse_step(name, value));
    steps_.push_back(std::move(step));
    return {};
  }
  if (!value.is_object()) return bad_input("the filter 'replace' needs a map from texts to texts");
  for (const auto& [text, by] : value.items()) {
    if (text.empty() || !by.is_string()) return bad_input("the filter 'replace' needs texts");
    steps_.push_back({Step::Kind::kReplace, {}, 0, text, by.get<std::string>()});
  }
  return {};
}

Result<Filter> Filter::parse(const nlohmann::ordered_json& steps) {
  if (!steps.is_array()) return bad_input("the steps of a filter must be a list");
  Filter filter;
  for (const auto& step : steps) {
    if (!step.is_object() || step.size() != 1) {
      return bad_input("a step of a filter must be one 'name: value', found {}", step.dump());
    }
    LATHE_OK(filter.add(step.items().begin().key(), step.items().begin().value()));
  }
  return filter;
}

std::string Filter::apply(std::string text) const {
  for (const Step& step : steps_) {
    switch (step.kind) {
      case Step::Kind::kRegex: {
        const auto found = step.pattern[0].find_all(text);
        const int64_t at = step.select < 0 ? std::ssize(found) + step.select : step.select;
        const bool there =
            at >= 0 && at < std::ssize(found) && !found[static_cast<size_t>(at)].empty();
        text = there ? strip(found[static_cast<size_t>(at)]) : step.text;
        break;
      }
      case Step::Kind::kStrip:
        text = strip(text);
        break;
      case Step::Kind::kFirstLine:
        text.resize(std::min(text.find('\n'), text.size()));
        break;
      case Step::Kind::kLower:
        text = encode_utf8(python_lower(decode_utf8(text)));
        break;
      case Step::Kind::kRemove:
        text = step.pattern[0].remove(text);
        break;
      case Step::Kind::kReplace:
        for (size_t at = text.find(step.text); at != std::string::npos;
             at = text.find(step.text, at + step.by.size())) {
          text.replace(at, step.text.size(), step.by);
        }
        break;
      case Step::Kind::kUntil:
        text.resize(std::min(text.find(step.text), text.size()));
        break;
    }
  }
  return text;
}

}  // namespace lathe
