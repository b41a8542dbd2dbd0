// Attributes, items, slices and methods.
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "lathe/text/jinja/builtins.h"
#include "lathe/text/unicode.h"

namespace lathe::jinja {
namespace {

bool is_ascii_space(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || (c >= 0x1c && c <= 0x1f);
}

std::vector<std::string> characters_of(const std::string& text) {
  std::vector<std::string> out;
  for (std::string_view v = text; !v.empty();) {
    const size_t n = text::decode_utf8(v).length;
    out.emplace_back(v.substr(0, n));
    v.remove_prefix(n);
  }
  return out;
}

Value strings(const std::vector<std::string>& parts) {
  List list;
  list.reserve(parts.size());
  for (const std::string& part : parts) list.emplace_back(part);
  return Value(std::move(list));
}

Value split_text(const std::string& text, const Value& separator, int64_t limit, bool from_right,
                 Budget& budget) {
  budget.make(static_cast<int64_t>(text.size()) * 2);
  std::vector<std::string> parts;
  if (separator.is_none()) {
    std::string_view rest = text;
    const auto trim = [&] {
      while (!rest.empty() && is_ascii_space(rest.front())) rest.remove_prefix(1);
      while (!rest.empty() && is_ascii_space(rest.back()) && from_right) rest.remove_suffix(1);
    };
    for (trim(); !rest.empty(); trim()) {
      if (limit >= 0 && static_cast<int64_t>(parts.size()) >= limit) {
        parts.emplace_back(rest);
        break;
      }
      size_t n = 0;
      if (from_right) {
        while (n < rest.size() && !is_ascii_space(rest[rest.size() - 1 - n])) ++n;
        parts.emplace_back(rest.substr(rest.size() - n));
        rest.remove_suffix(n);
      } else {
        while (n < rest.size() && !is_ascii_space(rest[n])) ++n;
        parts.emplace_back(rest.substr(0, n));
        rest.remove_prefix(n);
      }
    }
  } else {
    const std::string& sep = separator.as_string();
    if (sep.empty()) throw TemplateError("split() with an empty separator");
    std::string_view rest = text;
    while (limit < 0 || static_cast<int64_t>(parts.size()) < limit) {
      const size_t at = from_right ? rest.rfind(sep) : rest.find(sep);
      if (at == std::string_view::npos) break;
      if (from_right) {
        parts.emplace_back(rest.substr(at + sep.size()));
        rest = rest.substr(0, at);
      } else {
        parts.emplace_back(rest.substr(0, at));
        rest.remove_prefix(at + sep.size());
      }
    }
    parts.emplace_back(rest);
  }
  if (from_right) std::reverse(parts.begin(), parts.end());
  return strings(parts);
}

bool has_affix(const std::string& text, const Value& affix, bool front) {
  if (affix.is_list()) {
    return std::any_of(affix.as_list().begin(), affix.as_list().end(),
                       [&](const Value& v) { return has_affix(text, v, front); });
  }
  return front ? text.starts_with(affix.as_string()) : text.ends_with(affix.as_string());
}

int64_t position(const std::string& text, size_t at) {
  if (at == std::string::npos) return -1;
  return Value(text.substr(0, at)).length();
}

bool all_characters(const std::string& text, const std::function<bool(char32_t)>& is) {
  for (std::string_view v = text; !v.empty();) {
    const text::Decoded d = text::decode_utf8(v);
    if (!is(d.c)) return false;
    v.remove_prefix(d.length);
  }
  return !text.empty();
}

using Method = Value (*)(const std::string&, Reader&, Budget&);

const std::map<std::string, Method>& string_methods() {
  static const std::map<std::string, Method> all = {
      {"strip", [](const std::string& s, Reader& r,
                   Budget&) { return Value(strip(s, r.next("chars", {}), 0)); }},
      {"lstrip", [](const std::string& s, Reader& r,
                    Budget&) { return Value(strip(s, r.next("chars", {}), -1)); }},
      {"rstrip", [](const std::string& s, Reader& r,
                    Budget&) { return Value(strip(s, r.next("chars", {}), 1)); }},
      {"split",
       [](const std::string& s, Reader& r, Budget& b) {
         const Value sep = r.next("sep", {});
         return split_text(s, sep, r.next("maxsplit", int64_t{-1}).as_int(), false, b);
       }},
      {"rsplit",
       [](const std::string& s, Reader& r, Budget& b) {
         const Value sep = r.next("sep", {});
         return split_text(s, sep, r.next("maxsplit", int64_t{-1}).as_int(), true, b);
       }},
      {"splitlines",
       [](const std::string& s, Reader&, Budget& b) {
         b.make(static_cast<int64_t>(s.size()) * 2);
         return strings(split_lines(s));
       }},
      {"startswith", [](const std::string& s, Reader& r,
                        Budget&) { return Value(has_affix(s, r.required("prefix"), true)); }},
      {"endswith", [](const std::string& s, Reader& r,
                      Budget&) { return Value(has_affix(s, r.required("suffix"), false)); }},
      {"upper", [](const std::string& s, Reader&, Budget&) { return Value(text::upper(s)); }},
      {"lower", [](const std::string& s, Reader&, Budget&) { return Value(text::lower(s)); }},
      {"title", [](const std::string& s, Reader&, Budget&) { return Value(title_case(s)); }},
      {"capitalize", [](const std::string& s, Reader&, Budget&) { return Value(capitalize(s)); }},
      {"replace",
       [](const std::string& s, Reader& r, Budget& b) {
         const Value from = r.required("old"), to = r.required("new");
         return Value(replace_text(s, from.as_string(), to.as_string(),
                                   r.next("count", int64_t{-1}).as_int(), b));
       }},
      {"find", [](const std::string& s, Reader& r,
                  Budget&) { return Value(position(s, s.find(r.required("sub").as_string()))); }},
      {"rfind", [](const std::string& s, Reader& r,
                   Budget&) { return Value(position(s, s.rfind(r.required("sub").as_string()))); }},
      {"index",
       [](const std::string& s, Reader& r, Budget&) {
         const size_t at = s.find(r.required("sub").as_string());
         if (at == std::string::npos) throw TemplateError("substring not found");
         return Value(position(s, at));
       }},
      {"count",
       [](const std::string& s, Reader& r, Budget&) {
         const std::string sub = r.required("sub").as_string();
         if (sub.empty()) return Value(Value(s).length() + 1);
         int64_t n = 0;
         for (size_t at = 0; (at = s.find(sub, at)) != std::string::npos; at += sub.size()) ++n;
         return Value(n);
       }},
      {"join",
       [](const std::string& s, Reader& r, Budget& b) {
         std::string out;
         bool first = true;
         for (const Value& v : each(r.required("iterable"))) {
           b.make(static_cast<int64_t>(s.size() + v.as_string().size()));
           if (!first) out += s;
           first = false;
           out += v.as_string();
         }
         return Value(std::move(out));
       }},
      {"removeprefix",
       [](const std::string& s, Reader& r, Budget&) {
         const std::string p = r.required("prefix").as_string();
         return Value(s.starts_with(p) ? s.substr(p.size()) : s);
       }},
      {"removesuffix",
       [](const std::string& s, Reader& r, Budget&) {
         const std::string p = r.required("suffix").as_string();
         return Value(s.ends_with(p) ? s.substr(0, s.size() - p.size()) : s);
       }},
      {"isdigit",
       [](const std::string& s, Reader&, Budget&) {
         return Value(all_characters(s, [](char32_t c) { return c >= '0' && c <= '9'; }));
       }},
      {"isspace", [](const std::string& s, Reader&,
                     Budget&) { return Value(all_characters(s, text::is_white_space)); }},
      {"isupper", [](const std::string& s, Reader&,
                     Budget&) { return Value(text::upper(s) == s && text::lower(s) != s); }},
      {"islower", [](const std::string& s, Reader&,
                     Budget&) { return Value(text::lower(s) == s && text::upper(s) != s); }},
      {"isalnum",
       [](const std::string& s, Reader&, Budget&) {
         return Value(all_characters(
             s, [](char32_t c) { return c != '_' && text::is_word(c) && !text::is_mark(c); }));
       }},
      {"isalpha",
       [](const std::string& s, Reader&, Budget&) {
         return Value(all_characters(s, [](char32_t c) {
           return c != '_' && text::is_word(c) && !text::is_mark(c) && !text::is_number(c);
         }));
       }},
  };
  return all;
}

Value dict_method(const Value& object, const std::string& name, Reader& r) {
  const Dict& dict = object.as_dict();
  List out;
  if (name == "get") {
    const Value key = r.required("key");
    Value fallback = r.next("default", {});
    const Value* found = key.is_string() ? dict.find(key.as_string()) : nullptr;
    return found ? *found : fallback;
  }
  for (const auto& [key, value] : dict.items) {
    if (name == "keys") {
      out.emplace_back(key);
    } else if (name == "values") {
      out.push_back(value);
    } else {
      out.push_back(Value::tuple({Value(key), value}));
    }
  }
  return Value(std::move(out));
}

Value list_method(const Value& object, const std::string& name, Reader& r) {
  const List& list = object.as_list();
  const Value item = r.required("value");
  if (name == "count")
    return static_cast<int64_t>(
        std::count_if(list.begin(), list.end(), [&](const Value& v) { return equal(v, item); }));
  for (size_t i = 0; i < list.size(); ++i)
    if (equal(list[i], item)) return static_cast<int64_t>(i);
  throw TemplateError("value is not in list");
}

Value loop_attribute(const Loop& loop, const std::string& name) {
  const auto size = static_cast<int64_t>(loop.items->size());
  if (name == "index") return loop.index + 1;
  if (name == "index0") return loop.index;
  if (name == "revindex") return size - loop.index;
  if (name == "revindex0") return size - loop.index - 1;
  if (name == "first") return loop.index == 0;
  if (name == "last") return loop.index + 1 == size;
  if (name == "length") return size;
  // These count the levels of recursive loops, which are not supported.
  if (name == "depth") return int64_t{1};
  if (name == "depth0") return int64_t{0};
  if (name == "previtem")
    return loop.index > 0 ? (*loop.items)[loop.index - 1] : Value::undefined("loop.previtem");
  if (name == "nextitem")
    return loop.index + 1 < size ? (*loop.items)[loop.index + 1]
                                 : Value::undefined("loop.nextitem");
  if (name == "cycle") {
    const int64_t index = loop.index;
    return Callable([index](Arguments& a) {
      if (a.positional.empty()) throw TemplateError("cycle() without items");
      return a.positional[static_cast<size_t>(index) % a.positional.size()];
    });
  }
  if (name == "changed") {
    const auto last = loop.last_changed;
    return Callable([last](Arguments& a) {
      const bool same = last->size() == a.positional.size() + 1 &&
                        std::equal(a.positional.begin(), a.positional.end(), last->begin(), equal);
      *last = a.positional;
      last->emplace_back();  // marks that there was a call
      return Value(!same);
    });
  }
  return Value::undefined("loop." + name);
}

const Value* entry(const Value& object, const std::string& name) {
  if (object.is_dict()) return object.as_dict().find(name);
  if (const Namespace* n = object.as_namespace()) return n->attributes.find(name);
  return nullptr;
}

}  // namespace

Value find_method(const Value& object, const std::string& name, Budget& budget) {
  if (object.is_string()) {
    const auto it = string_methods().find(name);
    if (it == string_methods().end()) return {};
    const Method method = it->second;
    return Callable([object, method, name, &budget](Arguments& a) {
      Reader reader(name, a);
      budget.make(static_cast<int64_t>(object.as_string().size()));
      Value result = method(object.as_string(), reader, budget);
      reader.done();
      return result;
    });
  }
  const bool of_dict =
      object.is_dict() && (name == "get" || name == "items" || name == "keys" || name == "values");
  const bool of_list = object.is_list() && (name == "count" || name == "index");
  if (!of_dict && !of_list) return {};
  return Callable([object, of_dict, name, &budget](Arguments& a) {
    Reader reader(name, a);
    budget.make(object.length());
    Value result = of_dict ? dict_method(object, name, reader) : list_method(object, name, reader);
    reader.done();
    return result;
  });
}

Value get_attribute(const Value& object, const std::string& name, Budget& budget) {
  if (object.is_undefined())
    throw TemplateError(fmt::format("'{}' is undefined", object.undefined_name()));
  if (const Loop* loop = object.as_loop()) return loop_attribute(*loop, name);
  if (Value method = find_method(object, name, budget); !method.is_none()) return method;
  const Value* found = entry(object, name);
  return found ? *found : Value::undefined(name);
}

Value get_item(const Value& object, const Value& key, Budget& budget) {
  if (object.is_undefined())
    throw TemplateError(fmt::format("'{}' is undefined", object.undefined_name()));
  if (key.is_string()) {
    if (const Value* found = entry(object, key.as_string())) return *found;
    if (!object.is_dict()) return get_attribute(object, key.as_string(), budget);
    return Value::undefined(key.as_string());
  }
  if (!key.is_int() && !key.is_bool()) return Value::undefined("item");
  int64_t i = key.as_int();
  if (!object.is_list() && !object.is_string()) return Value::undefined(fmt::format("item {}", i));
  const int64_t size = object.length();
  if (i < 0) i += size;
  if (i < 0 || i >= size) return Value::undefined(fmt::format("item {}", key.as_int()));
  if (object.is_list()) return object.as_list()[static_cast<size_t>(i)];
  budget.step(size / 16 + 1);
  std::string_view v = object.as_string();
  for (; i > 0; --i) v.remove_prefix(text::decode_utf8(v).length);
  return Value(v.substr(0, text::decode_utf8(v).length));
}

Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step_value,
                Budget& budget) {
  if (object.is_undefined()) return List{};
  if (!object.is_list() && !object.is_string())
    throw TemplateError(fmt::format("'{}' object cannot be sliced", object.type_name()));
  const int64_t size = object.length();
  const int64_t step = step_value.is_none() ? 1 : step_value.as_int();
  if (step == 0) throw TemplateError("slice step cannot be zero");
  const auto bound = [&](const Value& v, int64_t fallback) {
    if (v.is_none()) return fallback;
    int64_t i = v.as_int();
    if (i < 0) i += size;
    return step > 0 ? std::clamp<int64_t>(i, 0, size) : std::clamp<int64_t>(i, -1, size - 1);
  };
  int64_t i = bound(start, step > 0 ? 0 : size - 1);
  const int64_t end = bound(stop, step > 0 ? size : -1);
  budget.make(size);
  List list;
  std::string text;
  const std::vector<std::string> characters =
      object.is_string() ? characters_of(object.as_string()) : std::vector<std::string>();
  while (step > 0 ? i < end : i > end) {
    if (object.is_string()) {
      text += characters[static_cast<size_t>(i)];
    } else {
      list.push_back(object.as_list()[static_cast<size_t>(i)]);
    }
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  if (object.is_string()) return Value(std::move(text));
  return Value(std::move(list));
}

std::string strip(const std::string& text, const Value& characters, int side) {
  std::set<char32_t> set;
  if (!characters.is_none())
    for (std::string_view v = characters.as_string(); !v.empty();) {
      const text::Decoded d = text::decode_utf8(v);
      set.insert(d.c);
      v.remove_prefix(d.length);
    }
  const auto drops = [&](char32_t c) {
    return characters.is_none() ? text::is_white_space(c) || (c >= 0x1c && c <= 0x1f)
                                : set.contains(c);
  };
  std::string_view v = text;
  while (side <= 0 && !v.empty()) {
    const text::Decoded d = text::decode_utf8(v);
    if (!drops(d.c)) break;
    v.remove_prefix(d.length);
  }
  while (side >= 0 && !v.empty()) {
    size_t begin = v.size() - 1;
    while (begin > 0 && (static_cast<uint8_t>(v[begin]) & 0xc0) == 0x80) --begin;
    if (!drops(text::decode_utf8(v.substr(begin)).c)) break;
    v = v.substr(0, begin);
  }
  return std::string(v);
}

std::string replace_text(const std::string& text, const std::string& from, const std::string& to,
                         int64_t count, Budget& budget) {
  std::string out;
  if (from.empty()) {  // Python puts `to` around every character
    for (const std::string& c : characters_of(text)) {
      budget.make(static_cast<int64_t>(to.size() + c.size()));
      if (count != 0) out += to;
      if (count > 0) --count;
      out += c;
    }
    if (count != 0) out += to;
    return out;
  }
  size_t begin = 0;
  for (; count != 0; --count) {
    const size_t at = text.find(from, begin);
    if (at == std::string::npos) break;
    budget.make(static_cast<int64_t>(to.size() + at - begin));
    out.append(text, begin, at - begin).append(to);
    begin = at + from.size();
  }
  return out.append(text, begin, std::string::npos);
}

std::string capitalize(const std::string& text) {
  if (text.empty()) return text;
  const size_t n = text::decode_utf8(text).length;
  return text::upper(text.substr(0, n)) + text::lower(text.substr(n));
}

std::string title_case(const std::string& text) {
  std::string out;
  bool inside = false;
  for (const std::string& c : characters_of(text)) {
    const bool letter = text::upper(c) != c || text::lower(c) != c;
    out += !letter ? c : inside ? text::lower(c) : text::upper(c);
    inside = letter;
  }
  return out;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\n' && text[i] != '\r' && text[i] != '\v' && text[i] != '\f') continue;
    lines.push_back(text.substr(begin, i - begin));
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] == '\n') ++i;
    begin = i + 1;
  }
  if (begin < text.size()) lines.push_back(text.substr(begin));
  return lines;
}

}  // namespace lathe::jinja
