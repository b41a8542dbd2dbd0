#include "lathe/text/decoders.h"

#include <algorithm>
#include <optional>

#include "lathe/text/byte_level.h"
#include "lathe/text/normalizers.h"
#include "lathe/text/regex.h"
#include "lathe/text/unicode.h"
#include "lathe/text/vocabulary.h"

namespace lathe::text {
namespace {

using Made = std::unique_ptr<Decoder>;

void fuse(std::vector<std::string>& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens.assign(1, all);
}

struct ByteLevel final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens)
      if (auto bytes = alphabet_to_bytes(token)) token = std::move(*bytes);
    fuse(tokens);
  }
};

struct ByteFallback final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens)
      if (const auto byte = byte_of_token(token)) token.assign(1, static_cast<char>(*byte));
  }
};

struct Fuse final : Decoder {
  void apply(std::vector<std::string>& tokens) const override { fuse(tokens); }
};

struct Replace final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) token = replace_all(token, from, to);
  }
  double growth() const override {
    return std::max(1.0, static_cast<double>(to.size()) / static_cast<double>(from.size()));
  }
  std::string from, to;
};

struct Strip final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (std::string& token : tokens) {
      size_t front = 0;
      for (int64_t i = 0; i < start && token.compare(front, content.size(), content) == 0; ++i)
        front += content.size();
      token.erase(0, front);
      for (int64_t i = 0; i < stop && token.ends_with(content); ++i)
        token.resize(token.size() - content.size());
    }
  }
  std::string content;
  int64_t start = 0, stop = 0;
};

struct Metaspace final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replace_all(tokens[i], mark, i == 0 && prepends ? "" : " ");
  }
  std::string mark;
  bool prepends = true;
};

struct WordPieceDecoder final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0) {
        if (token.starts_with(prefix)) {
          token.erase(0, prefix.size());
        } else {
          token.insert(token.begin(), ' ');
        }
      }
      if (!cleanup) continue;
      static constexpr std::string_view kClean[][2] = {
          {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
          {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
          {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
      for (const auto& [from, to] : kClean) token = replace_all(token, from, to);
    }
  }
  std::string prefix;
  bool cleanup = true;
};

struct BpeDecoder final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i)
      tokens[i] = replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
  }
  std::string suffix;
};

struct Sequence final : Decoder {
  void apply(std::vector<std::string>& tokens) const override {
    for (const auto& part : parts) part->apply(tokens);
  }
  double growth() const override {
    double product = 1;
    for (const auto& part : parts) product *= part->growth();
    return product;
  }
  std::vector<Made> parts;
};

}  // namespace

Result<Made> make_decoder(const Json& spec, int depth) {
  LATHE_TRY(const std::string type, type_of(spec));
  if (depth > kMaxDepth) return bad_input("sequences nested deeper than {}", kMaxDepth);
  if (type == "ByteLevel") return Made(std::make_unique<ByteLevel>());
  if (type == "ByteFallback") return Made(std::make_unique<ByteFallback>());
  if (type == "Fuse") return Made(std::make_unique<Fuse>());
  if (type == "Replace") {
    auto d = std::make_unique<Replace>();
    LATHE_TRY(d->to, string_field(spec, "content"));
    const auto pattern = spec.find("pattern");
    if (pattern == spec.end() || !pattern->is_object())
      return bad_input("Replace without 'pattern'");
    if (pattern->contains("Regex")) return unsupported("Replace with a regex in a decoder");
    LATHE_TRY(d->from, string_field(*pattern, "String"));
    if (d->from.empty()) return bad_input("Replace of an empty string");
    return Made(std::move(d));
  }
  if (type == "Strip") {
    auto d = std::make_unique<Strip>();
    LATHE_TRY(d->content, string_field(spec, "content"));
    LATHE_TRY(d->start, int_field(spec, "start", 0));
    LATHE_TRY(d->stop, int_field(spec, "stop", 0));
    if (d->content.empty()) return bad_input("Strip with an empty 'content'");
    d->start = std::clamp<int64_t>(d->start, 0, 1 << 20);
    d->stop = std::clamp<int64_t>(d->stop, 0, 1 << 20);
    return Made(std::move(d));
  }
  if (type == "Metaspace") {
    auto d = std::make_unique<Metaspace>();
    LATHE_TRY(d->mark, string_field(spec, "replacement"));
    LATHE_TRY(const bool prefix, bool_field(spec, "add_prefix_space", true));
    LATHE_TRY(const std::string scheme,
              string_field(spec, "prepend_scheme", prefix ? "always" : "never"));
    d->prepends = scheme != "never";
    return Made(std::move(d));
  }
  if (type == "WordPiece") {
    auto d = std::make_unique<WordPieceDecoder>();
    LATHE_TRY(d->prefix, string_field(spec, "prefix", "##"));
    LATHE_TRY(d->cleanup, bool_field(spec, "cleanup", true));
    return Made(std::move(d));
  }
  if (type == "BPEDecoder") {
    auto d = std::make_unique<BpeDecoder>();
    LATHE_TRY(d->suffix, string_field(spec, "suffix", "</w>"));
    return Made(std::move(d));
  }
  if (type == "Sequence") {
    auto d = std::make_unique<Sequence>();
    LATHE_TRY(const Json* parts, array_field(spec, "decoders"));
    for (const Json& part : *parts) {
      LATHE_TRY(auto made, make_decoder(part, depth + 1));
      d->parts.push_back(std::move(made));
    }
    if (d->growth() > kMaxGrowth)
      return bad_input("the sequence can make text {} times as long", d->growth());
    return Made(std::move(d));
  }
  return unsupported("decoder '{}'", type);
}

}  // namespace lathe::text
