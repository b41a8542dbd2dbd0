#include "lathe/text/chat_template.h"

#include "lathe/text/jinja/interpreter.h"

namespace lathe {

struct ChatTemplate::Impl {
  jinja::Block block;
};

ChatTemplate::ChatTemplate(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;
ChatTemplate::~ChatTemplate() = default;

Result<ChatTemplate> ChatTemplate::parse(std::string source) {
  constexpr size_t kLimit = size_t{4} << 20;
  if (source.size() > kLimit)
    return bad_input("chat template of {} bytes; at most {} are allowed", source.size(), kLimit);
  try {
    auto impl = std::make_unique<Impl>();
    impl->block = jinja::parse(source);
    return ChatTemplate(std::move(impl));
  } catch (const jinja::TemplateError& e) {
    return bad_input("chat template: {}", e.what());
  }
}

Result<std::string> ChatTemplate::render_json(const nlohmann::ordered_json& messages,
                                              bool add_generation_prompt,
                                              const nlohmann::ordered_json& variables,
                                              std::optional<std::time_t> now) const {
  if (!messages.is_array()) return bad_input("chat template: the messages are not a list");
  if (!variables.is_object()) return bad_input("chat template: the variables are not an object");
  try {
    jinja::Dict all;
    // Names that are always there, as in transformers.
    all.set("tools", {});
    all.set("documents", {});
    for (const auto& [name, value] : variables.items())
      all.set(name, jinja::Value::from_json(value));
    all.set("messages", jinja::Value::from_json(messages));
    all.set("add_generation_prompt", add_generation_prompt);
    return jinja::render(impl_->block, all, now);
  } catch (const jinja::TemplateError& e) {
    const std::string_view what = e.what();
    if (what.starts_with("raise: "))
      return bad_input("the chat template refuses these messages: {}", what.substr(7));
    return bad_input("chat template: {}", what);
  }
}

Result<std::string> ChatTemplate::render(const std::vector<ChatMessage>& messages,
                                         bool add_generation_prompt,
                                         const nlohmann::json& variables) const {
  auto list = nlohmann::ordered_json::array();
  for (const ChatMessage& m : messages) list.push_back({{"role", m.role}, {"content", m.content}});
  return render_json(list, add_generation_prompt, nlohmann::ordered_json(variables));
}

}  // namespace lathe
