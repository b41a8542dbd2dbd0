#include "lathe/text/pre_tokenizers.h"

#include <algorithm>
#include <functional>
#include <optional>

#include "lathe/text/byte_level.h"
#include "lathe/text/normalizers.h"
#include "lathe/text/unicode.h"

namespace lathe::text {
namespace {

using Made = std::unique_ptr<PreTokenizer>;

template <typename F>
void rebuild(Words& words, F&& f) {
  std::vector<std::string_view> old;
  old.swap(words.words);
  words.words.reserve(old.size() * 2);
  for (size_t i = 0; i < old.size(); ++i) f(old[i], i == 0 && words.at_start, words.words);
}

struct Split final : PreTokenizer {
  void apply(Words& words) const override {
    std::vector<Range> matches;
    rebuild(words, [&](std::string_view word, bool, auto& out) {
      matches.clear();
      if (regex) {
        regex->find_all(word, matches);
      } else if (!literal.empty()) {
        for (size_t at = 0; (at = word.find(literal, at)) != std::string_view::npos;
             at += literal.size())
          matches.push_back({at, at + literal.size()});
      }
      split(word, matches, behavior, invert, out);
    });
  }
  std::optional<Regex> regex;
  std::string literal;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};

// Cuts at single characters of a class.
struct SplitAt final : PreTokenizer {
  SplitAt(std::function<bool(char32_t)> is, SplitBehavior b)
      : matches_char(std::move(is)), behavior(b) {}
  void apply(Words& words) const override {
    std::vector<Range> matches;
    rebuild(words, [&](std::string_view word, bool, auto& out) {
      matches.clear();
      for (size_t i = 0; i < word.size();) {
        const Decoded d = decode_utf8(word.substr(i));
        if (matches_char(d.c)) matches.push_back({i, i + d.length});
        i += d.length;
      }
      split(word, matches, behavior, false, out);
    });
  }
  std::function<bool(char32_t)> matches_char;
  SplitBehavior behavior;
};

// Runs of word characters, and runs of what is neither word nor space.
struct Whitespace final : PreTokenizer {
  void apply(Words& words) const override {
    rebuild(words, [&](std::string_view word, bool, auto& out) {
      size_t begin = 0;
      int kind = 0;  // 0 space, 1 word, 2 other
      for (size_t i = 0; i < word.size();) {
        const Decoded d = decode_utf8(word.substr(i));
        const int k = is_word(d.c) ? 1 : is_white_space(d.c) ? 0 : 2;
        if (k != kind) {
          if (kind != 0) out.push_back(word.substr(begin, i - begin));
          begin = i, kind = k;
        }
        i += d.length;
      }
      if (kind != 0) out.push_back(word.substr(begin));
    });
  }
};

struct ByteLevel final : PreTokenizer {
  void apply(Words& words) const override {
    std::vector<Range> matches;
    rebuild(words, [&](std::string_view word, bool, auto& out) {
      if (prefix_space && word[0] != ' ')
        word = words.arena.emplace_back(std::string(1, ' ').append(word));
      if (!regex) {
        out.push_back(word);
        return;
      }
      matches.clear();
      regex->find_all(word, matches);
      split(word, matches, SplitBehavior::kIsolated, false, out);
    });
    if (last) {
      words.byte_level = true;
      return;
    }
    for (auto& word : words.words) word = words.arena.emplace_back(bytes_to_alphabet(word));
  }
  bool prefix_space = true;
  bool last = false;  // nothing follows that would have to see the byte-level alphabet
  std::optional<Regex> regex;
};

struct Metaspace final : PreTokenizer {
  enum class Scheme { kFirst, kAlways, kNever };
  void apply(Words& words) const override {
    std::vector<Range> matches;
    rebuild(words, [&](std::string_view word, bool at_start, auto& out) {
      std::string text = replace_all(word, " ", mark);
      const bool prepend = scheme == Scheme::kAlways || (scheme == Scheme::kFirst && at_start);
      if (prepend && !text.starts_with(mark)) text.insert(0, mark);
      word = words.arena.emplace_back(std::move(text));
      if (!cut) {
        out.push_back(word);
        return;
      }
      matches.clear();
      for (size_t at = 0; (at = word.find(mark, at)) != std::string_view::npos; at += mark.size())
        matches.push_back({at, at + mark.size()});
      split(word, matches, SplitBehavior::kMergedWithNext, false, out);
    });
  }
  std::string mark;
  Scheme scheme = Scheme::kAlways;
  bool cut = true;
};

struct Sequence final : PreTokenizer {
  void apply(Words& words) const override {
    for (const auto& part : parts) part->apply(words);
  }
  std::vector<Made> parts;
};

Result<SplitBehavior> behavior_field(const Json& spec, const char* fallback) {
  LATHE_TRY(const std::string name, string_field(spec, "behavior", fallback));
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  return unsupported("split behavior '{}'", name);
}

Result<Made> make_split(const Json& spec) {
  auto p = std::make_unique<Split>();
  const auto pattern = spec.find("pattern");
  if (pattern == spec.end() || !pattern->is_object()) return bad_input("Split without 'pattern'");
  if (pattern->contains("Regex")) {
    LATHE_TRY(const std::string source, string_field(*pattern, "Regex"));
    LATHE_TRY(p->regex, Regex::compile(source));
  } else {
    LATHE_TRY(p->literal, string_field(*pattern, "String"));
  }
  LATHE_TRY(p->behavior, behavior_field(spec, "Isolated"));
  LATHE_TRY(p->invert, bool_field(spec, "invert", false));
  return Made(std::move(p));
}

Result<Made> make_metaspace(const Json& spec) {
  auto p = std::make_unique<Metaspace>();
  LATHE_TRY(p->mark, string_field(spec, "replacement"));
  if (p->mark.empty() || static_cast<size_t>(utf8_length(p->mark[0])) != p->mark.size())
    return bad_input("Metaspace: 'replacement' is not one character");
  LATHE_TRY(p->cut, bool_field(spec, "split", true));
  // Files written before 'prepend_scheme' existed have 'add_prefix_space'.
  LATHE_TRY(const bool prefix, bool_field(spec, "add_prefix_space", true));
  LATHE_TRY(const std::string scheme,
            string_field(spec, "prepend_scheme", prefix ? "always" : "never"));
  if (scheme == "first") {
    p->scheme = Metaspace::Scheme::kFirst;
  } else if (scheme == "never") {
    p->scheme = Metaspace::Scheme::kNever;
  } else if (scheme != "always") {
    return unsupported("prepend_scheme '{}'", scheme);
  }
  return Made(std::move(p));
}

// `last`: no other pre-tokenizer follows.
Result<Made> make(const Json& spec, bool last, int depth) {
  LATHE_TRY(const std::string type, type_of(spec));
  if (depth > kMaxDepth) return bad_input("sequences nested deeper than {}", kMaxDepth);
  if (type == "Split") return make_split(spec);
  if (type == "Metaspace") return make_metaspace(spec);
  if (type == "Whitespace") return Made(std::make_unique<Whitespace>());
  if (type == "WhitespaceSplit")
    return Made(std::make_unique<SplitAt>(is_white_space, SplitBehavior::kRemoved));
  if (type == "ByteLevel") {
    auto p = std::make_unique<ByteLevel>();
    p->last = last;
    LATHE_TRY(p->prefix_space, bool_field(spec, "add_prefix_space", true));
    LATHE_TRY(const bool use_regex, bool_field(spec, "use_regex", true));
    if (use_regex) {
      LATHE_TRY(p->regex, Regex::compile(kGpt2Pattern));
    }
    return Made(std::move(p));
  }
  if (type == "Digits") {
    LATHE_TRY(const bool single, bool_field(spec, "individual_digits", false));
    return Made(std::make_unique<SplitAt>(
        is_number, single ? SplitBehavior::kIsolated : SplitBehavior::kContiguous));
  }
  if (type == "Punctuation") {
    LATHE_TRY(const SplitBehavior behavior, behavior_field(spec, "Isolated"));
    return Made(std::make_unique<SplitAt>(is_punctuation, behavior));
  }
  if (type == "CharDelimiterSplit") {
    LATHE_TRY(const std::string delimiter, string_field(spec, "delimiter"));
    if (delimiter.empty()) return bad_input("CharDelimiterSplit with an empty 'delimiter'");
    const char32_t d = decode_utf8(delimiter).c;
    return Made(
        std::make_unique<SplitAt>([d](char32_t c) { return c == d; }, SplitBehavior::kRemoved));
  }
  auto sequence = std::make_unique<Sequence>();
  if (type == "BertPreTokenizer") {
    sequence->parts.push_back(std::make_unique<SplitAt>(is_white_space, SplitBehavior::kRemoved));
    sequence->parts.push_back(std::make_unique<SplitAt>(is_punctuation, SplitBehavior::kIsolated));
    return Made(std::move(sequence));
  }
  if (type == "Sequence") {
    LATHE_TRY(const Json* parts, array_field(spec, "pretokenizers"));
    for (size_t i = 0; i < parts->size(); ++i) {
      LATHE_TRY(auto made, make((*parts)[i], last && i + 1 == parts->size(), depth + 1));
      sequence->parts.push_back(std::move(made));
    }
    return Made(std::move(sequence));
  }
  return unsupported("pre-tokenizer '{}'", type);
}

}  // namespace

const char* const kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

void split(std::string_view text, const std::vector<Range>& matches, SplitBehavior behavior,
           bool invert, std::vector<std::string_view>& out) {
  // Matches and what lies between them, in order.
  thread_local std::vector<std::pair<Range, bool>> parts;
  parts.clear();
  size_t end = 0;
  for (const Range& m : matches) {
    if (end != m.begin) parts.push_back({{end, m.begin}, invert});
    parts.push_back({m, !invert});
    end = m.end;
  }
  if (end != text.size()) parts.push_back({{end, text.size()}, invert});

  const size_t first = out.size();
  const auto emit = [&](Range r) { out.push_back(text.substr(r.begin, r.end - r.begin)); };
  const auto extend = [&](Range r, bool merge) {
    if (merge && out.size() > first) {
      out.back() = std::string_view(out.back().data(), text.data() + r.end - out.back().data());
    } else {
      emit(r);
    }
  };
  bool previous = false;
  switch (behavior) {
    case SplitBehavior::kIsolated:
      for (const auto& [range, match] : parts) emit(range);
      break;
    case SplitBehavior::kRemoved:
      for (const auto& [range, match] : parts)
        if (!match) emit(range);
      break;
    case SplitBehavior::kContiguous:
      for (const auto& [range, match] : parts) {
        extend(range, match == previous);
        previous = match;
      }
      break;
    case SplitBehavior::kMergedWithPrevious:
      for (const auto& [range, match] : parts) {
        extend(range, match && !previous);
        previous = match;
      }
      break;
    case SplitBehavior::kMergedWithNext:
      for (size_t i = 0; i < parts.size(); ++i) {
        // Seen from the right, a match joins the piece after it unless that is a match too.
        Range range = parts[i].first;
        if (parts[i].second && i + 1 < parts.size() && !parts[i + 1].second)
          range.end = parts[++i].first.end;
        emit(range);
      }
      break;
  }
  // Empty matches make empty pieces; only those of this call need a look.
  out.erase(std::remove_if(out.begin() + static_cast<std::ptrdiff_t>(first), out.end(),
                           [](std::string_view piece) { return piece.empty(); }),
            out.end());
}

Result<Made> make_pre_tokenizer(const Json& spec) { return make(spec, true, 0); }

Result<Made> make_byte_level(const std::vector<std::string>& patterns, bool add_prefix_space) {
  auto sequence = std::make_unique<Sequence>();
  if (add_prefix_space) {
    auto space = std::make_unique<ByteLevel>();
    space->last = true;
    sequence->parts.push_back(std::move(space));
  }
  for (const std::string& pattern : patterns) {
    auto p = std::make_unique<Split>();
    LATHE_TRY(p->regex, Regex::compile(pattern));
    sequence->parts.push_back(std::move(p));
  }
  auto bytes = std::make_unique<ByteLevel>();
  bytes->prefix_space = false;
  bytes->last = true;
  sequence->parts.push_back(std::move(bytes));
  return Made(std::move(sequence));
}

}  // namespace lathe::text
