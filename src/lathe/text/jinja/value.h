// Values of the template language: Python's, as far as templates can see them. Copies are cheap
// (strings and containers are shared and never changed), containers are at most kMaxNesting deep.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace lathe::jinja {

// Ends the rendering; turned into a Result at the border of the module.
struct TemplateError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Value;
using List = std::vector<Value>;

struct Dict {
  std::vector<std::pair<std::string, Value>> items;  // in order of insertion
  const Value* find(std::string_view key) const;
  void set(std::string key, Value value);
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};
using Callable = std::function<Value(Arguments&)>;

// The object of namespace(): the one thing a template can change.
struct Namespace {
  Dict attributes;
};

// The `loop` variable.
struct Loop {
  std::shared_ptr<const List> items;
  int64_t index = 0;
  std::shared_ptr<List> last_changed;
};

inline constexpr int kMaxNesting = 100;

class Value {
 public:
  struct Undefined {
    std::string name;  // for messages
  };
  struct None {};

  Value() : v_(None{}) {}
  Value(bool b) : v_(b) {}                                                         // NOLINT
  Value(int64_t i) : v_(i) {}                                                      // NOLINT
  Value(double d) : v_(d) {}                                                       // NOLINT
  Value(std::string s) : v_(std::make_shared<const std::string>(std::move(s))) {}  // NOLINT
  Value(const char* s) : Value(std::string(s)) {}                                  // NOLINT
  Value(std::string_view s) : Value(std::string(s)) {}                             // NOLINT
  Value(List list);  // NOLINT throws when nested too deeply
  Value(Dict dict);  // NOLINT likewise
  Value(Callable f) : v_(std::make_shared<const Callable>(std::move(f))) {}  // NOLINT
  Value(std::shared_ptr<Namespace> n) : v_(std::move(n)) {}                  // NOLINT
  Value(std::shared_ptr<Loop> l) : v_(std::move(l)) {}                       // NOLINT
  static Value tuple(List list) {  // a list that shows itself as (1, 2)
    Value v(std::move(list));
    v.tuple_ = true;
    return v;
  }
  static Value undefined(std::string name) { return Value(Undefined{std::move(name)}); }
  static Value from_json(const nlohmann::ordered_json& json, int depth = 0);

  bool is_undefined() const { return std::holds_alternative<Undefined>(v_); }
  bool is_none() const { return std::holds_alternative<None>(v_); }
  bool is_bool() const { return std::holds_alternative<bool>(v_); }
  bool is_int() const { return std::holds_alternative<int64_t>(v_); }
  bool is_float() const { return std::holds_alternative<double>(v_); }
  bool is_number() const { return is_int() || is_float() || is_bool(); }  // as in Python
  bool is_string() const { return std::holds_alternative<StringPtr>(v_); }
  bool is_list() const { return std::holds_alternative<ListPtr>(v_); }
  bool is_tuple() const { return tuple_; }
  bool is_dict() const { return std::holds_alternative<DictPtr>(v_); }
  bool is_callable() const { return std::holds_alternative<CallablePtr>(v_); }

  const std::string& undefined_name() const { return std::get<Undefined>(v_).name; }
  bool as_bool() const { return std::get<bool>(v_); }
  int64_t as_int() const;                // of an int or bool; throws otherwise
  double as_double() const;              // of any number; throws otherwise
  const std::string& as_string() const;  // throws otherwise
  const List& as_list() const { return *std::get<ListPtr>(v_); }
  std::shared_ptr<const List> list_pointer() const { return std::get<ListPtr>(v_); }
  const Dict& as_dict() const { return *std::get<DictPtr>(v_); }
  const Callable& as_callable() const { return *std::get<CallablePtr>(v_); }
  Namespace* as_namespace() const;  // nullptr when it is none
  Loop* as_loop() const;            // nullptr when it is none

  bool truthy() const;
  int64_t length() const;         // throws when it has none
  int nesting() const;            // 0 for scalars
  const char* type_name() const;  // Python's
  std::string str() const;        // Python's str()
  std::string repr() const;       // Python's repr()

 private:
  using StringPtr = std::shared_ptr<const std::string>;
  using ListPtr = std::shared_ptr<const List>;
  using DictPtr = std::shared_ptr<const Dict>;
  using CallablePtr = std::shared_ptr<const Callable>;
  explicit Value(Undefined u) : v_(std::move(u)) {}

  std::variant<Undefined, None, bool, int64_t, double, StringPtr, ListPtr, DictPtr, CallablePtr,
               std::shared_ptr<Namespace>, std::shared_ptr<Loop>>
      v_;
  int nesting_ = 0;
  bool tuple_ = false;
};

bool equal(const Value& a, const Value& b);
// -1, 0, 1; throws when they have no order.
int compare(const Value& a, const Value& b);
bool contains(const Value& container, const Value& item);
// The elements that `for` sees: of a list, the keys of a dict, the characters of a string.
std::shared_ptr<const List> iterate(const Value& value);

// The same for a range-based for, which keeps this object alive but not one behind a pointer.
struct Each {
  explicit Each(const Value& value) : items(iterate(value)) {}
  List::const_iterator begin() const { return items->begin(); }
  List::const_iterator end() const { return items->end(); }
  std::shared_ptr<const List> items;
};
inline Each each(const Value& value) { return Each(value); }

struct JsonStyle {
  int indent = -1;  // below 0: on one line
  bool ascii = false;
  bool sort_keys = false;
  std::string item_separator, key_separator;  // empty: Python's defaults
};
std::string to_json_text(const Value& value, const JsonStyle& style);

}  // namespace lathe::jinja
