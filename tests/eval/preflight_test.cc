// What the preflight warns of: each disagreement of checkpoint and settings, alone.
#include "lathe/eval/preflight.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "lathe/base/mapped_file.h"
#include "lathe/eval/task.h"
#include "support/files.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using ::testing::HasSubstr;

// The bundled model with other settings in its files.
class PreflightWarnings : public ::testing::Test {
 protected:
  PreflightWarnings() : model_(folder_.file("model")) {
    fs::create_directories(model_);
    for (const auto& entry : fs::directory_iterator(test::source_file("models/tiny"))) {
      if (entry.is_regular_file()) fs::copy(entry.path(), model_ / entry.path().filename());
    }
  }
  void edit(const std::string& file, const std::function<void(json&)>& change) const {
    json j = json::parse(read_text((model_ / file).string()).value());
    change(j);
    std::ofstream(model_ / file) << j.dump();
  }
  void without_bos() const {
    edit("tokenizer.json", [](json& j) { j["post_processor"] = nullptr; });
    edit("tokenizer_config.json", [](json& j) { j["add_bos_token"] = false; });
  }
  Engine opened(int64_t context = 0) const {
    auto engine = open_engine(model_.string(), {.device = "cpu", .threads = 1, .context = context});
    EXPECT_TRUE(engine.ok()) << engine.error().message;
    return std::move(*engine);
  }
  static json warnings(const Engine& engine, bool chat = false) {
    return Preflight(engine, chat).report()["warnings"];
  }
  // The only warning, or all of them where there is not one.
  static std::string only(const json& warnings) {
    return warnings.size() == 1 ? warnings[0].get<std::string>() : warnings.dump();
  }
  test::TemporaryFolder folder_;
  fs::path model_;
};

TEST_F(PreflightWarnings, NoneWhereAllAgrees) { EXPECT_EQ(warnings(opened()), json::array()); }

TEST_F(PreflightWarnings, BosThatModelAndTokenizerSeeDifferently) {
  edit("config.json", [](json& j) { j["bos_token_id"] = 2; });
  EXPECT_THAT(only(warnings(opened())),
              HasSubstr("the model's BOS is token 2, the tokenizer's is <s> (0)"));
}

// The classic: without the token that it always saw first, a model does far worse.
TEST_F(PreflightWarnings, BosThatTheTokenizerLeavesOut) {
  without_bos();
  const Engine engine = opened();
  EXPECT_THAT(only(warnings(engine)),
              HasSubstr("the model names a BOS token, <s> (0), that its tokenizer does not put"));
  EXPECT_EQ(warnings(engine, true), json::array());  // a chat template may put it there itself
}

TEST_F(PreflightWarnings, GemmaWithoutBosIsWarnedOfInStrongerWords) {
  without_bos();
  Engine engine = opened();
  auto gemma = std::make_shared<Model>();
  gemma->config = engine.model->config;
  gemma->config.family = "gemma3";
  gemma->context = engine.model->context;
  engine.model = gemma;
  EXPECT_THAT(warnings(engine).dump(), HasSubstr("Gemma models need BOS"));
}

TEST_F(PreflightWarnings, EosThatTheModelDoesNotKnow) {
  edit("config.json", [](json& j) { j["eos_token_id"] = 7; });
  EXPECT_THAT(only(warnings(opened())),
              HasSubstr("the tokenizer's EOS, </s> (1), is not one of the model's"));
}

TEST_F(PreflightWarnings, ChatTemplateThatIsNotUsed) {
  edit("tokenizer_config.json",
       [](json& j) { j["chat_template"] = "{{ messages[0]['content'] }}"; });
  const Engine engine = opened();
  EXPECT_THAT(only(warnings(engine)), HasSubstr("chat template that is not used"));
  EXPECT_EQ(warnings(engine, true), json::array());
}

TEST_F(PreflightWarnings, ContextBeyondWhatTheModelWasMadeFor) {
  EXPECT_THAT(only(warnings(opened(2048))),
              HasSubstr("a context of 2048 is longer than the 1024 positions"));
}

TEST_F(PreflightWarnings, PromptsThatWereCutOrHaveNoOrTwoBos) {
  const Engine engine = opened();
  Preflight plain(engine, false);
  plain.prompt({0, 5, 6}, false);
  plain.prompt({0, 0, 6}, false);
  plain.prompt({0, 5}, true);
  const json report = plain.report();
  EXPECT_EQ(report["prompts"], 3);
  EXPECT_EQ(report["longest_prompt_tokens"], 3);
  EXPECT_EQ(report["truncated"], 1);
  EXPECT_THAT(report["warnings"].dump(), HasSubstr("1 of 3 prompts were cut at the front"));
  EXPECT_THAT(report["warnings"].dump(), HasSubstr("1 of 3 prompts begin with BOS twice"));
  Preflight chat(engine, true);
  chat.prompt({5, 6}, false);
  EXPECT_THAT(only(chat.report()["warnings"]), HasSubstr("1 of 1 prompts do not begin with BOS"));
}

}  // namespace
}  // namespace lathe
