// Chat templates: the Jinja subset that published templates use, with transformers' settings
// (trim_blocks, lstrip_blocks, loop controls, raise_exception, strftime_now, tojson without HTML
// escapes). Templates are hostile input: steps, output, nesting and recursion are bounded.
// What is missing (inheritance, imports, call blocks, recursive loops) is an error that says so.
#pragma once

#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant", "tool"
  std::string content;
};

class ChatTemplate {
 public:
  static Result<ChatTemplate> parse(std::string source);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // `variables` are further names the template may use (bos_token, eos_token, tools, …).
  // raise_exception() in the template becomes an error with its text.
  Result<std::string> render(const std::vector<ChatMessage>& messages, bool add_generation_prompt,
                             const nlohmann::json& variables = nlohmann::json::object()) const;

  // The same for messages with more than text: tool calls, parts, reasoning. Objects keep the order
  // of their keys, which tojson shows. `now` (shown in UTC) replaces the clock of strftime_now().
  Result<std::string> render_json(
      const nlohmann::ordered_json& messages, bool add_generation_prompt,
      const nlohmann::ordered_json& variables = nlohmann::ordered_json::object(),
      std::optional<std::time_t> now = std::nullopt) const;

 private:
  struct Impl;
  explicit ChatTemplate(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe
