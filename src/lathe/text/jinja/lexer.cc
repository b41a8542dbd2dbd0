#include "lathe/text/jinja/lexer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "lathe/text/jinja/value.h"
#include "lathe/text/unicode.h"

namespace lathe::jinja {
namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<uint8_t>(c) >= 0x80;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) {
    // \r\n and \r are \n, and one newline at the end does not count.
    for (size_t i = 0; i < source.size(); ++i) {
      if (source[i] == '\r') {
        source_ += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
      } else {
        source_ += source[i];
      }
    }
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const size_t open = next_tag();
      text_until(open);
      if (open >= source_.size()) break;
      const char kind = source_[open + 1];
      advance(2);
      if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) advance(1);
      if (kind == '#') {
        comment();
      } else if (kind == '{') {
        add(TokenKind::kVariableBegin, "{{");
        inside('}');
      } else if (!raw()) {
        add(TokenKind::kBlockBegin, "{%");
        inside('%');
      }
    }
    add(TokenKind::kEnd, "end of template");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw TemplateError(fmt::format("line {}: {}", line_, what));
  }
  void add(TokenKind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_}); }
  void advance(size_t n) {
    line_ +=
        static_cast<int>(std::count(source_.begin() + static_cast<std::ptrdiff_t>(at_),
                                    source_.begin() + static_cast<std::ptrdiff_t>(at_ + n), '\n'));
    at_ += n;
  }

  size_t next_tag() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i)
      if (source_[i] == '{' &&
          (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    return source_.size();
  }

  // The text before the tag at `open`, less what its sign or lstrip_blocks takes away.
  std::string stripped(size_t begin, size_t open) const {
    std::string text = source_.substr(begin, open - begin);
    if (open >= source_.size()) return text;
    const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
    if (sign == '-') {
      while (!text.empty() && is_space(text.back())) text.pop_back();
    } else if (sign != '+' && source_[open + 1] != '{') {
      const size_t newline = text.rfind('\n');
      const size_t line_begin = newline == std::string::npos ? 0 : newline + 1;
      const bool at_line_start = line_begin > 0 || begin == 0 || source_[begin - 1] == '\n';
      if (at_line_start &&
          std::all_of(text.begin() + static_cast<std::ptrdiff_t>(line_begin), text.end(), is_space))
        text.resize(line_begin);
    }
    return text;
  }

  void text_until(size_t open) {
    std::string text = stripped(at_, open);
    if (!text.empty()) add(TokenKind::kText, std::move(text));
    advance(open - at_);
  }

  void skip_spaces() {
    while (at_ < source_.size() && is_space(source_[at_])) advance(1);
  }
  // Behind the closing mark of a block or comment.
  void after_close(char sign) {
    if (sign == '-') {
      skip_spaces();
    } else if (sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      advance(1);
    }
  }

  void comment() {
    const size_t close = source_.find("#}", at_);
    if (close == std::string::npos) fail("'{#' without '#}'");
    const char sign = close > at_ ? source_[close - 1] : ' ';
    advance(close + 2 - at_);
    after_close(sign);
  }

  // {% raw %} … {% endraw %}, if that is what stands here (after "{%" and its sign).
  bool raw() {
    size_t i = at_;
    const auto word = [&](std::string_view name) {
      while (i < source_.size() && is_space(source_[i])) ++i;
      if (source_.compare(i, name.size(), name) != 0) return false;
      i += name.size();
      while (i < source_.size() && is_space(source_[i])) ++i;
      return true;
    };
    const auto close = [&](char* sign) {
      *sign = ' ';
      if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) *sign = source_[i++];
      if (source_.compare(i, 2, "%}") != 0) return false;
      i += 2;
      return true;
    };
    char sign = ' ';
    if (!word("raw") || !close(&sign)) return false;
    advance(i - at_);
    after_close(sign);
    for (size_t open = source_.find("{%", at_); open != std::string::npos;
         open = source_.find("{%", open + 2)) {
      i = open + 2;
      if (i < source_.size() && (source_[i] == '-' || source_[i] == '+')) ++i;
      if (!word("endraw") || !close(&sign)) continue;
      std::string text = stripped(at_, open);
      if (!text.empty()) add(TokenKind::kText, std::move(text));
      advance(i - at_);
      after_close(sign);
      return true;
    }
    fail("'raw' without 'endraw'");
  }

  // The tokens up to the closing mark: }} or %}.
  void inside(char close) {
    int open_brackets = 0;
    for (;;) {
      skip_spaces();
      if (at_ >= source_.size()) fail(fmt::format("a tag without '{}}}'", close));
      const char c = source_[at_];
      const bool signed_close = (c == '-' || c == '+') && at_ + 2 < source_.size() &&
                                source_[at_ + 1] == close && source_[at_ + 2] == '}';
      const bool plain_close = c == close && at_ + 1 < source_.size() && source_[at_ + 1] == '}';
      if (open_brackets == 0 && (plain_close || (signed_close && (c == '-' || close == '%')))) {
        add(close == '}' ? TokenKind::kVariableEnd : TokenKind::kBlockEnd, "end of the tag");
        advance(plain_close ? 2 : 3);
        if (close == '%') {
          after_close(plain_close ? ' ' : c);
        } else if (!plain_close) {
          skip_spaces();
        }
        return;
      }
      if (c == '"' || c == '\'') {
        string(c);
      } else if (is_digit(c)) {
        number();
      } else if (is_name_start(c)) {
        size_t n = 1;
        while (at_ + n < source_.size() &&
               (is_name_start(source_[at_ + n]) || is_digit(source_[at_ + n])))
          ++n;
        add(TokenKind::kName, source_.substr(at_, n));
        advance(n);
      } else {
        open_brackets += op();
      }
    }
  }

  // Returns how the depth of brackets changes.
  int op() {
    static constexpr std::array<std::string_view, 6> kDouble = {"==", "!=", ">=", "<=", "//", "**"};
    const std::string_view two = std::string_view(source_).substr(at_, 2);
    if (std::find(kDouble.begin(), kDouble.end(), two) != kDouble.end()) {
      add(TokenKind::kOperator, std::string(two));
      advance(2);
      return 0;
    }
    const char c = source_[at_];
    if (std::string_view("+-*/%~<>=.,:|()[]{}").find(c) == std::string_view::npos)
      fail(fmt::format("unexpected character '{}'", c));
    add(TokenKind::kOperator, std::string(1, c));
    advance(1);
    return c == '(' || c == '[' || c == '{' ? 1 : c == ')' || c == ']' || c == '}' ? -1 : 0;
  }

  void number() {
    size_t n = 0;
    bool real = false;
    const auto digits = [&] {
      while (at_ + n < source_.size() && (is_digit(source_[at_ + n]) || source_[at_ + n] == '_'))
        ++n;
    };
    digits();
    if (at_ + n + 1 < source_.size() && source_[at_ + n] == '.' && is_digit(source_[at_ + n + 1])) {
      real = true;
      ++n;
      digits();
    }
    if (at_ + n < source_.size() && (source_[at_ + n] | 0x20) == 'e') {
      size_t m = n + 1;
      if (at_ + m < source_.size() && (source_[at_ + m] == '+' || source_[at_ + m] == '-')) ++m;
      if (at_ + m < source_.size() && is_digit(source_[at_ + m])) {
        real = true;
        n = m;
        digits();
      }
    }
    std::string text = source_.substr(at_, n);
    std::erase(text, '_');
    add(real ? TokenKind::kFloat : TokenKind::kInteger, std::move(text));
    advance(n);
  }

  void string(char quote) {
    const int line = line_;
    std::string out;
    size_t i = at_ + 1;
    const auto hex = [&](size_t digits) -> char32_t {
      char32_t c = 0;
      for (size_t k = 0; k < digits; ++k, ++i) {
        if (i >= source_.size() || !std::isxdigit(static_cast<uint8_t>(source_[i])))
          fail("a broken \\x or \\u escape in a string");
        const char d = source_[i];
        c = c * 16 + static_cast<char32_t>(is_digit(d) ? d - '0' : (d | 0x20) - 'a' + 10);
      }
      if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) fail("an escape that is no character");
      return c;
    };
    for (;;) {
      if (i >= source_.size()) fail("a string without its closing quote");
      const char c = source_[i++];
      if (c == quote) break;
      if (c != '\\') {
        out += c;
        continue;
      }
      if (i >= source_.size()) fail("a string without its closing quote");
      const char e = source_[i++];
      switch (e) {
        case 'n':
          out += '\n';
          break;
        case 't':
          out += '\t';
          break;
        case 'r':
          out += '\r';
          break;
        case 'a':
          out += '\a';
          break;
        case 'b':
          out += '\b';
          break;
        case 'f':
          out += '\f';
          break;
        case 'v':
          out += '\v';
          break;
        case '\n':
          break;
        case '\\':
        case '\'':
        case '"':
          out += e;
          break;
        case 'x':
          text::append_utf8(out, hex(2));
          break;
        case 'u':
          text::append_utf8(out, hex(4));
          break;
        case 'U':
          text::append_utf8(out, hex(8));
          break;
        default:
          if (e >= '0' && e <= '7') {
            char32_t c8 = static_cast<char32_t>(e - '0');
            for (int k = 0; k < 2 && i < source_.size() && source_[i] >= '0' && source_[i] <= '7';
                 ++k, ++i)
              c8 = c8 * 8 + static_cast<char32_t>(source_[i] - '0');
            text::append_utf8(out, c8);
          } else {
            (out += '\\') += e;
          }
      }
    }
    tokens_.push_back({TokenKind::kString, std::move(out), line});
    advance(i - at_);
  }

  std::string source_;
  size_t at_ = 0;
  int line_ = 1;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(std::string_view source) { return Lexer(source).run(); }

}  // namespace lathe::jinja
