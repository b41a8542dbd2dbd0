// The parsed template.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/text/jinja/value.h"

namespace lathe::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

struct NamedExpression {
  std::string name;
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    kConstant,   // value
    kName,       // text
    kList,       // parts; text is "tuple" for one
    kDict,       // parts: key, value, key, value …
    kAttribute,  // parts[0].text
    kItem,       // parts[0][parts[1]]
    kSlice,      // parts[0][parts[1]:parts[2]:parts[3]], each may be null
    kCall,       // parts[0](parts[1…], named…)
    kFilter,     // parts[0] | text(parts[1…], named…); parts[0] null inside a filter block
    kTest,       // parts[0] is text(parts[1…]); negated
    kUnary,      // text: - + not
    kBinary,     // text: + - * / // % ** ~ and or
    kCompare,    // parts[0] ops[0] parts[1] ops[1] parts[2] …
    kCondition,  // parts[0] if parts[1] else parts[2] (may be null)
  };
  Kind kind;
  int line = 0;
  int depth = 1;
  std::string text;
  Value value;
  bool negated = false;
  std::vector<ExpressionPtr> parts;
  std::vector<NamedExpression> named;
  std::vector<std::string> ops;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

struct Statement {
  enum class Kind {
    kText,      // text
    kPrint,     // value
    kIf,        // branches; a null condition is `else`
    kFor,       // targets in value [if condition]: body, otherwise
    kSet,       // targets = value, or text.targets[0] = value
    kSetBlock,  // targets[0] = body through filter
    kMacro,     // text(parameters): body
    kFilter,    // filter over body
    kWith,      // parameters: body
    kScope,     // body
    kBreak,
    kContinue
  };
  Kind kind;
  int line = 0;
  std::string text;
  ExpressionPtr value, condition, filter;
  std::vector<std::string> targets;
  std::vector<NamedExpression> parameters;
  Block body, otherwise;
  std::vector<std::pair<ExpressionPtr, Block>> branches;
};

// Throws TemplateError.
Block parse(std::string_view source);

}  // namespace lathe::jinja
