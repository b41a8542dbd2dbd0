// llama.cpp's mixtures against the types in files that its own tools have written.
#include "lathe/compress/mixture.h"

#include <set>
#include "compress/compress_test_util.h"

#include "lathe/compress/plan.h"

namespace lathe {
namespace {

using test::open;
using test::recipe_of;
using ::testing::HasSubstr;

ModelConfig shape(int64_t layers, int64_t hidden, int64_t heads, int64_t kv_heads,
                  int64_t head_size, int64_t ffn, bool tied) {
  ModelConfig c;
  c.vocab = 1024;
  c.layers = layers;
  c.hidden = hidden;
  c.heads = heads;
  c.kv_heads = kv_heads;
  c.head_size = head_size;
  c.ffn = ffn;
  c.tied = tied;
  return c;
}

std::map<std::string, std::string> formats(const char* mixture, const ModelConfig& c) {
  std::map<std::string, std::string> out;
  for (const MatrixInfo& info : matrices_of(c)) {
    out[info.name] = mixture_format(mixture, info, c).value_or("none");
  }
  return out;
}

// gemma-3-270m in Q4_K_M: read off the published file with gguf 0.19.0. Rows of 640 and of 256 ·
// 4 = 1024; its layers are in order.
TEST(Mixture, GemmaInQ4KM) {
  auto found = formats("q4_k_m", shape(18, 640, 4, 1, 256, 2048, true));
  const std::set<int64_t> more = {0, 1, 4, 7, 10, 13, 15, 16, 17};
  EXPECT_EQ(found["model.embed_tokens"], "q8_0");
  for (int64_t i = 0; i < 18; ++i) {
    const std::string at = fmt::format("model.layers.{}.", i);
    for (const char* name :
         {"self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj", "mlp.up_proj"})
      EXPECT_EQ(found[at + name], "q5_0") << at << name;
    EXPECT_EQ(found[at + "self_attn.o_proj"], "q4_k") << i;
    EXPECT_EQ(found[at + "self_attn.v_proj"], more.count(i) ? "q8_0" : "q5_0") << i;
    EXPECT_EQ(found[at + "mlp.down_proj"], more.count(i) ? "q6_k" : "q4_k") << i;
  }
}

// qwen2.5-coder-0.5b has a head of its own. (Its published file counts layers as 0, 1, 10, 11 …)
TEST(Mixture, AHeadOfItsOwn) {
  auto found = formats("q4_k_m", shape(24, 896, 14, 2, 64, 4864, false));
  EXPECT_EQ(found["lm_head"], "q8_0");
  EXPECT_EQ(found["model.embed_tokens"], "q5_0");
  int64_t more = 0;
  for (int64_t i = 0; i < 24; ++i) {
    more += found[fmt::format("model.layers.{}.mlp.down_proj", i)] == "q6_k" ? 1 : 0;
  }
  EXPECT_EQ(more, 12);
}

TEST(Mixture, Q3KM) {
  auto found = formats("q3_k_m", shape(32, 4096, 32, 8, 128, 14336, false));
  EXPECT_EQ(found["lm_head"], "q6_k");
  EXPECT_EQ(found["model.embed_tokens"], "q3_k");
  EXPECT_EQ(found["model.layers.1.self_attn.v_proj"], "q5_k");
  EXPECT_EQ(found["model.layers.2.self_attn.v_proj"], "q4_k");
  EXPECT_EQ(found["model.layers.1.mlp.down_proj"], "q5_k");
  EXPECT_EQ(found["model.layers.2.mlp.down_proj"], "q4_k");
  EXPECT_EQ(found["model.layers.9.self_attn.o_proj"], "q4_k");
  EXPECT_EQ(found["model.layers.9.self_attn.q_proj"], "q3_k");
  EXPECT_EQ(found["model.layers.9.mlp.gate_proj"], "q3_k");
}

TEST(Mixture, InARecipe) {
  const auto source = open(test::source_file("models/tiny"));
  const auto stored = [&](const nlohmann::json& json) {
    std::map<std::string, std::string> out;
    const auto plans = make_plan(*source, recipe_of(json));
    EXPECT_TRUE(plans.ok()) << plans.error().message;
    for (const MatrixPlan& plan : *plans) out[plan.info.name] = plan.stored->spec();
    return out;
  };
  const nlohmann::json short_form = {{"format", "q4_k_m"}};
  auto found = stored(short_form);
  EXPECT_EQ(found["model.embed_tokens"], "q6_k");
  EXPECT_EQ(found["model.layers.0.mlp.down_proj"], "q4_k");
  EXPECT_EQ(found["model.layers.2.mlp.down_proj"], "q6_k");
  EXPECT_EQ(found["model.layers.2.mlp.up_proj"], "q4_k");
  EXPECT_EQ(stored(to_json(recipe_of(short_form))), found);
  found = stored({{"format", "q3_k_m"},
                  {"embeddings", "int8:row"},
                  {"overrides", {{{"match", "*.3.mlp.down_proj"}, {"format", "f16"}}}}});
  EXPECT_EQ(found["model.embed_tokens"], "int8:row");
  EXPECT_EQ(found["model.layers.3.mlp.down_proj"], "f16");
  EXPECT_EQ(found["model.layers.0.self_attn.q_proj"], "q3_k");

  const auto unknown =
      recipe_from_json({{"mixture", "q9_k_m"}, {"passes", nlohmann::json::array()}});
  ASSERT_FALSE(unknown.ok());
  EXPECT_THAT(unknown.error().message, HasSubstr("'q9_k_m' is not known"));
  const auto idle = recipe_from_json({{"mixture", "q4_k_m"}, {"passes", nlohmann::json::array()}});
  ASSERT_FALSE(idle.ok());
  EXPECT_THAT(idle.error().message, HasSubstr("no pass quantizes"));
}

}  // namespace
}  // namespace lathe
