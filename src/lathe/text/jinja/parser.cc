// The grammar is Jinja's (jinja2/parser.py), less inheritance, imports and recursive loops.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "lathe/text/jinja/ast.h"
#include "lathe/text/jinja/lexer.h"

namespace lathe::jinja {
namespace {

constexpr int kMaxDepth = 200;  // of expressions and of statements inside each other

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(tokenize(source)) {}

  Block run() {
    Block block = statements({});
    if (now().kind != TokenKind::kEnd) fail(fmt::format("unexpected '{}'", now().text));
    return block;
  }

 private:
  using Kind = Expression::Kind;

  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  [[noreturn]] void fail(const std::string& what) const {
    throw TemplateError(fmt::format("line {}: {}", now().line, what));
  }
  bool is_op(std::string_view op) const {
    return now().kind == TokenKind::kOperator && now().text == op;
  }
  bool is_name(std::string_view name) const {
    return now().kind == TokenKind::kName && now().text == name;
  }
  bool accept_op(std::string_view op) { return is_op(op) && (++at_, true); }
  bool accept_name(std::string_view name) { return is_name(name) && (++at_, true); }
  void expect_op(std::string_view op) {
    if (!accept_op(op)) fail(fmt::format("expected '{}', got '{}'", op, now().text));
  }
  std::string expect_any_name() {
    if (now().kind != TokenKind::kName) fail(fmt::format("expected a name, got '{}'", now().text));
    return tokens_[at_++].text;
  }
  void expect_block_end() {
    if (now().kind != TokenKind::kBlockEnd)
      fail(fmt::format("expected the end of the tag, got '{}'", now().text));
    ++at_;
  }

  // Bounds the recursion of this parser; expressions bound their own depth below.
  struct Deeper {
    explicit Deeper(Parser* p) : parser(p) {
      if (++p->depth_ > kMaxDepth) p->fail(fmt::format("nested deeper than {}", kMaxDepth));
    }
    ~Deeper() { --parser->depth_; }
    Parser* parser;
  };

  template <typename... Parts>
  ExpressionPtr make(Kind kind, std::string text, Parts... parts) const {
    auto e = std::make_unique<Expression>();
    e->kind = kind;
    e->line = now().line;
    e->text = std::move(text);
    (adopt(*e, std::move(parts)), ...);
    return e;
  }
  void adopt(Expression& parent, ExpressionPtr child) const {
    if (child) parent.depth = std::max(parent.depth, child->depth + 1);
    if (parent.depth > kMaxDepth)
      fail(fmt::format("an expression nested deeper than {}", kMaxDepth));
    parent.parts.push_back(std::move(child));
  }

  // --- statements ---

  // Up to a block tag whose name is in `ends`; that tag's name is left as the current token.
  Block statements(const std::vector<std::string_view>& ends) {
    const Deeper deeper(this);
    Block block;
    for (;;) {
      const Token& token = now();
      if (token.kind == TokenKind::kEnd) {
        if (!ends.empty()) fail(fmt::format("the template ends before '{}'", ends.back()));
        return block;
      }
      if (token.kind == TokenKind::kText) {
        auto s = statement(Statement::Kind::kText);
        s->text = token.text;
        block.push_back(std::move(s));
        ++at_;
      } else if (token.kind == TokenKind::kVariableBegin) {
        auto s = statement(Statement::Kind::kPrint);
        ++at_;
        s->value = tuple();
        if (now().kind != TokenKind::kVariableEnd)
          fail(fmt::format("expected '}}}}', got '{}'", now().text));
        ++at_;
        block.push_back(std::move(s));
      } else if (token.kind == TokenKind::kBlockBegin) {
        ++at_;
        if (std::find(ends.begin(), ends.end(), now().text) != ends.end()) return block;
        block.push_back(tag());
      } else {
        fail(fmt::format("unexpected '{}'", token.text));
      }
    }
  }

  std::unique_ptr<Statement> statement(Statement::Kind kind) const {
    auto s = std::make_unique<Statement>();
    s->kind = kind;
    s->line = now().line;
    return s;
  }

  // The body of a tag whose head has been read, and its end tag.
  Block body(std::string_view end) {
    expect_block_end();
    Block block = statements({end});
    ++at_;
    expect_block_end();
    return block;
  }

  std::unique_ptr<Statement> tag() {
    const std::string name = expect_any_name();
    if (name == "if") return if_tag();
    if (name == "for") return for_tag();
    if (name == "set") return set_tag();
    if (name == "macro") return macro_tag();
    if (name == "filter") {
      auto s = statement(Statement::Kind::kFilter);
      s->filter = filters(nullptr, true);
      s->body = body("endfilter");
      return s;
    }
    if (name == "with") {
      auto s = statement(Statement::Kind::kWith);
      while (now().kind != TokenKind::kBlockEnd) {
        std::string variable = expect_any_name();
        expect_op("=");
        s->parameters.push_back({std::move(variable), expression()});
        if (!accept_op(",")) break;
      }
      s->body = body("endwith");
      return s;
    }
    if (name == "generation") {
      auto s = statement(Statement::Kind::kScope);
      s->body = body("endgeneration");
      return s;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' outside of a loop", name));
      auto s = statement(name == "break" ? Statement::Kind::kBreak : Statement::Kind::kContinue);
      expect_block_end();
      return s;
    }
    fail(fmt::format("the statement '{}' is not supported here", name));
  }

  std::unique_ptr<Statement> if_tag() {
    auto s = statement(Statement::Kind::kIf);
    ExpressionPtr condition = tuple();
    for (;;) {
      expect_block_end();
      Block block = statements({"elif", "else", "endif"});
      s->branches.emplace_back(std::move(condition), std::move(block));
      const std::string name = tokens_[at_++].text;
      if (name == "elif") {
        condition = tuple();
        continue;
      }
      if (name == "else") {
        expect_block_end();
        Block otherwise = statements({"endif"});
        s->branches.emplace_back(nullptr, std::move(otherwise));
        ++at_;
      }
      expect_block_end();
      return s;
    }
  }

  std::vector<std::string> targets() {
    const bool parenthesis = accept_op("(");
    std::vector<std::string> names{expect_any_name()};
    while (accept_op(",")) names.push_back(expect_any_name());
    if (parenthesis) expect_op(")");
    return names;
  }

  std::unique_ptr<Statement> for_tag() {
    auto s = statement(Statement::Kind::kFor);
    s->targets = targets();
    if (!accept_name("in")) fail("expected 'in'");
    s->value = tuple(false);
    if (accept_name("if")) s->condition = expression();
    if (is_name("recursive")) fail("recursive loops are not supported here");
    expect_block_end();
    ++loops_;
    s->body = statements({"else", "endfor"});
    --loops_;
    if (tokens_[at_++].text == "else") {
      expect_block_end();
      s->otherwise = statements({"endfor"});
      ++at_;
    }
    expect_block_end();
    return s;
  }

  std::unique_ptr<Statement> set_tag() {
    auto s = statement(Statement::Kind::kSet);
    if (now().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator &&
        ahead().text == ".") {
      s->text = expect_any_name();
      ++at_;
      s->targets = {expect_any_name()};
    } else {
      s->targets = targets();
    }
    if (accept_op("=")) {
      s->value = tuple();
      expect_block_end();
      return s;
    }
    s->kind = Statement::Kind::kSetBlock;
    if (is_op("|")) s->filter = filters(nullptr, false);
    s->body = body("endset");
    return s;
  }

  std::unique_ptr<Statement> macro_tag() {
    auto s = statement(Statement::Kind::kMacro);
    s->text = expect_any_name();
    expect_op("(");
    while (!is_op(")")) {
      NamedExpression parameter{expect_any_name(), nullptr};
      if (accept_op("=")) parameter.value = expression();
      s->parameters.push_back(std::move(parameter));
      if (!accept_op(",")) break;
    }
    expect_op(")");
    const int loops = std::exchange(loops_, 0);
    s->body = body("endmacro");
    loops_ = loops;
    return s;
  }

  // --- expressions ---

  ExpressionPtr tuple(bool with_condition = true) {
    ExpressionPtr first = with_condition ? expression() : or_();
    if (!is_op(",")) return first;
    ExpressionPtr list = make(Kind::kList, "tuple", std::move(first));
    while (accept_op(",")) {
      if (now().kind == TokenKind::kVariableEnd || now().kind == TokenKind::kBlockEnd || is_op(")"))
        break;
      adopt(*list, with_condition ? expression() : or_());
    }
    return list;
  }

  ExpressionPtr expression() {
    const Deeper deeper(this);
    ExpressionPtr value = or_();
    while (accept_name("if")) {
      ExpressionPtr condition = or_();
      ExpressionPtr otherwise = accept_name("else") ? expression() : nullptr;
      value =
          make(Kind::kCondition, "", std::move(value), std::move(condition), std::move(otherwise));
    }
    return value;
  }

  ExpressionPtr or_() {
    ExpressionPtr left = and_();
    while (accept_name("or")) left = make(Kind::kBinary, "or", std::move(left), and_());
    return left;
  }
  ExpressionPtr and_() {
    ExpressionPtr left = not_();
    while (accept_name("and")) left = make(Kind::kBinary, "and", std::move(left), not_());
    return left;
  }
  ExpressionPtr not_() {
    const Deeper deeper(this);
    if (accept_name("not")) return make(Kind::kUnary, "not", not_());
    return comparison();
  }

  ExpressionPtr comparison() {
    ExpressionPtr first = sum();
    ExpressionPtr chain;
    for (;;) {
      std::string op;
      if (now().kind == TokenKind::kOperator &&
          (now().text == "==" || now().text == "!=" || now().text == "<" || now().text == "<=" ||
           now().text == ">" || now().text == ">=")) {
        op = now().text;
        ++at_;
      } else if (is_name("in")) {
        op = "in";
        ++at_;
      } else if (is_name("not") && ahead().kind == TokenKind::kName && ahead().text == "in") {
        op = "not in";
        at_ += 2;
      } else {
        return chain ? std::move(chain) : std::move(first);
      }
      if (!chain) chain = make(Kind::kCompare, "", std::move(first));
      chain->ops.push_back(std::move(op));
      adopt(*chain, sum());
    }
  }

  ExpressionPtr sum() {
    ExpressionPtr left = concatenation();
    while (is_op("+") || is_op("-")) {
      std::string op = tokens_[at_++].text;
      left = make(Kind::kBinary, std::move(op), std::move(left), concatenation());
    }
    return left;
  }
  ExpressionPtr concatenation() {
    ExpressionPtr left = product();
    while (accept_op("~")) left = make(Kind::kBinary, "~", std::move(left), product());
    return left;
  }
  ExpressionPtr product() {
    ExpressionPtr left = power();
    while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
      std::string op = tokens_[at_++].text;
      left = make(Kind::kBinary, std::move(op), std::move(left), power());
    }
    return left;
  }
  ExpressionPtr power() {
    ExpressionPtr left = unary(true);
    while (accept_op("**")) left = make(Kind::kBinary, "**", std::move(left), unary(true));
    return left;
  }
  ExpressionPtr unary(bool with_filters) {
    const Deeper deeper(this);
    ExpressionPtr value;
    if (is_op("-") || is_op("+")) {
      std::string op = tokens_[at_++].text;
      value = make(Kind::kUnary, std::move(op), unary(false));
    } else {
      value = primary();
    }
    value = postfix(std::move(value));
    return with_filters ? filters(std::move(value), false) : std::move(value);
  }

  ExpressionPtr constant(Value value) const {
    ExpressionPtr e = make(Kind::kConstant, "");
    e->value = std::move(value);
    return e;
  }

  ExpressionPtr primary() {
    const Token& token = now();
    switch (token.kind) {
      case TokenKind::kName: {
        ++at_;
        if (token.text == "true" || token.text == "True") return constant(true);
        if (token.text == "false" || token.text == "False") return constant(false);
        if (token.text == "none" || token.text == "None") return constant(Value());
        return make(Kind::kName, token.text);
      }
      case TokenKind::kString: {
        std::string text;
        while (now().kind == TokenKind::kString) text += tokens_[at_++].text;
        return constant(std::move(text));
      }
      case TokenKind::kInteger:
        return constant(number<int64_t>());
      case TokenKind::kFloat:
        return constant(number<double>());
      default:
        break;
    }
    if (accept_op("(")) {
      if (accept_op(")")) return make(Kind::kList, "tuple");
      ExpressionPtr value = tuple();
      expect_op(")");
      return value;
    }
    if (accept_op("[")) {
      ExpressionPtr list = make(Kind::kList, "");
      while (!is_op("]")) {
        adopt(*list, expression());
        if (!accept_op(",")) break;
      }
      expect_op("]");
      return list;
    }
    if (accept_op("{")) {
      ExpressionPtr dict = make(Kind::kDict, "");
      while (!is_op("}")) {
        adopt(*dict, expression());
        expect_op(":");
        adopt(*dict, expression());
        if (!accept_op(",")) break;
      }
      expect_op("}");
      return dict;
    }
    fail(fmt::format("unexpected '{}'", token.text));
  }

  template <typename T>
  T number() {
    const std::string& text = tokens_[at_].text;
    T value{};
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size())
      fail(fmt::format("the number {} is out of range", text));
    ++at_;
    return value;
  }

  ExpressionPtr postfix(ExpressionPtr value) {
    for (;;) {
      if (accept_op(".")) {
        if (now().kind == TokenKind::kInteger) {
          ExpressionPtr index = constant(number<int64_t>());
          value = make(Kind::kItem, "", std::move(value), std::move(index));
        } else {
          std::string name = expect_any_name();
          value = make(Kind::kAttribute, std::move(name), std::move(value));
        }
      } else if (accept_op("[")) {
        value = subscript(std::move(value));
      } else if (is_op("(")) {
        value = make(Kind::kCall, "", std::move(value));
        arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr subscript(ExpressionPtr value) {
    ExpressionPtr bounds[3];
    int count = 0;
    bool slice = false;
    for (;;) {
      if (is_op(":")) {
        ++at_;
        slice = true;
        if (++count > 2) fail("a slice of more than three parts");
      } else if (is_op("]")) {
        ++at_;
        break;
      } else if (bounds[count]) {
        fail(fmt::format("expected ']', got '{}'", now().text));
      } else {
        bounds[count] = expression();
      }
    }
    if (slice)
      return make(Kind::kSlice, "", std::move(value), std::move(bounds[0]), std::move(bounds[1]),
                  std::move(bounds[2]));
    if (!bounds[0]) fail("an empty subscript");
    return make(Kind::kItem, "", std::move(value), std::move(bounds[0]));
  }

  void arguments(Expression& call) {
    expect_op("(");
    while (!is_op(")")) {
      if (is_op("*") || is_op("**")) fail("unpacking in a call is not supported here");
      if (now().kind == TokenKind::kName && ahead().kind == TokenKind::kOperator &&
          ahead().text == "=") {
        std::string name = expect_any_name();
        ++at_;
        ExpressionPtr value = expression();
        call.depth = std::max(call.depth, value->depth + 1);
        if (call.depth > kMaxDepth)
          fail(fmt::format("an expression nested deeper than {}", kMaxDepth));
        call.named.push_back({std::move(name), std::move(value)});
      } else {
        if (!call.named.empty()) fail("a positional argument after a named one");
        adopt(call, expression());
      }
      if (!accept_op(",")) break;
    }
    expect_op(")");
  }

  // The chain of filters, tests and calls after a value. With `bare`, the first filter stands
  // without its bar (in a filter block).
  ExpressionPtr filters(ExpressionPtr value, bool bare) {
    for (;;) {
      if (bare || accept_op("|")) {
        bare = false;
        std::string name = expect_any_name();
        while (accept_op(".")) name.append(1, '.').append(expect_any_name());
        value = make(Kind::kFilter, std::move(name), std::move(value));
        if (is_op("(")) arguments(*value);
      } else if (value && is_name("is")) {
        ++at_;
        value = test(std::move(value));
      } else if (value && is_op("(")) {
        value = make(Kind::kCall, "", std::move(value));
        arguments(*value);
      } else {
        return value;
      }
    }
  }

  ExpressionPtr test(ExpressionPtr value) {
    const bool negated = accept_name("not");
    std::string name = expect_any_name();
    ExpressionPtr t = make(Kind::kTest, std::move(name), std::move(value));
    t->negated = negated;
    const bool word = now().kind == TokenKind::kName && !is_name("else") && !is_name("or") &&
                      !is_name("and") && !is_name("is") && !is_name("if") && !is_name("not") &&
                      !is_name("in");
    if (is_op("(")) {
      arguments(*t);
    } else if (word || now().kind == TokenKind::kString || now().kind == TokenKind::kInteger ||
               now().kind == TokenKind::kFloat || is_op("[") || is_op("{")) {
      adopt(*t, postfix(primary()));
    }
    return t;
  }

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0;
};

}  // namespace

Block parse(std::string_view source) { return Parser(source).run(); }

}  // namespace lathe::jinja
