#include "lathe/text/template.h"

#include "lathe/text/jinja/interpreter.h"

namespace lathe {

struct Template::Impl {
  jinja::Block block;
};

Template::Template(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

Result<Template> Template::parse(const std::string& source) {
  constexpr size_t kLimit = size_t{1} << 20;
  if (source.size() > kLimit) {
    return bad_input("template of {} bytes; at most {} are allowed", source.size(), kLimit);
  }
  try {
    auto impl = std::make_unique<Impl>();
    // The language drops one newline at the end; here it is part of the prompt.
    impl->block = jinja::parse(source.ends_with('\n') ? source + "\n" : source);
    return Template(std::move(impl));
  } catch (const jinja::TemplateError& e) {
    return bad_input("template: {}", e.what());
  }
}

Result<Template> Template::parse_expression(const std::string& expression) {
  return parse("{{ (" + expression + ") | tojson }}");
}

Result<std::string> Template::render(const nlohmann::ordered_json& fields) const {
  try {
    jinja::Dict variables;
    for (const auto& [name, value] : fields.items()) {
      variables.set(name, jinja::Value::from_json(value));
    }
    return jinja::render(impl_->block, variables, std::nullopt, /*strict=*/true);
  } catch (const jinja::TemplateError& e) {
    return bad_input("template: {}", e.what());
  }
}

Result<nlohmann::ordered_json> Template::evaluate(const nlohmann::ordered_json& fields) const {
  LATHE_TRY(const std::string text, render(fields));
  auto value = nlohmann::ordered_json::parse(text, nullptr, false);
  if (value.is_discarded()) return bad_input("template: '{}' is no value", text);
  return value;
}

}  // namespace lathe
