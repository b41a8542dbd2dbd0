#include "lathe/text/jinja/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "lathe/text/unicode.h"

namespace lathe::jinja {
namespace {

[[noreturn]] void wrong_type(const Value& v, const char* wanted) {
  if (v.is_undefined()) throw TemplateError(fmt::format("'{}' is undefined", v.undefined_name()));
  throw TemplateError(fmt::format("expected {}, got {}", wanted, v.type_name()));
}

int checked_nesting(int deepest) {
  if (deepest >= kMaxNesting)
    throw TemplateError(fmt::format("values nested deeper than {}", kMaxNesting));
  return deepest + 1;
}

std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  std::string s = fmt::format("{}", d);
  if (s.find_first_of(".e") == std::string::npos) s += ".0";
  return s;
}

std::string string_repr(const std::string& s) {
  const char quote =
      s.find('\'') != std::string::npos && s.find('"') == std::string::npos ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : s) {
    const auto b = static_cast<uint8_t>(c);
    if (c == quote || c == '\\') {
      (out += '\\') += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (b < 0x20 || b == 0x7f) {
      out += fmt::format("\\x{:02x}", b);
    } else {
      out += c;
    }
  }
  return out += quote;
}

void json_string(const std::string& s, bool ascii, std::string& out) {
  out += '"';
  for (std::string_view v = s; !v.empty();) {
    const text::Decoded d = text::decode_utf8(v);
    switch (d.c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      case '\b':
        out += "\\b";
        break;
      case '\f':
        out += "\\f";
        break;
      default:
        if (d.c < 0x20 || (ascii && d.c > 0x7e && d.c < 0x10000)) {
          out += fmt::format("\\u{:04x}", static_cast<uint32_t>(d.c));
        } else if (ascii && d.c >= 0x10000) {
          const auto c = static_cast<uint32_t>(d.c) - 0x10000;
          out += fmt::format("\\u{:04x}\\u{:04x}", 0xd800 + (c >> 10), 0xdc00 + (c & 0x3ff));
        } else {
          out += v.substr(0, d.length);
        }
    }
    v.remove_prefix(d.length);
  }
  out += '"';
}

void json_value(const Value& v, const JsonStyle& style, int level, std::string& out) {
  const auto line = [&](int at) {
    if (style.indent < 0) return;
    out += '\n';
    out.append(static_cast<size_t>(style.indent) * static_cast<size_t>(at), ' ');
  };
  if (v.is_none()) {
    out += "null";
  } else if (v.is_bool()) {
    out += v.as_bool() ? "true" : "false";
  } else if (v.is_int()) {
    out += fmt::format("{}", v.as_int());
  } else if (v.is_float()) {
    const double d = v.as_double();
    out += std::isnan(d)   ? "NaN"
           : std::isinf(d) ? (d > 0 ? "Infinity" : "-Infinity")
                           : float_text(d);
  } else if (v.is_string()) {
    json_string(v.as_string(), style.ascii, out);
  } else if (v.is_list()) {
    out += '[';
    bool first = true;
    for (const Value& item : v.as_list()) {
      if (!first) out += style.item_separator;
      first = false;
      line(level + 1);
      json_value(item, style, level + 1, out);
    }
    if (!first) line(level);
    out += ']';
  } else if (v.is_dict()) {
    std::vector<const std::pair<std::string, Value>*> items;
    for (const auto& item : v.as_dict().items) items.push_back(&item);
    if (style.sort_keys)
      std::stable_sort(items.begin(), items.end(),
                       [](const auto* a, const auto* b) { return a->first < b->first; });
    out += '{';
    bool first = true;
    for (const auto* item : items) {
      if (!first) out += style.item_separator;
      first = false;
      line(level + 1);
      json_string(item->first, style.ascii, out);
      out += style.key_separator;
      json_value(item->second, style, level + 1, out);
    }
    if (!first) line(level);
    out += '}';
  } else {
    wrong_type(v, "something that JSON can hold");
  }
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  for (const auto& [k, v] : items)
    if (k == key) return &v;
  return nullptr;
}

void Dict::set(std::string key, Value value) {
  for (auto& [k, v] : items)
    if (k == key) {
      v = std::move(value);
      return;
    }
  items.emplace_back(std::move(key), std::move(value));
}

Value::Value(List list) {
  int deepest = 0;
  for (const Value& v : list) deepest = std::max(deepest, v.nesting());
  nesting_ = checked_nesting(deepest);
  v_ = std::make_shared<const List>(std::move(list));
}

Value::Value(Dict dict) {
  int deepest = 0;
  for (const auto& [key, v] : dict.items) deepest = std::max(deepest, v.nesting());
  nesting_ = checked_nesting(deepest);
  v_ = std::make_shared<const Dict>(std::move(dict));
}

Value Value::from_json(const nlohmann::ordered_json& json, int depth) {
  if (depth > kMaxNesting)
    throw TemplateError(fmt::format("variables nested deeper than {}", kMaxNesting));
  switch (json.type()) {
    case nlohmann::ordered_json::value_t::boolean:
      return json.get<bool>();
    case nlohmann::ordered_json::value_t::number_integer:
      return json.get<int64_t>();
    case nlohmann::ordered_json::value_t::number_unsigned:
      return static_cast<int64_t>(json.get<uint64_t>());
    case nlohmann::ordered_json::value_t::number_float:
      return json.get<double>();
    case nlohmann::ordered_json::value_t::string: {
      std::string storage;
      return Value(text::valid_utf8(json.get_ref<const std::string&>(), storage));
    }
    case nlohmann::ordered_json::value_t::array: {
      List list;
      list.reserve(json.size());
      for (const auto& item : json) list.push_back(from_json(item, depth + 1));
      return Value(std::move(list));
    }
    case nlohmann::ordered_json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items())
        dict.items.emplace_back(key, from_json(item, depth + 1));
      return Value(std::move(dict));
    }
    default:
      return Value();
  }
}

int64_t Value::as_int() const {
  if (is_bool()) return as_bool() ? 1 : 0;
  if (!is_int()) wrong_type(*this, "an integer");
  return std::get<int64_t>(v_);
}

double Value::as_double() const {
  if (is_float()) return std::get<double>(v_);
  if (is_int() || is_bool()) return static_cast<double>(as_int());
  wrong_type(*this, "a number");
}

const std::string& Value::as_string() const {
  if (!is_string()) wrong_type(*this, "a string");
  return *std::get<StringPtr>(v_);
}

Namespace* Value::as_namespace() const {
  const auto* p = std::get_if<std::shared_ptr<Namespace>>(&v_);
  return p ? p->get() : nullptr;
}

Loop* Value::as_loop() const {
  const auto* p = std::get_if<std::shared_ptr<Loop>>(&v_);
  return p ? p->get() : nullptr;
}

bool Value::truthy() const {
  if (is_undefined() || is_none()) return false;
  if (is_bool()) return as_bool();
  if (is_int()) return as_int() != 0;
  if (is_float()) return as_double() != 0;
  if (is_string()) return !as_string().empty();
  if (is_list()) return !as_list().empty();
  if (is_dict()) return !as_dict().items.empty();
  return true;
}

int64_t Value::length() const {
  if (is_undefined()) return 0;
  if (is_list()) return static_cast<int64_t>(as_list().size());
  if (is_dict()) return static_cast<int64_t>(as_dict().items.size());
  if (is_string()) {
    const std::string& s = as_string();
    return std::count_if(s.begin(), s.end(),
                         [](char c) { return (static_cast<uint8_t>(c) & 0xc0) != 0x80; });
  }
  throw TemplateError(fmt::format("object of type '{}' has no len()", type_name()));
}

int Value::nesting() const {
  // A namespace, or a macro, inside a container could make a cycle.
  if (as_namespace() || as_loop() || is_callable()) return kMaxNesting;
  return nesting_;
}

const char* Value::type_name() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return "list";
  if (is_dict()) return "dict";
  if (as_namespace()) return "Namespace";
  return as_loop() ? "LoopContext" : "function";
}

std::string Value::str() const {
  if (is_undefined()) return "";
  if (is_string()) return as_string();
  return repr();
}

std::string Value::repr() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return as_bool() ? "True" : "False";
  if (is_int()) return fmt::format("{}", as_int());
  if (is_float()) return float_text(as_double());
  if (is_string()) return string_repr(as_string());
  std::string out;
  if (is_list()) {
    for (const Value& v : as_list()) {
      if (!out.empty()) out += ", ";
      out += v.repr();
    }
    if (!is_tuple()) return fmt::format("[{}]", out);
    return fmt::format("({}{})", out, as_list().size() == 1 ? "," : "");
  }
  if (is_dict()) {
    for (const auto& [key, v] : as_dict().items) {
      if (!out.empty()) out += ", ";
      out.append(string_repr(key)).append(": ").append(v.repr());
    }
    return fmt::format("{{{}}}", out);
  }
  return fmt::format("<{}>", type_name());
}

bool equal(const Value& a, const Value& b) {
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float()) return a.as_double() == b.as_double();
    return a.as_int() == b.as_int();
  }
  if (a.is_string() && b.is_string()) return a.as_string() == b.as_string();
  if (a.is_list() && b.is_list())
    return a.is_tuple() == b.is_tuple() &&
           std::equal(a.as_list().begin(), a.as_list().end(), b.as_list().begin(),
                      b.as_list().end(), equal);
  if (a.is_dict() && b.is_dict()) {
    if (a.as_dict().items.size() != b.as_dict().items.size()) return false;
    for (const auto& [key, v] : a.as_dict().items) {
      const Value* other = b.as_dict().find(key);
      if (!other || !equal(v, *other)) return false;
    }
    return true;
  }
  return false;
}

int compare(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is_float() || b.is_float())
      return a.as_double() < b.as_double() ? -1 : a.as_double() > b.as_double() ? 1 : 0;
    return a.as_int() < b.as_int() ? -1 : a.as_int() > b.as_int() ? 1 : 0;
  }
  if (a.is_string() && b.is_string()) {
    const int c = a.as_string().compare(b.as_string());
    return c < 0 ? -1 : c > 0 ? 1 : 0;
  }
  if (a.is_list() && b.is_list()) {
    const List &x = a.as_list(), &y = b.as_list();
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(x[i], y[i])) return compare(x[i], y[i]);
    return x.size() < y.size() ? -1 : x.size() > y.size() ? 1 : 0;
  }
  for (const Value* v : {&a, &b})
    if (v->is_undefined())
      throw TemplateError(fmt::format("'{}' is undefined", v->undefined_name()));
  throw TemplateError(fmt::format("'{}' and '{}' cannot be ordered", a.type_name(), b.type_name()));
}

bool contains(const Value& container, const Value& item) {
  if (container.is_string())
    return container.as_string().find(item.as_string()) != std::string::npos;
  if (container.is_dict()) return item.is_string() && container.as_dict().find(item.as_string());
  const auto items = iterate(container);
  return std::any_of(items->begin(), items->end(), [&](const Value& v) { return equal(v, item); });
}

std::shared_ptr<const List> iterate(const Value& value) {
  if (value.is_list()) return value.list_pointer();
  auto out = std::make_shared<List>();
  if (value.is_undefined()) return out;
  if (value.is_dict()) {
    for (const auto& [key, v] : value.as_dict().items) out->emplace_back(key);
    return out;
  }
  if (value.is_string()) {
    for (std::string_view s = value.as_string(); !s.empty();) {
      const size_t n = text::decode_utf8(s).length;
      out->emplace_back(s.substr(0, n));
      s.remove_prefix(n);
    }
    return out;
  }
  throw TemplateError(fmt::format("'{}' object is not iterable", value.type_name()));
}

std::string to_json_text(const Value& value, const JsonStyle& style) {
  JsonStyle s = style;
  if (s.item_separator.empty()) s.item_separator = s.indent < 0 ? ", " : ",";
  if (s.key_separator.empty()) s.key_separator = ": ";
  std::string out;
  json_value(value, s, 0, out);
  return out;
}

}  // namespace lathe::jinja
