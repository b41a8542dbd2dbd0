// A Jinja template over the fields of a data row: what task files write prompts and answers in.
// The same language as chat templates, but strict: a field that the row lacks is an error, and
// nothing is cut off the end of the text.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "lathe/base/result.h"

namespace lathe {

class Template {
 public:
  static Result<Template> parse(const std::string& source);
  // A bare expression ("choices.text"), whose value evaluate() gives.
  static Result<Template> parse_expression(const std::string& expression);
  Template(Template&&) noexcept;
  Template& operator=(Template&&) noexcept;
  ~Template();

  // `fields`: an object.
  Result<std::string> render(const nlohmann::ordered_json& fields) const;
  Result<nlohmann::ordered_json> evaluate(const nlohmann::ordered_json& fields) const;

 private:
  struct Impl;
  explicit Template(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
