// The template's source as tokens, with the white-space rules of transformers' environment:
// trim_blocks and lstrip_blocks on, one trailing newline dropped.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace lathe::jinja {

enum class TokenKind {
  kText,
  kVariableBegin,
  kVariableEnd,
  kBlockBegin,
  kBlockEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind;
  std::string text;  // the text; the name; the string's value; the digits; the operator
  int line;
};

// Throws TemplateError.
std::vector<Token> tokenize(std::string_view source);

}  // namespace lathe::jinja
