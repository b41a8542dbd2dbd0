// SPDX-License-Identifier: Apache-2.0
// Chat templates: parsed, and rendered with a conversation that has every shape of message.

// Links: lathe_text

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/text/chat_template.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto parsed = ChatTemplate::parse(std::string(fuzz_text(data, size)));
  if (!parsed.ok()) {
    LATHE_CHECK(!parsed.error().message.empty());
    return 0;
  }
  static const auto messages = nlohmann::ordered_json::parse(
      R"([{"role": "system", "content": "s"}, {"role": "user", "content": "ů 1"},
          {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.5}}}]},
          {"role": "tool", "content": [{"type": "text", "text": "x"}]}])");
  static const auto variables = nlohmann::ordered_json::parse(
      R"({"bos_token": "<s>", "tools": [{"type": "function", "function": {"name": "f"}}], "n": [3, 1, 2]})");
  const auto text = parsed->render_json(messages, true, variables, 0);
  LATHE_CHECK(text.ok() || !text.error().message.empty());
  return 0;
}
