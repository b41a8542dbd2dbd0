// Filters and tests.
#include "lathe/text/jinja/builtins.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "lathe/base/parse_number.h"
#include "lathe/text/unicode.h"

namespace lathe::jinja {
namespace {

using Filter = Value (*)(const Value&, Reader&, const Arguments&, Budget&);
using Test = bool (*)(const Value&, Reader&);

// "a.b.0": attributes and indices, one after the other.
Value follow(const Value& object, const Value& path, Budget& budget) {
  if (path.is_int()) return get_item(object, path, budget);
  Value value = object;
  std::string_view rest = path.as_string();
  for (;;) {
    const size_t dot = rest.find('.');
    const std::string_view part = rest.substr(0, dot);
    if (const auto index = parse_number<int64_t>(part)) {
      value = get_item(value, Value(*index), budget);
    } else if (const Value key = Value(part); value.is_dict()) {
      value = get_item(value, key, budget);
    } else {
      value = get_attribute(value, std::string(part), budget);
    }
    if (dot == std::string_view::npos || value.is_undefined()) return value;
    rest.remove_prefix(dot + 1);
  }
}

Arguments without_first(const Arguments& a, size_t count) {
  Arguments rest;
  rest.named = a.named;
  if (a.positional.size() > count)
    rest.positional.assign(a.positional.begin() + static_cast<std::ptrdiff_t>(count),
                           a.positional.end());
  return rest;
}

// select, reject, selectattr and rejectattr.
Value choose(const Value& subject, const Arguments& a, bool by_attribute, bool keep,
             Budget& budget) {
  const size_t skip = by_attribute ? 1 : 0;
  if (a.positional.size() < skip) throw TemplateError("selectattr() needs the attribute's name");
  List out;
  for (const Value& item : each(subject)) {
    budget.step();
    const Value value = by_attribute ? follow(item, a.positional[0], budget) : item;
    const bool passes = a.positional.size() > skip ? apply_test(a.positional[skip].as_string(),
                                                                value, without_first(a, skip + 1))
                                                   : value.truthy();
    if (passes == keep) out.push_back(item);
  }
  return Value(std::move(out));
}

Value map_filter(const Value& subject, Reader&, const Arguments& a, Budget& budget) {
  const Value* attribute = nullptr;
  const Value* fallback = nullptr;
  for (const auto& [name, value] : a.named) {
    if (name == "attribute") attribute = &value;
    if (name == "default") fallback = &value;
  }
  List out;
  for (const Value& item : each(subject)) {
    budget.step();
    if (attribute) {
      Value v = follow(item, *attribute, budget);
      out.push_back(v.is_undefined() && fallback ? *fallback : v);
    } else {
      if (a.positional.empty()) throw TemplateError("map() needs a filter or an attribute");
      out.push_back(apply_filter(a.positional[0].as_string(), item, without_first(a, 1), budget));
    }
  }
  return Value(std::move(out));
}

Value sorted(const Value& subject, Reader& r, Budget& budget) {
  const bool reverse = r.next("reverse", false).truthy();
  const bool cased = r.next("case_sensitive", false).truthy();
  const Value attribute = r.next("attribute", {});
  const auto key = [&](const Value& v) {
    Value k = attribute.is_none() ? v : follow(v, attribute, budget);
    return k.is_string() && !cased ? Value(text::lower(k.as_string())) : k;
  };
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : each(subject)) keyed.emplace_back(key(item), item);
  budget.step(static_cast<int64_t>(keyed.size()) * 16);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
  });
  List out;
  for (auto& [k, item] : keyed) out.push_back(item);
  return Value(std::move(out));
}

Value extreme(const Value& subject, int sign) {
  const auto items = iterate(subject);
  if (items->empty()) return Value::undefined("min or max of nothing");
  const Value* best = &items->front();
  for (const Value& v : *items)
    if (compare(v, *best) * sign > 0) best = &v;
  return *best;
}

Value to_json_filter(const Value& v, Reader& r, const Arguments&, Budget& budget) {
  JsonStyle style;
  style.ascii = false;
  // The order of transformers' own tojson filter.
  style.ascii = r.next("ensure_ascii", false).truthy();
  if (const Value indent = r.next("indent", {}); !indent.is_none())
    style.indent = static_cast<int>(std::clamp<int64_t>(indent.as_int(), 0, 64));
  if (const Value separators = r.next("separators", {}); !separators.is_none()) {
    if (!separators.is_list() || separators.length() != 2)
      throw TemplateError("tojson: separators are a pair");
    style.item_separator = separators.as_list()[0].as_string();
    style.key_separator = separators.as_list()[1].as_string();
  }
  style.sort_keys = r.next("sort_keys", false).truthy();
  std::string out = to_json_text(v, style);
  budget.make(static_cast<int64_t>(out.size()));
  return Value(std::move(out));
}

Value indent_filter(const Value& v, Reader& r, const Arguments&, Budget& budget) {
  const Value width = r.next("width", int64_t{4});
  const bool first = r.next("first", false).truthy(), blank = r.next("blank", false).truthy();
  const std::string by =
      width.is_string()
          ? width.as_string()
          : std::string(static_cast<size_t>(std::clamp<int64_t>(width.as_int(), 0, 1000)), ' ');
  std::string out;
  bool begun = false;
  for (const std::string& line : split_lines(v.str() + "\n")) {
    budget.make(static_cast<int64_t>(line.size() + by.size() + 1));
    if (begun) out += '\n';
    if (begun ? (blank || !line.empty()) : first) out += by;
    out += line;
    begun = true;
  }
  return Value(std::move(out));
}

Value join_filter(const Value& v, Reader& r, const Arguments&, Budget& budget) {
  const std::string separator = r.next("d", "").str();
  const Value attribute = r.next("attribute", {});
  std::string out;
  bool first = true;
  for (const Value& item : each(v)) {
    const std::string s = (attribute.is_none() ? item : follow(item, attribute, budget)).str();
    budget.make(static_cast<int64_t>(s.size() + separator.size()));
    if (!first) out += separator;
    first = false;
    out += s;
  }
  return Value(std::move(out));
}

Value int_filter(const Value& v, Reader& r, const Arguments&, Budget&) {
  const Value fallback = r.next("default", int64_t{0});
  if (v.is_int() || v.is_bool()) return v.as_int();
  double d = 0;
  if (v.is_float()) {
    d = v.as_double();
  } else if (v.is_string()) {
    const std::string s = strip(v.as_string(), {}, 0);
    if (const auto i = parse_number<int64_t>(s.starts_with('+') ? s.substr(1) : s)) return *i;
    const auto f = parse_number<double>(s);
    if (!f) return fallback;
    d = *f;
  } else {
    return fallback;
  }
  return std::abs(d) < 9e18 ? Value(static_cast<int64_t>(d)) : fallback;
}

Value float_filter(const Value& v, Reader& r, const Arguments&, Budget&) {
  const Value fallback = r.next("default", 0.0);
  if (v.is_number()) return v.as_double();
  if (!v.is_string()) return fallback;
  const auto f = parse_number<double>(strip(v.as_string(), {}, 0));
  return f ? Value(*f) : fallback;
}

Value round_filter(const Value& v, Reader& r, const Arguments&, Budget&) {
  const int64_t precision = r.next("precision", int64_t{0}).as_int();
  const std::string method = r.next("method", "common").as_string();
  const double scale = std::pow(10.0, static_cast<double>(precision)), x = v.as_double() * scale;
  const double y = method == "ceil"    ? std::ceil(x)
                   : method == "floor" ? std::floor(x)
                                       : std::nearbyint(x);
  return y / scale;
}

Value escape_filter(const Value& v, Reader&, const Arguments&, Budget& budget) {
  std::string out;
  for (const char c : v.str()) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&#34;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  budget.make(static_cast<int64_t>(out.size()));
  return Value(std::move(out));
}

Value items_filter(const Value& v, Reader&, const Arguments&, Budget& budget) {
  List out;
  if (v.is_undefined()) return out;
  if (!v.is_dict()) throw TemplateError("items: not a mapping");
  for (const auto& [key, value] : v.as_dict().items)
    out.push_back(Value::tuple({Value(key), value}));
  budget.make(static_cast<int64_t>(out.size()));
  return Value(std::move(out));
}

Value dictsort_filter(const Value& v, Reader& r, const Arguments& a, Budget& budget) {
  const bool cased = r.next("case_sensitive", false).truthy();
  const std::string by = r.next("by", "key").as_string();
  const bool reverse = r.next("reverse", false).truthy();
  Arguments none;
  const std::string name = "items";
  Reader reader(name, none);
  Arguments sort;
  sort.named = {{"case_sensitive", Value(cased)},
                {"attribute", Value(int64_t{by == "value" ? 1 : 0})},
                {"reverse", Value(reverse)}};
  return apply_filter("sort", items_filter(v, reader, a, budget), sort, budget);
}

Value reverse_filter(const Value& v, Reader&, const Arguments&, Budget& budget) {
  return get_slice(v.is_dict() ? Value(List(*iterate(v))) : v, {}, {}, int64_t{-1}, budget);
}

Value unique_filter(const Value& v, Reader& r, const Arguments&, Budget& budget) {
  const bool cased = r.next("case_sensitive", false).truthy();
  const Value attribute = r.next("attribute", {});
  List out, seen;
  for (const Value& item : each(v)) {
    Value key = attribute.is_none() ? item : follow(item, attribute, budget);
    if (key.is_string() && !cased) key = text::lower(key.as_string());
    budget.step(static_cast<int64_t>(seen.size()) + 1);
    if (std::any_of(seen.begin(), seen.end(), [&](const Value& s) { return equal(s, key); }))
      continue;
    seen.push_back(std::move(key));
    out.push_back(item);
  }
  return Value(std::move(out));
}

Value sum_filter(const Value& v, Reader& r, const Arguments&, Budget& budget) {
  const Value attribute = r.next("attribute", {});
  const Value start = r.next("start", int64_t{0});
  double total = start.as_double();
  int64_t whole = start.is_float() ? 0 : start.as_int();
  bool real = start.is_float();
  for (const Value& item : each(v)) {
    const Value x = attribute.is_none() ? item : follow(item, attribute, budget);
    total += x.as_double();
    real = real || x.is_float();
    if (!real && __builtin_add_overflow(whole, x.as_int(), &whole))
      throw TemplateError("sum: the number is out of range");
  }
  return real ? Value(total) : Value(whole);
}

const std::map<std::string, Filter>& filters() {
  static const std::map<std::string, Filter> all = {
      {"tojson", to_json_filter},
      {"indent", indent_filter},
      {"join", join_filter},
      {"int", int_filter},
      {"float", float_filter},
      {"round", round_filter},
      {"map", map_filter},
      {"items", items_filter},
      {"dictsort", dictsort_filter},
      {"reverse", reverse_filter},
      {"unique", unique_filter},
      {"sum", sum_filter},
      {"escape", escape_filter},
      {"e", escape_filter},
      {"trim", [](const Value& v, Reader& r, const Arguments&,
                  Budget&) { return Value(strip(v.str(), r.next("chars", {}), 0)); }},
      {"length",
       [](const Value& v, Reader&, const Arguments&, Budget&) { return Value(v.length()); }},
      {"count",
       [](const Value& v, Reader&, const Arguments&, Budget&) { return Value(v.length()); }},
      {"upper", [](const Value& v, Reader&, const Arguments&,
                   Budget&) { return Value(text::upper(v.str())); }},
      {"lower", [](const Value& v, Reader&, const Arguments&,
                   Budget&) { return Value(text::lower(v.str())); }},
      {"title", [](const Value& v, Reader&, const Arguments&,
                   Budget&) { return Value(title_case(v.str())); }},
      {"capitalize", [](const Value& v, Reader&, const Arguments&,
                        Budget&) { return Value(capitalize(v.str())); }},
      {"string", [](const Value& v, Reader&, const Arguments&, Budget&) { return Value(v.str()); }},
      {"safe", [](const Value& v, Reader&, const Arguments&, Budget&) { return Value(v.str()); }},
      {"default",
       [](const Value& v, Reader& r, const Arguments&, Budget&) {
         Value fallback = r.next("default_value", "");
         const bool falsy = r.next("boolean", false).truthy();
         return v.is_undefined() || (falsy && !v.truthy()) ? fallback : v;
       }},
      {"replace",
       [](const Value& v, Reader& r, const Arguments&, Budget& b) {
         const std::string from = r.required("old").str(), to = r.required("new").str();
         const Value count = r.next("count", {});
         return Value(replace_text(v.str(), from, to, count.is_none() ? -1 : count.as_int(), b));
       }},
      {"list",
       [](const Value& v, Reader&, const Arguments&, Budget& b) {
         b.make(v.is_undefined() ? 0 : v.length());
         return Value(List(*iterate(v)));
       }},
      {"first",
       [](const Value& v, Reader&, const Arguments&, Budget&) {
         const auto items = iterate(v);
         return items->empty() ? Value::undefined("the first of nothing") : items->front();
       }},
      {"last",
       [](const Value& v, Reader&, const Arguments&, Budget&) {
         const auto items = iterate(v);
         return items->empty() ? Value::undefined("the last of nothing") : items->back();
       }},
      {"abs",
       [](const Value& v, Reader&, const Arguments&, Budget&) {
         if (v.is_float()) return Value(std::abs(v.as_double()));
         const int64_t i = v.as_int();
         if (i == INT64_MIN) throw TemplateError("abs: the number is out of range");
         return Value(i < 0 ? -i : i);
       }},
      {"min", [](const Value& v, Reader&, const Arguments&, Budget&) { return extreme(v, -1); }},
      {"max", [](const Value& v, Reader&, const Arguments&, Budget&) { return extreme(v, 1); }},
      {"sort",
       [](const Value& v, Reader& r, const Arguments&, Budget& b) { return sorted(v, r, b); }},
      {"select", [](const Value& v, Reader&, const Arguments& a,
                    Budget& b) { return choose(v, a, false, true, b); }},
      {"reject", [](const Value& v, Reader&, const Arguments& a,
                    Budget& b) { return choose(v, a, false, false, b); }},
      {"selectattr", [](const Value& v, Reader&, const Arguments& a,
                        Budget& b) { return choose(v, a, true, true, b); }},
      {"rejectattr", [](const Value& v, Reader&, const Arguments& a,
                        Budget& b) { return choose(v, a, true, false, b); }},
  };
  return all;
}

template <typename F>
Test ordered(F) {
  return [](const Value& v, Reader& r) { return F()(compare(v, r.required("other")), 0); };
}

bool divides(const Value& v, Reader& r) {
  const int64_t by = r.required("num").as_int();
  if (by == 0) throw TemplateError("divisibleby 0");
  return by == -1 || v.as_int() % by == 0;
}

bool same(const Value& v, Reader& r) {
  const Value other = r.required("other");
  if (v.is_bool() != other.is_bool() || v.is_int() != other.is_int() ||
      v.is_float() != other.is_float())
    return false;
  return equal(v, other);
}

const std::map<std::string, Test>& tests() {
  static const std::map<std::string, Test> all = {
      {"defined", [](const Value& v, Reader&) { return !v.is_undefined(); }},
      {"undefined", [](const Value& v, Reader&) { return v.is_undefined(); }},
      {"none", [](const Value& v, Reader&) { return v.is_none(); }},
      {"string", [](const Value& v, Reader&) { return v.is_string(); }},
      {"mapping", [](const Value& v, Reader&) { return v.is_dict(); }},
      {"sequence",
       [](const Value& v, Reader&) {
         return v.is_list() || v.is_dict() || v.is_string() || v.is_undefined();
       }},
      {"iterable",
       [](const Value& v, Reader&) {
         return v.is_list() || v.is_dict() || v.is_string() || v.is_undefined();
       }},
      {"number", [](const Value& v, Reader&) { return v.is_number(); }},
      {"integer", [](const Value& v, Reader&) { return v.is_int(); }},
      {"float", [](const Value& v, Reader&) { return v.is_float(); }},
      {"boolean", [](const Value& v, Reader&) { return v.is_bool(); }},
      {"true", [](const Value& v, Reader&) { return v.is_bool() && v.as_bool(); }},
      {"false", [](const Value& v, Reader&) { return v.is_bool() && !v.as_bool(); }},
      {"callable", [](const Value& v, Reader&) { return v.is_callable(); }},
      {"even", [](const Value& v, Reader&) { return v.as_int() % 2 == 0; }},
      {"odd", [](const Value& v, Reader&) { return v.as_int() % 2 != 0; }},
      {"lower",
       [](const Value& v, Reader&) {
         return text::lower(v.str()) == v.str() && text::upper(v.str()) != v.str();
       }},
      {"upper",
       [](const Value& v, Reader&) {
         return text::upper(v.str()) == v.str() && text::lower(v.str()) != v.str();
       }},
      {"in", [](const Value& v, Reader& r) { return contains(r.required("seq"), v); }},
      {"divisibleby", divides},
      {"sameas", same},
      {"eq", [](const Value& v, Reader& r) { return equal(v, r.required("other")); }},
      {"ne", [](const Value& v, Reader& r) { return !equal(v, r.required("other")); }},
      {"lt", ordered(std::less<>())},
      {"le", ordered(std::less_equal<>())},
      {"gt", ordered(std::greater<>())},
      {"ge", ordered(std::greater_equal<>())},
  };
  return all;
}

const std::map<std::string, std::string>& aliases() {
  static const std::map<std::string, std::string> all = {
      {"equalto", "eq"}, {"==", "eq"},          {"!=", "ne"}, {"lessthan", "lt"}, {"<", "lt"},
      {"<=", "le"},      {"greaterthan", "gt"}, {">", "gt"},  {">=", "ge"},       {"d", "default"}};
  return all;
}

const std::string& canonical(const std::string& name) {
  const auto it = aliases().find(name);
  return it == aliases().end() ? name : it->second;
}

}  // namespace

const Value* Reader::take(std::string_view name) {
  if (at_ < arguments_.positional.size()) return &arguments_.positional[at_++];
  ++at_;
  for (const auto& [n, value] : arguments_.named)
    if (n == name) {
      ++named_;
      return &value;
    }
  return nullptr;
}

Value Reader::next(std::string_view name, Value fallback) {
  const Value* v = take(name);
  return v ? *v : fallback;
}

Value Reader::required(std::string_view name) {
  const Value* v = take(name);
  if (!v) throw TemplateError(fmt::format("{}: the argument '{}' is missing", function_, name));
  return *v;
}

void Reader::done() const {
  if (at_ < arguments_.positional.size() || named_ < arguments_.named.size())
    throw TemplateError(fmt::format("{}: too many or unknown arguments", function_));
}

Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments,
                   Budget& budget) {
  const auto it = filters().find(canonical(name));
  if (it == filters().end()) throw TemplateError(fmt::format("no filter named '{}'", name));
  if (subject.is_string()) budget.make(static_cast<int64_t>(subject.as_string().size()));
  Reader reader(name, arguments);
  Value result = it->second(subject, reader, arguments, budget);
  const bool own_arguments =
      name.ends_with("attr") || name == "map" || name == "select" || name == "reject";
  if (!own_arguments) reader.done();
  return result;
}

bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments) {
  const auto it = tests().find(canonical(name));
  if (it == tests().end()) throw TemplateError(fmt::format("no test named '{}'", name));
  Reader reader(name, arguments);
  const bool result = it->second(subject, reader);
  reader.done();
  return result;
}

}  // namespace lathe::jinja
