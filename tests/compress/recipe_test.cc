#include "lathe/compress/recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "lathe/compress/pass.h"
#include "lathe/io/yaml.h"
#include "support/files.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

Recipe recipe(const std::string& yaml) {
  const auto json = yaml_to_json(yaml, "r.yaml");
  EXPECT_TRUE(json.ok()) << yaml;
  auto out = recipe_from_json(*json);
  EXPECT_TRUE(out.ok()) << yaml << ": " << out.error().message;
  return out.ok() ? *out : Recipe();
}

struct Bad {
  const char* yaml;
  const char* message;
  const char* hint;
};

TEST(Recipe, BothFormsAreOne) {
  const char* pairs[][2] = {
      {"{}", "{passes: []}"},
      {"{format: keep}", "{passes: []}"},
      {"{format: 'int4:g128', method: rtn}", "{passes: [{rtn: {format: 'int4:g128'}}]}"},
      {"{format: int8}", "{passes: [{rtn: {format: 'int8:row'}}]}"},
      {"{prune: {method: magnitude, sparsity: 0.5}}", "{passes: [{magnitude: {sparsity: 0.5}}]}"},
      {"{prune: 'magnitude:0.5'}",
       "{passes: [{magnitude: {sparsity: 0.5, scope: matrix, include: []}}]}"},
      {"{prune: {method: magnitude, sparsity: 0.2, scope: global, include: lm_head}, format: nf4}",
       "{passes: [{magnitude: {sparsity: 0.2, scope: global, include: [lm_head]}}, "
       "{rtn: {format: 'nf4:b64'}}]}"},
      {"{prune: 'magnitude:0.5', format: f16, order: quantize-first}",
       "{passes: [{rtn: {format: f16}}, {magnitude: {sparsity: 0.5}}]}"},
      {"{prune: {method: sparsegpt, sparsity: 0.5, pattern: '2:4'}, format: 'int4:g64', order: "
       "joint}",
       "{passes: [{joint: {sparsity: 0.5, pattern: '2:4', format: 'int4:g64'}}]}"},
      {"{overrides: [{match: '*.0.*', format: bf16}]}",
       "{passes: [{rtn: {format: keep}}], overrides: [{match: '*.0.*', format: bf16}]}"},
      {"{embeddings: keep, head: int8}", "{passes: [], head: 'int8:row', embeddings: keep}"},
  };
  for (const auto& [short_form, long_form] : pairs) {
    const Recipe a = recipe(short_form), b = recipe(long_form);
    EXPECT_EQ(to_json(a), to_json(b)) << short_form;
    EXPECT_EQ(a.hash(), b.hash());
    const auto again = recipe_from_json(to_json(a));
    ASSERT_TRUE(again.ok()) << again.error().message;
    EXPECT_EQ(to_json(*again), to_json(a));
  }
}

TEST(Recipe, HashTellsRecipesApart) {
  EXPECT_NE(recipe("{format: int8}").hash(), recipe("{format: 'int8:g32'}").hash());
  EXPECT_NE(recipe("{prune: 'magnitude:0.5', format: int8}").hash(),
            recipe("{prune: 'magnitude:0.5', format: int8, order: quantize-first}").hash());
  EXPECT_EQ(recipe("{}").hash().size(), 64u);
}

TEST(Recipe, SaysWhatItIs) {
  EXPECT_EQ(recipe("{}").format(), "keep");
  EXPECT_TRUE(recipe("{}").empty());
  const Recipe hybrid = recipe("{prune: 'magnitude:0.5', format: 'int4:g128'}");
  EXPECT_EQ(hybrid.format(), "int4:g128");
  EXPECT_TRUE(hybrid.prunes());
  EXPECT_FALSE(hybrid.empty());
  EXPECT_FALSE(hybrid.needs_calibration());
}

TEST(Recipe, MistakesAreNamed) {
  const Bad all[] = {
      {"[1]", "must be keys with values", ""},
      {"{formt: f16}", "unknown key 'formt'", "did you mean 'format'"},
      {"{format: int5}", "format: unknown format 'int5'", "did you mean"},
      {"{format: 3}", "must be a format", ""},
      {"{format: f16, method: rnt}", "method: unknown pass 'rnt'", "rtn"},
      {"{format: f16, method: magnitude}", "'magnitude' is a pruning pass", "under 'prune'"},
      {"{method: rtn}", "needs a 'format'", ""},
      {"{prune: {sparsity: 0.5}}", "'method' is missing", ""},
      {"{prune: 0.5}", "METHOD:SPARSITY", ""},
      {"{prune: {method: rtn}}", "'rtn' is a quantizing pass", "as 'method'"},
      {"{prune: {method: magnitude}}", "'sparsity' is missing", ""},
      {"{prune: {method: magnitude, sparsty: 0.5}}", "unknown key 'sparsty'", "'sparsity'"},
      {"{prune: 'magnitude:2'}", "from 0 to 0.95, not 2", ""},
      {"{prune: 'magnitude:half'}", "not \"half\"", ""},
      {"{prune: {method: magnitude, sparsity: 0.951}}", "from 0 to 0.95", ""},
      {"{prune: {method: magnitude, sparsity: -0.1}}", "from 0 to 0.95", ""},
      {"{prune: {method: magnitude, sparsity: .nan}}", "from 0 to 0.95, not nan", ""},
      {"{prune: {method: magnitude, sparsity: '0.5'}}", "not \"0.5\"", ""},
      {"{prune: {method: magnitude, sparsity: 0.5, scope: layer}}", "row, matrix or global", ""},
      {"{prune: {method: magnitude, sparsity: 0.5, include: [3]}}", "a list of names", ""},
      {"{prune: 'magnitude:0.5', format: f16, order: both}", "quantize-first or joint", ""},
      {"{prune: 'magnitude:0.5', format: f16, order: joint}", "not 'magnitude' with 'rtn'",
       "prune-first"},
      {"{prune: 'sparsegpt:0.5', format: int8, method: hqq, order: joint}",
       "not 'sparsegpt' with 'hqq'", "prune-first"},
      {"{format: f16, method: joint}", "'joint' is a pruning and quantizing pass", "order: joint"},
      {"{format: f16, order: prune-first}", "means nothing", ""},
      {"{passes: {rtn: {format: f16}}}", "passes: must be a list", ""},
      {"{passes: [rtn]}", "passes[0]: must be one pass", ""},
      {"{passes: [{rtn: {}}]}", "'format' is missing", ""},
      {"{passes: [{rtn: {format: f16}}, {gptx: {format: f16}}]}", "passes[1]: unknown pass 'gptx'",
       "did you mean 'gptq'"},
      {"{passes: [], format: f16}", "exclude each other", ""},
      {"{embeddings: int9}", "embeddings: unknown format", ""},
      {"{overrides: {match: x}}", "overrides: must be a list", ""},
      {"{overrides: [{format: f16}]}", "overrides[0]: 'match' is missing", ""},
      {"{overrides: [{match: '', format: f16}]}", "overrides[0]: match: an empty pattern", ""},
      {"{overrides: [{match: '/layers[/', format: f16}]}", "overrides[0]: match: /layers[/", ""},
      {"{format: f16, prune: 'magnitude:0.5', overrides: [{match: x, pattern: '4:2'}]}",
       "overrides[0]: pattern: must be N:M", ""},
      {"{format: f16, prune: 'magnitude:0.5', overrides: [{match: x, pattern: '2:4', sparsity: "
       "0.3}]}",
       "overrides[0]: pattern 2:4 has a sparsity of 0.5, not 0.3", ""},
      {"{format: f16, overrides: [{match: x, pattern: '2:4'}]}", "no pass prunes", ""},
      {"{overrides: [{match: x}]}", "neither 'format' nor 'sparsity'", ""},
      {"{overrides: [{match: x, format: f16, spars: 1}]}", "unknown key 'spars'", ""},
      {"{format: f16, overrides: [{match: x, sparsity: 0.1}]}", "no pass prunes", ""},
      {"{passes: [{magnitude: {sparsity: 0.1}}], overrides: [{match: x, format: f16}]}",
       "no pass quantizes", "rtn"},
  };
  for (const Bad& bad : all) {
    const auto json = yaml_to_json(bad.yaml, "r.yaml");
    ASSERT_TRUE(json.ok()) << bad.yaml << ": " << json.error().message;
    const auto out = recipe_from_json(*json);
    ASSERT_FALSE(out.ok()) << bad.yaml;
    EXPECT_THAT(out.error().message, HasSubstr(bad.message)) << bad.yaml;
    EXPECT_THAT(out.error().hint, HasSubstr(bad.hint)) << bad.yaml;
    EXPECT_NE(out.error().code, ErrorCode::kFailed);
  }
}

TEST(Recipe, FilesAreReadAndErrorsNameThem) {
  test::TemporaryFolder folder;
  std::ofstream(folder.file("r.yaml")) << "format: int4:g128\nprune: magnitude:0.5\n";
  const auto loaded = load_recipe(folder.file("r.yaml"));
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  EXPECT_EQ(loaded->steps.size(), 2u);
  std::ofstream(folder.file("bad.yaml")) << "format: int4:g128\nformat: f16\n";
  EXPECT_THAT(load_recipe(folder.file("bad.yaml")).error().message, HasSubstr("bad.yaml:2:1"));
  EXPECT_EQ(load_recipe(folder.file("none.yaml")).error().code, ErrorCode::kNotFound);
}

TEST(Recipe, Globs) {
  EXPECT_TRUE(glob_matches("model.layers.0.*", "model.layers.0.mlp.up_proj"));
  EXPECT_FALSE(glob_matches("model.layers.0.*", "model.layers.10.mlp.up_proj"));
  EXPECT_TRUE(glob_matches("*.up_proj", "model.layers.10.mlp.up_proj"));
  EXPECT_TRUE(glob_matches("*.?.*proj", "model.layers.3.mlp.up_proj"));
  EXPECT_FALSE(glob_matches("*.?.self*", "model.layers.13.self_attn.q_proj"));
  EXPECT_TRUE(glob_matches("*", "lm_head"));
  EXPECT_FALSE(glob_matches("", "lm_head"));
  EXPECT_FALSE(glob_matches("lm", "lm_head"));
  EXPECT_FALSE(glob_matches("*a*a*a*a*a*a*a*a*b", std::string(5000, 'a')));
}

TEST(Recipe, PatternsAreGlobsOrRegularExpressions) {
  EXPECT_TRUE(pattern_matches("*.up_proj", "model.layers.10.mlp.up_proj"));
  EXPECT_TRUE(pattern_matches("/layers\\.[01]\\./", "model.layers.1.mlp.up_proj"));
  EXPECT_FALSE(pattern_matches("/layers\\.[01]\\./", "model.layers.10.mlp.up_proj"));
  EXPECT_TRUE(pattern_matches("/^lm_head$/", "lm_head"));
  EXPECT_FALSE(pattern_matches("/^head/", "lm_head"));
}

TEST(Recipe, KeepIsAnOverride) {
  const auto with = [](const std::string& yaml, const std::vector<std::string>& kept) {
    Recipe made = recipe(yaml);
    for (const std::string& text : kept) EXPECT_TRUE(keep(made, text).ok()) << text;
    return made.hash();
  };
  EXPECT_EQ(with("{format: nf4}", {"lm_head", "/[01]/=bf16"}),
            recipe("{format: nf4, overrides: [{match: lm_head, format: keep}, "
                   "{match: '/[01]/', format: bf16}]}")
                .hash());
  EXPECT_EQ(with("{}", {"*.0.*=int8"}),
            recipe("{overrides: [{match: '*.0.*', format: int8}]}").hash());
  // What is kept is not pruned, unless it says how much.
  EXPECT_EQ(with("{format: nf4, prune: 'magnitude:0.5'}", {"*.0.*=bf16", "*.1.*=int8@0.25"}),
            recipe("{format: nf4, prune: 'magnitude:0.5', overrides: [{match: '*.0.*', "
                   "format: bf16, sparsity: 0}, {match: '*.1.*', format: int8, sparsity: 0.25}]}")
                .hash());
  for (const auto& [text, message] : {std::pair{"x=int5", "unknown format"},
                                      {"x=int8@2", "from 0 to 0.95"},
                                      {"x=int8@half", "'half' is no number"},
                                      {"/a[/=int8", "/a[/"},
                                      {"=int8", "empty"},
                                      {"x=int8@0.5", "no pass prunes"}}) {
    Recipe made = recipe("{format: nf4}");
    const Status status = keep(made, text);
    ASSERT_FALSE(status.ok()) << text;
    EXPECT_THAT(status.error().message, HasSubstr(message));
  }
}

// The registry makes the test: each pass describes itself and its defaults are valid.
TEST(Passes, DescribeThemselves) {
  for (const Pass& pass : passes()) {
    EXPECT_FALSE(pass.description.empty()) << pass.name;
    EXPECT_EQ(find_pass(pass.name).value(), &pass);
    for (const PassParameter& parameter : pass.parameters) {
      EXPECT_FALSE(parameter.description.empty()) << pass.name << "." << parameter.name;
      if (parameter.default_value.is_discarded()) continue;
      EXPECT_TRUE(parameter.check(parameter.default_value).ok()) << parameter.name;
    }
  }
}

}  // namespace
}  // namespace lathe
