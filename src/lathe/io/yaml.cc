#include "lathe/io/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "lathe/base/parse_number.h"

namespace lathe {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostDepth = 64;
constexpr size_t kMostValues = 200'000;
constexpr size_t kMostBytes = size_t{8} << 20;

// What leaves the parser's callbacks; never leaves this file.
struct Refused {
  YAML::Mark mark;
  std::string what;
};

std::optional<int64_t> integer_of(std::string_view text) {
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.remove_prefix(1);
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0o")) {
    base = text[1] == 'x' ? 16 : 8;
    text.remove_prefix(2);
  }
  if (text.empty() || text[0] == '-' || text[0] == '+') return std::nullopt;
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return negative ? -static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

std::optional<double> float_of(std::string_view text) {
  for (const char* name : {".nan", ".NaN", ".NAN"}) {
    if (text == name) return std::numeric_limits<double>::quiet_NaN();
  }
  double sign = 1;
  if (text.starts_with('-') || text.starts_with('+')) {
    sign = text[0] == '-' ? -1 : 1;
    text.remove_prefix(1);
  }
  for (const char* name : {".inf", ".Inf", ".INF"}) {
    if (text == name) return sign * std::numeric_limits<double>::infinity();
  }
  // from_chars also knows "inf" and "nan", which YAML does not.
  if (text.empty() || text.find_first_not_of("0123456789.eE+-") != std::string_view::npos ||
      (text[0] != '.' && (text[0] < '0' || text[0] > '9'))) {
    return std::nullopt;
  }
  const auto value = parse_number<double>(text);
  if (!value) return std::nullopt;
  return sign * *value;
}

Json plain_scalar(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") {
    return nullptr;
  }
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (const auto number = integer_of(text)) return *number;
  if (const auto number = float_of(text)) return *number;
  return text;
}

size_t values_in(const Json& json) {
  size_t count = 1;
  if (json.is_structured()) {
    for (const Json& child : json) count += values_in(child);
  }
  return count;
}

size_t depth_of(const Json& json) {
  size_t depth = 0;
  if (json.is_structured()) {
    for (const Json& child : json) depth = std::max(depth, depth_of(child));
  }
  return depth + 1;
}

class Builder : public YAML::EventHandler {
 public:
  Json root = nullptr;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    put(mark, anchor, nullptr, "");
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // "?" marks a plain scalar, "!" a quoted one.
    if (tag == "?" || tag.empty()) return put(mark, anchor, plain_scalar(value), value);
    if (tag != "!" && tag != "tag:yaml.org,2002:str") {
      throw Refused{mark, fmt::format("the tag '{}' is not supported", tag)};
    }
    put(mark, anchor, value, value);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw Refused{mark, "an alias to a value that contains it"};
    if (it->second.is_structured()) {
      count(mark, values_in(it->second));
      if (depth_of(it->second) + open_.size() > kMostDepth) too_deep(mark);
    }
    put(mark, YAML::NullAnchor, it->second,
        it->second.is_string() ? it->second.get<std::string>() : it->second.dump());
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, Json::array());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    begin(mark, tag, anchor, Json::object());
  }
  void OnSequenceEnd() override { end(); }
  void OnMapEnd() override { end(); }

 private:
  struct Open {
    Json value;
    YAML::anchor_t anchor;
    YAML::Mark mark;
    std::string key;
    bool has_key = false;
  };

  [[noreturn]] static void too_deep(const YAML::Mark& mark) {
    throw Refused{mark, fmt::format("more than {} levels deep", kMostDepth)};
  }

  void count(const YAML::Mark& mark, size_t values) {
    values_ += values;
    if (values_ > kMostValues) throw Refused{mark, fmt::format("more than {} values", kMostValues)};
  }

  void begin(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, Json value) {
    if (!tag.empty() && tag != "?" && tag != "!") {
      throw Refused{mark, fmt::format("the tag '{}' is not supported", tag)};
    }
    if (open_.size() >= kMostDepth) too_deep(mark);
    if (expects_key()) throw Refused{mark, "a key must be a single word or text"};
    open_.push_back({std::move(value), anchor, mark, {}, false});
  }

  void end() {
    Open done = std::move(open_.back());
    open_.pop_back();
    put(done.mark, done.anchor, std::move(done.value), "");
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().value.is_object() && !open_.back().has_key;
  }

  // `text`: the value as written, should it turn out to be a key.
  void put(const YAML::Mark& mark, YAML::anchor_t anchor, Json value, const std::string& text) {
    count(mark, 1);
    if (anchor != YAML::NullAnchor) anchors_[anchor] = value;
    if (open_.empty()) {
      root = std::move(value);
      return;
    }
    Open& parent = open_.back();
    if (parent.value.is_array()) {
      parent.value.push_back(std::move(value));
    } else if (parent.has_key) {
      parent.value[parent.key] = std::move(value);
      parent.has_key = false;
    } else {
      if (value.is_structured() || text.empty()) {
        throw Refused{mark, "a key must be a single word or text"};
      }
      if (text == "<<") {
        throw Refused{mark, "merge keys ('<<') are not supported; write the values out"};
      }
      if (parent.value.contains(text)) {
        throw Refused{mark, fmt::format("the key '{}' stands here twice", text)};
      }
      parent.key = text;
      parent.has_key = true;
    }
  }

  std::vector<Open> open_;
  std::map<YAML::anchor_t, Json> anchors_;
  size_t values_ = 0;
};

Error error_at(std::string_view where, const YAML::Mark& mark, std::string_view what) {
  if (mark.is_null()) return bad_input("{}: {}", where, what);
  return bad_input("{}:{}:{}: {}", where, mark.line + 1, mark.column + 1, what);
}

}  // namespace

Result<nlohmann::ordered_json> yaml_to_ordered_json(std::string_view text, std::string_view where) {
  if (text.size() > kMostBytes) {
    return bad_input("{}: {} bytes of YAML, more than the {} allowed", where, text.size(),
                     kMostBytes);
  }
  if (text.find('\0') != std::string_view::npos) {
    return bad_input("{}: not text (it holds a zero byte)", where);
  }
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    Builder builder;
    if (!parser.HandleNextDocument(builder)) return Json(nullptr);
    Builder next;
    if (parser.HandleNextDocument(next)) {
      return bad_input("{}: holds more than one YAML document", where);
    }
    // What is not UTF-8 would only fail later, when it is written.
    static_cast<void>(builder.root.dump());
    return std::move(builder.root);
  } catch (const Refused& refused) {
    return error_at(where, refused.mark, refused.what);
  } catch (const YAML::Exception& error) {
    return error_at(where, error.mark, error.msg);
  } catch (const nlohmann::json::exception&) {
    return bad_input("{}: not valid UTF-8", where);
  }
}

Result<nlohmann::json> yaml_to_json(std::string_view text, std::string_view where) {
  LATHE_TRY(const Json ordered, yaml_to_ordered_json(text, where));
  return nlohmann::json(ordered);
}

}  // namespace lathe
