#include "lathe/lab/experiment_text.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "lathe/base/mapped_file.h"
#include "lathe/base/suggest.h"
#include "lathe/io/yaml.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

constexpr size_t kMaxIncludeDepth = 8, kMaxVariants = 1000;

void merge_below(Json& upper, const Json& lower) {
  if (!upper.is_object() || !lower.is_object()) return;
  Json merged = lower;  // the order of the included file first
  for (const auto& [key, value] : upper.items()) {
    if (merged.contains(key) && merged[key].is_object() && value.is_object()) {
      Json inner = value;
      merge_below(inner, merged[key]);
      merged[key] = std::move(inner);
    } else {
      merged[key] = value;
    }
  }
  upper = std::move(merged);
}

Status include_into(Json& document, const std::string& folder, std::string& text,
                    const std::vector<std::string>& open) {
  if (!document.is_object() || !document.contains("include")) return {};
  Json names = document["include"];
  document.erase("include");
  if (names.is_string()) names = Json::array({names});
  if (!names.is_array()) return bad_input("'include' must be a file name or a list of them");
  Json base = Json::object();
  for (const auto& name : names) {
    if (!name.is_string()) return bad_input("'include' must be a file name or a list of them");
    const fs::path path = (fs::path(folder) / name.get<std::string>()).lexically_normal();
    const std::string where = path.string();
    if (std::find(open.begin(), open.end(), where) != open.end()) {
      return bad_input("include: {} includes itself", where);
    }
    if (open.size() >= kMaxIncludeDepth) {
      return bad_input("include: {}: more than {} levels", where, kMaxIncludeDepth);
    }
    LATHE_TRY_IN(const std::string included, read_text(where, size_t{1} << 20), "include");
    LATHE_TRY_IN(Json part, yaml_to_ordered_json(included, where), "include");
    if (!part.is_object()) return bad_input("include: {}: not a list of keys", where);
    text += fmt::format("\n# included from {}:\n# ", name.get<std::string>());
    for (const char c : included) text += c == '\n' ? std::string("\n# ") : std::string(1, c);
    std::vector<std::string> deeper = open;
    deeper.push_back(where);
    LATHE_OK(include_into(part, path.parent_path().string(), text, deeper));
    merge_below(part, base);  // later files win
    base = std::move(part);
  }
  merge_below(document, base);
  return {};
}

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string as_name(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const bool fits = std::isalnum(static_cast<unsigned char>(c)) || (c && std::strchr("._+-", c));
    if (fits) {
      out += c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  while (!out.empty() && out.back() == '-') out.pop_back();
  return out;
}

struct Axis {
  std::string key;
  std::vector<Json> values;
};

Status set_at(Json& object, const std::string& dotted, const Json& value) {
  Json* at = &object;
  for (size_t begin = 0;;) {
    const size_t end = dotted.find('.', begin);
    const std::string key = dotted.substr(begin, end - begin);
    if (key.empty()) return bad_input("grid: over: '{}' has an empty part", dotted);
    if (!at->is_object() && !at->is_null()) {
      return bad_input("grid: over: '{}' lies inside something that is no map", dotted);
    }
    at = &(*at)[key];
    if (end == std::string::npos) break;
    begin = end + 1;
  }
  *at = value;
  return {};
}

Result<std::string> name_of(const std::string& pattern, const std::vector<Axis>& axes,
                            const std::vector<size_t>& choice) {
  std::string out;
  std::vector<std::string> known;
  for (const Axis& axis : axes) known.push_back(axis.key);
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      out += pattern[i];
      continue;
    }
    const size_t end = pattern.find('}', i);
    if (end == std::string::npos) return bad_input("grid: name: '{}' lacks a '}}'", pattern);
    const std::string key = pattern.substr(i + 1, end - i - 1);
    const auto it = std::find(known.begin(), known.end(), key);
    if (it == known.end()) {
      return bad_input("grid: name: '{}' is not under 'over'", key).with_hint(suggest(key, known));
    }
    const auto a = static_cast<size_t>(it - known.begin());
    out += as_name(plain(axes[a].values[choice[a]]));
    i = end;
  }
  return as_name(out);
}

Status expand(const Json& grid, Json& variants) {
  if (!grid.is_object()) return bad_input("'grid' must be a map with 'over', or a list of them");
  const std::vector<std::string> known = {"over", "base", "name"};
  for (const auto& [key, value] : grid.items()) {
    if (std::find(known.begin(), known.end(), key) == known.end()) {
      return bad_input("grid: unknown key '{}'", key).with_hint(suggest(key, known));
    }
  }
  if (!grid.contains("over") || !grid["over"].is_object() || grid["over"].empty()) {
    return bad_input("grid: 'over' must map keys of a variant to lists of values");
  }
  std::vector<Axis> axes;
  std::string pattern;
  size_t count = 1;
  for (const auto& [key, values] : grid["over"].items()) {
    if (!values.is_array() || values.empty()) {
      return bad_input("grid: over: '{}' must be a list of at least one value", key);
    }
    axes.push_back({key, values.get<std::vector<Json>>()});
    pattern += (pattern.empty() ? "{" : "-{") + key + "}";
    count *= values.size();
    if (count + variants.size() > kMaxVariants) {
      return bad_input("grid: more than {} variants", kMaxVariants);
    }
  }
  if (grid.contains("name")) {
    if (!grid["name"].is_string()) return bad_input("grid: 'name' must be a text");
    pattern = grid["name"].get<std::string>();
  }
  const Json base = grid.contains("base") ? grid["base"] : Json::object();
  if (!base.is_object()) return bad_input("grid: 'base' must be a map");
  std::vector<size_t> choice(axes.size(), 0);
  for (size_t n = 0; n < count; ++n) {
    size_t rest = n;
    for (size_t a = axes.size(); a-- > 0;) {  // the last axis moves fastest
      choice[a] = rest % axes[a].values.size();
      rest /= axes[a].values.size();
    }
    Json variant = base;
    for (size_t a = 0; a < axes.size(); ++a) {
      LATHE_OK(set_at(variant, axes[a].key, axes[a].values[choice[a]]));
    }
    LATHE_TRY(const std::string name, name_of(pattern, axes, choice));
    if (variants.contains(name)) {
      return bad_input("grid: two variants would be called '{}'", name)
          .with_hint("let 'name' hold every key of 'over', and no name of 'variants'");
    }
    variants[name] = std::move(variant);
  }
  return {};
}

}  // namespace

Status merge_includes(Json& document, const std::string& folder, std::string& text) {
  return include_into(document, folder, text, {});
}

Status expand_grids(Json& document) {
  if (!document.is_object() || !document.contains("grid")) return {};
  const Json grids = document["grid"];
  document.erase("grid");
  Json& variants = document["variants"];
  if (variants.is_null()) variants = Json::object();
  if (!variants.is_object()) return {};  // said by who reads the variants
  if (!grids.is_array()) return expand(grids, variants);
  for (const auto& grid : grids) LATHE_OK(expand(grid, variants));
  return {};
}

}  // namespace lathe
