#include "lathe/text/normalizers.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "lathe/text/charsmap.h"
#include "lathe/text/regex.h"
#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

struct Form final : Normalizer {
  explicit Form(NormalForm f) : form(f) {}
  void apply(std::string& text) const override { text = normal_form(text, form); }
  double growth() const override { return 12; }  // U+FDFA: 3 bytes, 33 in NFKD
  NormalForm form;
};

struct Lowercase final : Normalizer {
  void apply(std::string& text) const override { text = lower(text); }
  double growth() const override { return 2; }
};

template <typename Keep>
std::string filter(std::string_view text, Keep&& keep) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Decoded d = decode_utf8(text);
    if (keep(d.c)) out.append(text.substr(0, d.length));
    text.remove_prefix(d.length);
  }
  return out;
}

struct StripAccents final : Normalizer {
  void apply(std::string& text) const override {
    text = filter(text, [](char32_t c) { return !is_mark(c); });
  }
};

struct Strip final : Normalizer {
  void apply(std::string& text) const override {
    std::string_view v = text;
    while (left && !v.empty()) {
      const Decoded d = decode_utf8(v);
      if (!is_white_space(d.c)) break;
      v.remove_prefix(d.length);
    }
    while (right && !v.empty()) {
      size_t begin = v.size() - 1;
      while (begin > 0 && (static_cast<uint8_t>(v[begin]) & 0xc0) == 0x80) --begin;
      if (!is_white_space(decode_utf8(v.substr(begin)).c)) break;
      v.remove_suffix(v.size() - begin);
    }
    text = std::string(v);
  }
  bool left = true, right = true;
};

struct Prepend final : Normalizer {
  void apply(std::string& text) const override {
    if (!text.empty()) text.insert(0, prefix);
  }
  std::string prefix;
};

struct Replace final : Normalizer {
  void apply(std::string& text) const override {
    if (!regex) {
      text = replace_all(text, from, to);
      return;
    }
    std::vector<Range> matches;
    regex->find_all(text, matches);
    std::string out;
    size_t end = 0;
    for (const Range& m : matches) {
      out.append(text, end, m.begin - end).append(to);
      end = m.end;
    }
    text = out.append(text, end, std::string::npos);
  }
  double growth() const override {
    const auto out = static_cast<double>(to.size());
    return regex ? out + 1 : std::max(1.0, out / static_cast<double>(from.size()));
  }
  std::string from, to;
  std::optional<Regex> regex;
};

struct Bert final : Normalizer {
  void apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    for (std::string_view v = text; !v.empty();) {
      const Decoded d = decode_utf8(v);
      v.remove_prefix(d.length);
      const bool space = d.c == '\t' || d.c == '\n' || d.c == '\r' || is_white_space(d.c);
      if (clean && (d.c == 0 || d.c == 0xfffd)) continue;
      if (clean && d.c != '\t' && d.c != '\n' && d.c != '\r' && is_other(d.c)) continue;
      if (clean && space) {
        out += ' ';
      } else if (chinese && is_cjk(d.c)) {
        out += ' ';
        append_utf8(out, d.c);
        out += ' ';
      } else {
        append_utf8(out, d.c);
      }
    }
    if (accents)
      out = filter(normal_form(out, NormalForm::kNfd),
                   [](char32_t c) { return !is_nonspacing_mark(c); });
    text = lowercase ? lower(out) : out;
  }
  double growth() const override { return 6; }
  bool clean = true, chinese = true, accents = true, lowercase = true;
};

// As the reference does: whole grapheme clusters under 6 bytes first, then single characters.
struct Precompiled final : Normalizer {
  void apply(std::string& text) const override {
    std::string out;
    out.reserve(text.size());
    std::string_view rest = text;
    while (!rest.empty()) {
      std::string_view cluster = rest.substr(0, grapheme_length(rest));
      rest.remove_prefix(cluster.size());
      if (cluster.size() < 6) {
        if (const auto mapped = map.shortest(cluster)) {
          out += *mapped;
          continue;
        }
      }
      while (!cluster.empty()) {
        const std::string_view c = cluster.substr(0, utf8_length(cluster[0]));
        const auto mapped = map.shortest(c);
        out += mapped ? *mapped : c;
        cluster.remove_prefix(c.size());
      }
    }
    text = out;
  }
  double growth() const override {
    return std::max(1.0, static_cast<double>(map.longest_replacement()));
  }
  Charsmap map;
};

struct Sequence final : Normalizer {
  void apply(std::string& text) const override {
    for (const auto& part : parts) part->apply(text);
  }
  double growth() const override {
    double product = 1;
    for (const auto& part : parts) product *= part->growth();
    return product;
  }
  std::vector<std::unique_ptr<Normalizer>> parts;
};

Result<std::unique_ptr<Normalizer>> make_replace(const Json& spec) {
  auto n = std::make_unique<Replace>();
  LATHE_TRY(n->to, string_field(spec, "content"));
  const auto pattern = spec.find("pattern");
  if (pattern == spec.end() || !pattern->is_object()) return bad_input("Replace without 'pattern'");
  if (pattern->contains("Regex")) {
    LATHE_TRY(const std::string source, string_field(*pattern, "Regex"));
    LATHE_TRY(n->regex, Regex::compile(source));
  } else {
    LATHE_TRY(n->from, string_field(*pattern, "String"));
    if (n->from.empty()) return bad_input("Replace of an empty string");
  }
  return std::unique_ptr<Normalizer>(std::move(n));
}

Result<std::unique_ptr<Normalizer>> make_precompiled(const Json& spec) {
  auto n = std::make_unique<Precompiled>();
  LATHE_TRY(const std::string encoded, string_field(spec, "precompiled_charsmap"));
  LATHE_TRY(const std::string bytes, decode_base64(encoded));
  LATHE_TRY_IN(n->map, Charsmap::parse(bytes), "precompiled_charsmap");
  return std::unique_ptr<Normalizer>(std::move(n));
}

Result<std::unique_ptr<Normalizer>> make_bert(const Json& spec) {
  auto n = std::make_unique<Bert>();
  LATHE_TRY(n->clean, bool_field(spec, "clean_text", true));
  LATHE_TRY(n->chinese, bool_field(spec, "handle_chinese_chars", true));
  LATHE_TRY(n->lowercase, bool_field(spec, "lowercase", true));
  LATHE_TRY(n->accents, bool_field(spec, "strip_accents", n->lowercase));
  return std::unique_ptr<Normalizer>(std::move(n));
}

}  // namespace

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  if (from.empty()) return std::string(text);
  out.reserve(text.size());
  for (;;) {
    const size_t at = text.find(from);
    out.append(text.substr(0, at));
    if (at == std::string_view::npos) return out;
    out.append(to);
    text.remove_prefix(at + from.size());
  }
}

std::unique_ptr<Normalizer> make_nfc() { return std::make_unique<Form>(NormalForm::kNfc); }

Result<std::unique_ptr<Normalizer>> make_normalizer(const Json& spec, int depth) {
  using Made = std::unique_ptr<Normalizer>;
  LATHE_TRY(const std::string type, type_of(spec));
  if (depth > kMaxDepth) return bad_input("sequences nested deeper than {}", kMaxDepth);
  if (type == "NFC") return Made(std::make_unique<Form>(NormalForm::kNfc));
  if (type == "NFD") return Made(std::make_unique<Form>(NormalForm::kNfd));
  if (type == "NFKC") return Made(std::make_unique<Form>(NormalForm::kNfkc));
  if (type == "NFKD") return Made(std::make_unique<Form>(NormalForm::kNfkd));
  if (type == "Lowercase") return Made(std::make_unique<Lowercase>());
  if (type == "StripAccents") return Made(std::make_unique<StripAccents>());
  if (type == "Replace") return make_replace(spec);
  if (type == "Precompiled") return make_precompiled(spec);
  if (type == "BertNormalizer") return make_bert(spec);
  if (type == "Strip") {
    auto n = std::make_unique<Strip>();
    LATHE_TRY(n->left, bool_field(spec, "strip_left", true));
    LATHE_TRY(n->right, bool_field(spec, "strip_right", true));
    return Made(std::move(n));
  }
  if (type == "Prepend") {
    auto n = std::make_unique<Prepend>();
    LATHE_TRY(n->prefix, string_field(spec, "prepend"));
    if (n->prefix.size() > 256) return bad_input("Prepend of {} bytes", n->prefix.size());
    return Made(std::move(n));
  }
  if (type == "Sequence") {
    auto n = std::make_unique<Sequence>();
    LATHE_TRY(const Json* parts, array_field(spec, "normalizers"));
    for (const Json& part : *parts) {
      LATHE_TRY(auto made, make_normalizer(part, depth + 1));
      n->parts.push_back(std::move(made));
    }
    if (n->growth() > kMaxGrowth)
      return bad_input("the sequence can make text {} times as long", n->growth());
    return Made(std::move(n));
  }
  return unsupported("normalizer '{}'", type);
}

}  // namespace lathe::text
