// Chat templates against what transformers renders (tools/oracles/text_chat_templates.py), and the
// bounds that hostile templates run into.
#include "lathe/text/chat_template.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "lathe/base/mapped_file.h"
#include "text/shared_data.h"

namespace lathe {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::time_t kNow = 1700000000;  // the clock of the golden file

Json golden() {
  const auto source = read_text(LATHE_SOURCE_DIR "/tests/golden/text/chat_templates.json");
  return source.ok() ? Json::parse(*source) : Json();
}

Result<std::string> render(const std::string& source, const Json& c) {
  LATHE_TRY(const ChatTemplate t, ChatTemplate::parse(source));
  return t.render_json(c["messages"], c["add"], c["variables"], kNow);
}

void check(const std::string& source, const Json& c) {
  const auto got = render(source, c);
  if (c.contains("error")) {
    EXPECT_FALSE(got.ok()) << c["name"] << ": transformers says " << c["error"];
  } else if (got.ok()) {
    EXPECT_EQ(*got, c["text"].get<std::string>()) << c["name"];
  } else {
    ADD_FAILURE() << c["name"] << ": " << got.error().message;
  }
}

TEST(ChatTemplate, RendersAsTransformersDoes) {
  int count = 0;
  for (const Json& c : golden()) {
    if (!c.contains("template")) continue;
    check(c["template"], c);
    ++count;
  }
  EXPECT_GT(count, 90);
}

TEST(ChatTemplate, RendersPublishedQwenTemplates) {
  LATHE_NEEDS_SHARED("data/tokenizers/qwen3/tokenizer_config.json");
  int count = 0;
  for (const Json& c : golden()) {
    if (!c.contains("template_from")) continue;
    const auto source = read_text(shared_path(c["template_from"]));
    ASSERT_TRUE(source.ok());
    check(Json::parse(*source)["chat_template"], c);
    ++count;
  }
  EXPECT_GT(count, 30);
}

std::string error_of(const std::string& source) {
  const auto t = ChatTemplate::parse(source);
  if (!t.ok()) return t.error().message;
  const auto text = t->render({{"user", "x"}}, true);
  return text.ok() ? "rendered: " + text->substr(0, 100) : text.error().message;
}

TEST(ChatTemplate, BoundsWhatHostileTemplatesUse) {
  const std::string loops =
      "{% for a in range(90000) %}{% for b in range(90000) %}{% set c = 1 %}{% endfor %}{% endfor "
      "%}";
  EXPECT_NE(error_of(loops).find("does not come to an end"), std::string::npos);
  EXPECT_NE(error_of("{{ 'a' * 99999999999 }}").find("too much text"), std::string::npos);
  EXPECT_NE(error_of("{{ 'a' * 9223372036854775807 * 2 }}").find("too much text"),
            std::string::npos);
  EXPECT_NE(error_of("{{ ['a'] * 99999999999 }}").find("too much text"), std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
                     "{% set ns.s = ns.s ~ ns.s %}{% endfor %}")
                .find("too much text"),
            std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(s='ab') %}{% for i in range(99) %}"
                     "{% set ns.s = ns.s | replace('a', ns.s) %}{% endfor %}")
                .find("too much text"),
            std::string::npos);
  EXPECT_NE(error_of("{{ range(10000000) }}").find("range()"), std::string::npos);
  EXPECT_NE(error_of("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("too deeply"),
            std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace(l=[]) %}{% for i in range(1000) %}"
                     "{% set ns.l = [ns.l] %}{% endfor %}")
                .find("nested too deeply"),
            std::string::npos);
  EXPECT_NE(error_of("{% set ns = namespace() %}{% set ns.me = ns %}").find("cannot hold"),
            std::string::npos);
  EXPECT_NE(error_of("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}")
                .find("nested deeper"),
            std::string::npos);
  std::string sum = "{{ 1";
  for (int i = 0; i < 5000; ++i) sum += "+1";
  EXPECT_NE(error_of(sum + " }}").find("nested deeper"), std::string::npos);
  std::string blocks;
  for (int i = 0; i < 5000; ++i) blocks += "{% if true %}";
  EXPECT_NE(error_of(blocks).find("nested deeper"), std::string::npos);
  EXPECT_NE(error_of("{{ 9223372036854775807 + 1 }}").find("out of range"), std::string::npos);
  EXPECT_NE(error_of("{{ 99999999999999999999 }}").find("out of range"), std::string::npos);
}

TEST(ChatTemplate, SaysWhatIsNotSupported) {
  EXPECT_NE(error_of("a\n{% include 'x' %}").find("line 2: the statement 'include'"),
            std::string::npos);
  EXPECT_NE(error_of("{% for a in [1] recursive %}{% endfor %}").find("recursive"),
            std::string::npos);
}

TEST(ChatTemplate, PlainMessages) {
  const auto t = ChatTemplate::parse(
      "{{ bos }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
      "{% if add_generation_prompt %}<assistant>{% endif %}");
  ASSERT_TRUE(t.ok());
  const auto text = t->render({{"system", "s"}, {"user", "ů"}}, true, {{"bos", "<s>"}});
  ASSERT_TRUE(text.ok());
  EXPECT_EQ(*text, "<s><system>s<user>ů<assistant>");
}

}  // namespace
}  // namespace lathe
