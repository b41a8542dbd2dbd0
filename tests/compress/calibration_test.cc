// Calibration data: conversations go through the chat template.
#include "lathe/compress/calibration.h"

#include <fstream>

#include "compress/compress_test_util.h"
#include "lathe/text/tokenizer.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

class ChatCalibration : public ::testing::Test {
 protected:
  void write(const char* name, const std::string& text) const {
    std::ofstream(folder_.file(name)) << text;
  }
  // The bundled tokenizer, with a chat template if one is given.
  void make_tokenizer(const std::string& chat_template) const {
    const std::string tiny = test::source_file("models/tiny/");
    std::filesystem::copy_file(tiny + "tokenizer.json", folder_.file("tokenizer.json"));
    auto config = nlohmann::json::parse(read_text(tiny + "tokenizer_config.json").value());
    config.erase("chat_template");
    if (!chat_template.empty()) config["chat_template"] = chat_template;
    write("tokenizer_config.json", config.dump());
  }
  Result<std::vector<std::vector<int32_t>>> samples(int64_t length) const {
    return calibration_samples({folder_.file("chat.jsonl"), 1, length, 0}, folder_.path());
  }
  test::TemporaryFolder folder_;
};

TEST_F(ChatCalibration, GoesThroughTheTemplate) {
  make_tokenizer("{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}");
  write(
      "chat.jsonl",
      "{\"messages\": [{\"role\": \"user\", \"content\": \"Where is the old man?\"}, "
      "{\"role\": \"assistant\", \"content\": \"In the garden.\"}]}\n\n{\"text\": \"He sat.\"}\n");
  const auto tokenizer = load_tokenizer(folder_.path()).value();
  const std::string eos = tokenizer->token_of(*tokenizer->eos());
  auto expected =
      tokenizer->encode("user: Where is the old man?" + eos + "assistant: In the garden." + eos,
                        {.add_special = false, .parse_special = true});
  ASSERT_EQ(std::count(expected.begin(), expected.end(), *tokenizer->eos()), 2);
  for (const TokenId id :
       tokenizer->encode("He sat.", {.add_special = false, .parse_special = false})) {
    expected.push_back(id);
  }
  const bool bos = tokenizer->adds_bos();
  if (bos) expected.insert(expected.begin(), *tokenizer->bos());
  const auto found = samples(static_cast<int64_t>(expected.size()));
  ASSERT_TRUE(found.ok()) << found.error().message;
  EXPECT_EQ((*found)[0], std::vector<int32_t>(expected.begin(), expected.end()));
}

TEST_F(ChatCalibration, Refusals) {
  make_tokenizer("");
  write("chat.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("chat.jsonl:1: a conversation, but the model"));
  write("chat.jsonl", "{\"text\": \"x\"}\n{\"message\": []}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("chat.jsonl:2: expected an object with"));
}

TEST_F(ChatCalibration, ATemplateMayRefuse) {
  make_tokenizer("{{ raise_exception('no such role') }}");
  write("chat.jsonl", "{\"messages\": []}\n");
  EXPECT_THAT(samples(8).error().message, HasSubstr("no such role"));
}

}  // namespace
}  // namespace lathe
