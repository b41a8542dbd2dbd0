// What templates can call: filters, tests, methods of values, attributes.
#pragma once

#include <string>

#include "lathe/text/jinja/value.h"

namespace lathe::jinja {

// Bounds what a hostile template can use up. Throws TemplateError.
class Budget {
 public:
  void step(int64_t count = 1) {
    if ((steps_ += count) > kMaxSteps) throw TemplateError("the template does not come to an end");
  }
  // Before a string or list of that many bytes or elements is made.
  void make(int64_t size) {
    if (size < 0 || (made_ += size) > kMaxMade)
      throw TemplateError("the template makes too much text");
  }

 private:
  static constexpr int64_t kMaxSteps = 5'000'000;
  static constexpr int64_t kMaxMade = int64_t{1} << 28;
  int64_t steps_ = 0, made_ = 0;
};

// Takes arguments by position or name and complains about those that nobody took.
class Reader {
 public:
  Reader(const std::string& function, const Arguments& arguments)
      : function_(function), arguments_(arguments) {}
  // The next parameter, or `fallback`.
  Value next(std::string_view name, Value fallback);
  Value required(std::string_view name);
  void done() const;

 private:
  const Value* take(std::string_view name);
  const std::string& function_;
  const Arguments& arguments_;
  size_t at_ = 0, named_ = 0;
};

Value apply_filter(const std::string& name, const Value& subject, const Arguments& arguments,
                   Budget& budget);
bool apply_test(const std::string& name, const Value& subject, const Arguments& arguments);

// object.name: a method, or else an entry; object[key]: an entry, or else a method.
Value get_attribute(const Value& object, const std::string& name, Budget& budget);
Value get_item(const Value& object, const Value& key, Budget& budget);
// Python's object[start:stop:step]; None where a bound is left out.
Value get_slice(const Value& object, const Value& start, const Value& stop, const Value& step,
                Budget& budget);

// A method of a string, list or dict; None when there is no such method.
Value find_method(const Value& object, const std::string& name, Budget& budget);

// Python's str.strip() family: -1 left, 1 right, 0 both; white space when `characters` is None.
std::string strip(const std::string& text, const Value& characters, int side);
std::string replace_text(const std::string& text, const std::string& from, const std::string& to,
                         int64_t count, Budget& budget);
std::string capitalize(const std::string& text);
std::string title_case(const std::string& text);
std::vector<std::string> split_lines(const std::string& text);

}  // namespace lathe::jinja
