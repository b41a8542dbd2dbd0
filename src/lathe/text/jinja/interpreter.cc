#include "lathe/text/jinja/interpreter.h"

#include <fmt/format.h>

#include <cmath>

#include "lathe/text/jinja/builtins.h"

namespace lathe::jinja {
namespace {

constexpr size_t kMaxOutputBytes = size_t{64} << 20;
constexpr int kMaxDepth = 800;  // of evaluation; a level takes below 2 KB of stack
constexpr int64_t kMaxRange = 100'000;

// The names visible at one place. Blocks that open a scope hide, they do not overwrite.
struct Scope {
  explicit Scope(std::shared_ptr<Scope> p) : parent(std::move(p)) {}
  std::shared_ptr<Scope> parent;
  Dict variables;

  const Value* find(const std::string& name) const {
    for (const Scope* s = this; s; s = s->parent.get())
      if (const Value* v = s->variables.find(name)) return v;
    return nullptr;
  }
};
using ScopePtr = std::shared_ptr<Scope>;

class Interpreter {
 public:
  Interpreter(std::optional<std::time_t> now, bool strict) : now_(now), strict_(strict) {}

  std::string run(const Block& block, const Dict& variables) {
    const auto functions = std::make_shared<Scope>(nullptr);
    add_functions(functions->variables);
    const auto globals = std::make_shared<Scope>(functions);
    globals->variables = variables;
    execute(block, globals, out_);
    return std::move(out_);
  }

 private:
  enum class Flow { kNext, kBreak, kContinue };

  struct Deeper {
    explicit Deeper(int* d) : depth(d) {
      if (++*depth > kMaxDepth) {
        --*depth;
        throw TemplateError("the template calls itself too deeply");
      }
    }
    ~Deeper() { --*depth; }
    int* depth;
  };

  void write(std::string& out, const std::string& text) {
    if (out.size() + text.size() > kMaxOutputBytes)
      throw TemplateError("the template makes too much text");
    budget_.step(static_cast<int64_t>(text.size() / 64));
    out += text;
  }

  // --- statements ---

  Flow execute(const Block& block, const ScopePtr& scope, std::string& out) {
    const Deeper deeper(&depth_);
    for (const auto& statement : block) {
      budget_.step();
      const Flow flow = execute(*statement, scope, out);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow execute(const Statement& s, const ScopePtr& scope, std::string& out) {
    using Kind = Statement::Kind;
    switch (s.kind) {
      case Kind::kText:
        write(out, s.text);
        return Flow::kNext;
      case Kind::kPrint:
        write(out, defined(evaluate(*s.value, scope), s.line).str());
        return Flow::kNext;
      case Kind::kIf:
        for (const auto& [condition, body] : s.branches)
          if (!condition || evaluate(*condition, scope).truthy()) return execute(body, scope, out);
        return Flow::kNext;
      case Kind::kFor:
        return loop(s, scope, out);
      case Kind::kSet:
        set(s, scope, out);
        return Flow::kNext;
      case Kind::kSetBlock:
      case Kind::kFilter: {
        std::string text;
        const Flow flow = execute(s.body, std::make_shared<Scope>(scope), text);
        Value value(std::move(text));
        if (s.filter) value = filter(*s.filter, scope, value);
        if (s.kind == Kind::kFilter) {
          write(out, value.str());
        } else {
          assign(s, scope, value);
        }
        return flow;
      }
      case Kind::kMacro:
        define_macro(s, scope);
        return Flow::kNext;
      case Kind::kWith: {
        const auto inner = std::make_shared<Scope>(scope);
        for (const auto& [name, value] : s.parameters)
          inner->variables.set(name, evaluate(*value, scope));
        return execute(s.body, inner, out);
      }
      case Kind::kScope:
        return execute(s.body, std::make_shared<Scope>(scope), out);
      case Kind::kBreak:
        return Flow::kBreak;
      case Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  void bind(const std::vector<std::string>& targets, const Value& value, Scope& scope, int line) {
    if (targets.size() == 1) {
      scope.variables.set(targets[0], value);
      return;
    }
    const auto parts = iterate(value);
    if (parts->size() != targets.size())
      throw TemplateError(
          fmt::format("line {}: {} values for {} names", line, parts->size(), targets.size()));
    for (size_t i = 0; i < targets.size(); ++i) scope.variables.set(targets[i], (*parts)[i]);
  }

  Flow loop(const Statement& s, const ScopePtr& scope, std::string& out) {
    auto items = iterate(defined(evaluate(*s.value, scope), s.line));
    if (s.condition) {
      auto kept = std::make_shared<List>();
      for (const Value& item : *items) {
        budget_.step();
        const auto inner = std::make_shared<Scope>(scope);
        bind(s.targets, item, *inner, s.line);
        if (evaluate(*s.condition, inner).truthy()) kept->push_back(item);
      }
      items = std::move(kept);
    }
    if (items->empty()) return execute(s.otherwise, std::make_shared<Scope>(scope), out);
    const auto state = std::make_shared<Loop>();
    state->items = items;
    state->last_changed = std::make_shared<List>();
    for (size_t i = 0; i < items->size(); ++i) {
      budget_.step();
      state->index = static_cast<int64_t>(i);
      const auto inner = std::make_shared<Scope>(scope);
      inner->variables.set("loop", Value(state));
      bind(s.targets, (*items)[i], *inner, s.line);
      if (execute(s.body, inner, out) == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  void assign(const Statement& s, const ScopePtr& scope, const Value& value) {
    if (s.text.empty()) {
      bind(s.targets, value, *scope, s.line);
      return;
    }
    const Value* object = scope->find(s.text);
    Namespace* space = object ? object->as_namespace() : nullptr;
    if (!space) throw TemplateError(fmt::format("line {}: '{}' is no namespace", s.line, s.text));
    if (value.nesting() >= kMaxNesting)
      throw TemplateError(
          fmt::format("line {}: a namespace cannot hold this {} (a function, or nested too deeply)",
                      s.line, value.type_name()));
    space->attributes.set(s.targets[0], value);
  }

  void set(const Statement& s, const ScopePtr& scope, std::string&) {
    assign(s, scope, evaluate(*s.value, scope));
  }

  void define_macro(const Statement& s, const ScopePtr& scope) {
    const std::weak_ptr<Scope> home = scope;  // a strong one would be a cycle
    scope->variables.set(
        s.text, Callable([this, &s, home](Arguments& a) -> Value {
          const ScopePtr outer = home.lock();
          if (!outer) throw TemplateError(fmt::format("the macro '{}' has left its scope", s.text));
          const auto inner = std::make_shared<Scope>(outer);
          Reader reader(s.text, a);
          for (const auto& [name, fallback] : s.parameters) {
            Value value = reader.next(name, Value::undefined(name));
            if (value.is_undefined() && fallback) value = evaluate(*fallback, inner);
            inner->variables.set(name, std::move(value));
          }
          reader.done();
          std::string out;
          execute(s.body, inner, out);
          return Value(std::move(out));
        }));
  }

  // --- expressions ---

  Value evaluate(const Expression& e, const ScopePtr& scope) {
    using Kind = Expression::Kind;
    const Deeper deeper(&depth_);
    budget_.step();
    switch (e.kind) {
      case Kind::kConstant:
        return e.value;
      case Kind::kName: {
        const Value* v = scope->find(e.text);
        return v ? *v : Value::undefined(e.text);
      }
      case Kind::kList:
        return list(e, scope);
      case Kind::kDict:
        return dict(e, scope);
      case Kind::kAttribute:
        return at(e, [&] { return get_attribute(evaluate(*e.parts[0], scope), e.text, budget_); });
      case Kind::kItem:
        return at(e, [&] {
          const Value object = evaluate(*e.parts[0], scope);
          return get_item(object, evaluate(*e.parts[1], scope), budget_);
        });
      case Kind::kSlice:
        return slice(e, scope);
      case Kind::kCall:
        return call(e, scope);
      case Kind::kFilter:
        return filter(e, scope, std::nullopt);
      case Kind::kTest:
        return test(e, scope);
      case Kind::kUnary:
        return unary(e, scope);
      case Kind::kBinary:
        return binary(e, scope);
      case Kind::kCompare:
        return comparison(e, scope);
      case Kind::kCondition: {
        if (evaluate(*e.parts[1], scope).truthy()) return evaluate(*e.parts[0], scope);
        return e.parts[2] ? evaluate(*e.parts[2], scope) : Value::undefined("the other case");
      }
    }
    return {};
  }

  Value defined(Value value, int line) const {
    if (strict_ && value.is_undefined()) {
      throw TemplateError(fmt::format("line {}: '{}' is undefined", line, value.undefined_name()));
    }
    return value;
  }

  // Puts the line in front of a message that has none yet.
  template <typename F>
  static Value at(const Expression& e, F&& f) {
    try {
      return f();
    } catch (const TemplateError& error) {
      const std::string_view what = error.what();
      if (what.starts_with("line ") || what.starts_with("raise: ")) throw;
      throw TemplateError(fmt::format("line {}: {}", e.line, what));
    }
  }

  Value list(const Expression& e, const ScopePtr& scope) {
    List list;
    for (const auto& part : e.parts) list.push_back(evaluate(*part, scope));
    return e.text == "tuple" ? Value::tuple(std::move(list)) : Value(std::move(list));
  }

  Value dict(const Expression& e, const ScopePtr& scope) {
    Dict dict;
    for (size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(*e.parts[i], scope);
      if (!key.is_string())
        throw TemplateError(fmt::format("line {}: only strings can be keys here", e.line));
      dict.set(key.as_string(), evaluate(*e.parts[i + 1], scope));
    }
    return Value(std::move(dict));
  }

  Value slice(const Expression& e, const ScopePtr& scope) {
    return at(e, [&] {
      Value bounds[3];
      for (int i = 0; i < 3; ++i)
        if (e.parts[i + 1]) bounds[i] = evaluate(*e.parts[i + 1], scope);
      return get_slice(evaluate(*e.parts[0], scope), bounds[0], bounds[1], bounds[2], budget_);
    });
  }

  Arguments arguments(const Expression& e, size_t first, const ScopePtr& scope) {
    Arguments a;
    for (size_t i = first; i < e.parts.size(); ++i)
      a.positional.push_back(evaluate(*e.parts[i], scope));
    for (const auto& [name, value] : e.named) a.named.emplace_back(name, evaluate(*value, scope));
    return a;
  }

  Value call(const Expression& e, const ScopePtr& scope) {
    return at(e, [&]() -> Value {
      const Value function = evaluate(*e.parts[0], scope);
      if (function.is_undefined())
        throw TemplateError(fmt::format("'{}' is undefined", function.undefined_name()));
      if (!function.is_callable())
        throw TemplateError(fmt::format("'{}' object is not callable", function.type_name()));
      Arguments a = arguments(e, 1, scope);
      return function.as_callable()(a);
    });
  }

  Value filter(const Expression& e, const ScopePtr& scope, std::optional<Value> input) {
    return at(e, [&] {
      // In a filter block the first of a chain has no expression before it.
      const Value subject = !e.parts[0]               ? *input
                            : input && heads_chain(e) ? filter(*e.parts[0], scope, input)
                                                      : evaluate(*e.parts[0], scope);
      if (e.text != "default" && e.text != "d") defined(subject, e.line);
      return apply_filter(e.text, subject, arguments(e, 1, scope), budget_);
    });
  }
  static bool heads_chain(const Expression& e) {
    return e.parts[0] && e.parts[0]->kind == Expression::Kind::kFilter;
  }

  Value test(const Expression& e, const ScopePtr& scope) {
    return at(e, [&] {
      const Value subject = evaluate(*e.parts[0], scope);
      return Value(apply_test(e.text, subject, arguments(e, 1, scope)) != e.negated);
    });
  }

  Value unary(const Expression& e, const ScopePtr& scope) {
    const Value v = evaluate(*e.parts[0], scope);
    if (e.text == "not") return !v.truthy();
    return at(e, [&]() -> Value {
      if (e.text == "+") return v.is_float() ? v : Value(v.as_int());
      if (v.is_float()) return -v.as_double();
      int64_t negative = 0;
      if (__builtin_sub_overflow(int64_t{0}, v.as_int(), &negative)) overflow();
      return negative;
    });
  }

  [[noreturn]] static void overflow() { throw TemplateError("the number is out of range"); }

  Value binary(const Expression& e, const ScopePtr& scope) {
    const Value left = evaluate(*e.parts[0], scope);
    if (e.text == "and") return left.truthy() ? evaluate(*e.parts[1], scope) : left;
    if (e.text == "or") return left.truthy() ? left : evaluate(*e.parts[1], scope);
    const Value right = evaluate(*e.parts[1], scope);
    return at(e, [&] { return operate(e.text, left, right); });
  }

  Value operate(const std::string& op, const Value& left, const Value& right) {
    if (op == "~") return joined(left.str(), right.str());
    for (const Value* v : {&left, &right})
      if (v->is_undefined())
        throw TemplateError(fmt::format("'{}' is undefined", v->undefined_name()));
    if (op == "+" && left.is_string() && right.is_string())
      return joined(left.as_string(), right.as_string());
    if (op == "+" && left.is_list() && right.is_list()) {
      budget_.make(left.length() + right.length());
      List list = left.as_list();
      list.insert(list.end(), right.as_list().begin(), right.as_list().end());
      return left.is_tuple() ? Value::tuple(std::move(list)) : Value(std::move(list));
    }
    if (op == "*" && (left.is_string() || left.is_list()) && right.is_int())
      return repeated(left, right.as_int());
    if (op == "*" && (right.is_string() || right.is_list()) && left.is_int())
      return repeated(right, left.as_int());
    if (!left.is_number() || !right.is_number())
      throw TemplateError(fmt::format("'{}' cannot be used with '{}' and '{}'", op,
                                      left.type_name(), right.type_name()));
    if (op == "/" || left.is_float() || right.is_float())
      return real(op, left.as_double(), right.as_double());
    return whole(op, left.as_int(), right.as_int());
  }

  Value joined(const std::string& a, const std::string& b) {
    budget_.make(static_cast<int64_t>(a.size() + b.size()));
    return Value(a + b);
  }

  Value repeated(const Value& what, int64_t count) {
    count = std::max<int64_t>(count, 0);
    const int64_t size =
        what.is_string() ? static_cast<int64_t>(what.as_string().size()) : what.length();
    int64_t total = 0;
    if (__builtin_mul_overflow(size, count, &total)) overflow();
    budget_.make(total);
    if (size == 0) return what;
    if (what.is_string()) {
      std::string out;
      out.reserve(static_cast<size_t>(total));
      for (; count > 0; --count) out += what.as_string();
      return Value(std::move(out));
    }
    List out;
    for (; count > 0; --count) out.insert(out.end(), what.as_list().begin(), what.as_list().end());
    return Value(std::move(out));
  }

  static Value real(const std::string& op, double a, double b) {
    if (b == 0 && (op == "/" || op == "//" || op == "%")) throw TemplateError("division by zero");
    if (op == "+") return a + b;
    if (op == "-") return a - b;
    if (op == "*") return a * b;
    if (op == "/") return a / b;
    if (op == "//") return std::floor(a / b);
    if (op == "%") return a - b * std::floor(a / b);
    return std::pow(a, b);
  }

  static Value whole(const std::string& op, int64_t a, int64_t b) {
    int64_t out = 0;
    if (op == "+") {
      if (__builtin_add_overflow(a, b, &out)) overflow();
    } else if (op == "-") {
      if (__builtin_sub_overflow(a, b, &out)) overflow();
    } else if (op == "*") {
      if (__builtin_mul_overflow(a, b, &out)) overflow();
    } else if (op == "**") {
      if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
      out = 1;
      if (a == 0 || a == 1) return b == 0 ? 1 : a;
      if (a == -1) return b % 2 == 0 ? int64_t{1} : int64_t{-1};
      for (; b > 0; --b)
        if (__builtin_mul_overflow(out, a, &out)) overflow();
    } else {  // // and %
      if (b == 0) throw TemplateError("division by zero");
      if (b == -1) {
        if (op == "%") return int64_t{0};
        if (__builtin_sub_overflow(int64_t{0}, a, &out)) overflow();
        return out;
      }
      const int64_t remainder = a % b;
      const bool down = remainder != 0 && (remainder < 0) != (b < 0);
      out = op == "//" ? a / b - (down ? 1 : 0) : remainder + (down ? b : 0);
    }
    return out;
  }

  Value comparison(const Expression& e, const ScopePtr& scope) {
    return at(e, [&] {
      Value left = evaluate(*e.parts[0], scope);
      for (size_t i = 0; i < e.ops.size(); ++i) {
        Value right = evaluate(*e.parts[i + 1], scope);
        if (!holds(e.ops[i], left, right)) return Value(false);
        left = std::move(right);
      }
      return Value(true);
    });
  }

  bool holds(const std::string& op, const Value& left, const Value& right) {
    if (op == "==") return equal(left, right);
    if (op == "!=") return !equal(left, right);
    if (op == "in") return contains(right, left);
    if (op == "not in") return !contains(right, left);
    const int order = compare(left, right);
    return op == "<" ? order < 0 : op == "<=" ? order <= 0 : op == ">" ? order > 0 : order >= 0;
  }

  // --- functions ---

  void add_functions(Dict& to) {
    to.set("range", Callable([this](Arguments& a) -> Value {
             if (a.positional.empty() || a.positional.size() > 3 || !a.named.empty())
               throw TemplateError("range() takes one to three numbers");
             const auto& p = a.positional;
             int64_t i = p.size() > 1 ? p[0].as_int() : 0;
             const int64_t end = p[p.size() > 1 ? 1 : 0].as_int();
             const int64_t step = p.size() > 2 ? p[2].as_int() : 1;
             if (step == 0) throw TemplateError("range() with a step of zero");
             List list;
             while (step > 0 ? i < end : i > end) {
               if (static_cast<int64_t>(list.size()) >= kMaxRange)
                 throw TemplateError(fmt::format("range() of more than {} numbers", kMaxRange));
               list.emplace_back(i);
               if (__builtin_add_overflow(i, step, &i)) break;
             }
             budget_.make(static_cast<int64_t>(list.size()));
             return Value(std::move(list));
           }));
    const auto pairs = [](Arguments& a) {
      Dict dict;
      for (const Value& v : a.positional) {
        if (!v.is_dict()) throw TemplateError("expected a mapping");
        for (const auto& [key, value] : v.as_dict().items) dict.set(key, value);
      }
      for (auto& [key, value] : a.named) dict.set(key, value);
      return Value(std::move(dict));  // checks the nesting
    };
    to.set("namespace", Callable([pairs](Arguments& a) -> Value {
             auto space = std::make_shared<Namespace>();
             space->attributes = pairs(a).as_dict();
             return Value(std::move(space));
           }));
    to.set("dict", Callable([pairs](Arguments& a) -> Value { return pairs(a); }));
    to.set("raise_exception", Callable([](Arguments& a) -> Value {
             throw TemplateError("raise: " +
                                 (a.positional.empty() ? std::string() : a.positional[0].str()));
           }));
    to.set("strftime_now", Callable([this](Arguments& a) -> Value {
             if (a.positional.size() != 1) throw TemplateError("strftime_now() takes a format");
             return Value(time_text(a.positional[0].as_string()));
           }));
  }

  std::string time_text(const std::string& format) const {
    std::tm parts{};
    if (now_) {
      gmtime_r(&*now_, &parts);
    } else {
      const std::time_t now = std::time(nullptr);
      localtime_r(&now, &parts);
    }
    if (format.empty()) return "";
    if (format.size() > 1000) throw TemplateError("strftime_now: the format is too long");
    std::string out(format.size() * 32 + 256, '\0');
    out.resize(std::strftime(out.data(), out.size(), format.c_str(), &parts));
    return out;
  }

  Budget budget_;
  std::optional<std::time_t> now_;
  bool strict_;
  int depth_ = 0;
  std::string out_;
};

}  // namespace

std::string render(const Block& block, const Dict& variables, std::optional<std::time_t> now,
                   bool strict) {
  return Interpreter(now, strict).run(block, variables);
}

}  // namespace lathe::jinja
