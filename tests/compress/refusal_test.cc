// What cannot be done is said before any work, and nothing half-written stays.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "compress/compress_test_util.h"

namespace lathe {
namespace {

namespace fs = std::filesystem;
using test::family;
using test::open;
using test::recipe_of;
using ::testing::HasSubstr;

class Refusal : public ::testing::Test {
 protected:
  Error refused(const std::string& model, const nlohmann::json& recipe) {
    const auto source = open(family(model));
    const auto report = compress(*source, recipe_of(recipe), folder_.file("out"), pool_);
    EXPECT_FALSE(report.ok()) << recipe;
    EXPECT_TRUE(fs::is_empty(folder_.path())) << recipe;
    return report.ok() ? Error{} : report.error();
  }

  ThreadPool pool_{2};
  test::TemporaryFolder folder_;
};

TEST_F(Refusal, RecipesThatDoNotFitTheModel) {
  const Error none = refused(
      "llama",
      {{"format", "int8"}, {"overrides", {{{"match", "model.layers.99.*"}, {"format", "f16"}}}}});
  EXPECT_THAT(none.message, HasSubstr("overrides[0]: 'model.layers.99.*' matches no matrix"));
  EXPECT_THAT(none.hint, HasSubstr("model.embed_tokens"));
  const Error head = refused("llama", {{"prune", "magnitude:0.5"},
                                       {"overrides", {{{"match", "lm_head"}, {"sparsity", 0.1}}}}});
  EXPECT_THAT(head.message, HasSubstr("'lm_head' is not pruned"));
  EXPECT_THAT(head.hint, HasSubstr("include"));
  const Error tied = refused("qwen2-tied", {{"format", "int8"}, {"head", "f16"}});
  EXPECT_THAT(tied.message, HasSubstr("embedding table"));
  const Error included =
      refused("qwen2-tied",
              {{"prune", {{"method", "magnitude"}, {"sparsity", 0.5}, {"include", {"lm_head"}}}}});
  EXPECT_THAT(included.hint, HasSubstr("model.embed_tokens"));
  const Error shape = refused("llama", {{"format", "q4_0"}});
  EXPECT_THAT(shape.message, HasSubstr("model.layers.0.mlp.down_proj: format q4_0"));
}

TEST_F(Refusal, FormatsWithoutAnExactZero) {
  std::string without;
  for (const std::string& spec : example_formats()) {
    const FormatPtr format = parse_format(spec).value();
    if (!format->exact_zero() && format->can_encode()) without = spec;
  }
  ASSERT_FALSE(without.empty());
  const Error error = refused("llama", {{"prune", "magnitude:0.5"}, {"format", without}});
  EXPECT_THAT(error.message, HasSubstr("no exact zero"));
  EXPECT_THAT(error.hint, HasSubstr("nf4"));
}

TEST_F(Refusal, PruningWhatTheSourceHasQuantized) {
  const auto source = open(family("llama"));
  ASSERT_TRUE(compress(*source, recipe_of({{"format", "int8"}}), folder_.file("q8"), pool_).ok());
  const auto quantized = open(folder_.file("q8"));
  const auto report =
      compress(*quantized, recipe_of({{"prune", "magnitude:0.5"}}), folder_.file("out"), pool_);
  ASSERT_FALSE(report.ok());
  EXPECT_THAT(report.error().message, HasSubstr("source's format int8:row"));
  EXPECT_FALSE(fs::exists(folder_.file("out")));
}

TEST_F(Refusal, WhatIsThereIsNotReplacedUnasked) {
  const auto source = open(family("llama"));
  const Recipe first = recipe_of({{"format", "int8"}}), second = recipe_of({{"format", "nf4"}});
  const std::string out = folder_.file("out");
  ASSERT_TRUE(compress(*source, first, out, pool_).ok());
  const auto again = compress(*source, second, out + "/", pool_);
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(again.error().message, HasSubstr("exists already"));
  ASSERT_TRUE(compress(*source, second, out, pool_, {.overwrite = true}).ok());
  EXPECT_EQ(nlohmann::json::parse(test::contents(out)["lathe.json"])["recipe_hash"], second.hash());
  // A folder of something else is never touched.
  fs::create_directory(folder_.file("mine"));
  std::ofstream(folder_.file("mine/letter.txt")) << "dear";
  const auto mine = compress(*source, first, folder_.file("mine"), pool_, {.overwrite = true});
  ASSERT_FALSE(mine.ok());
  EXPECT_THAT(mine.error().message, HasSubstr("no model that Lathe has written"));
  EXPECT_TRUE(fs::exists(folder_.file("mine/letter.txt")));
  // Nor is the model itself.
  const auto stored = open(out);
  const auto itself = compress(*stored, first, out, pool_, {.overwrite = true});
  ASSERT_FALSE(itself.ok());
  EXPECT_THAT(itself.error().message, HasSubstr("is the model itself"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 2);
}

TEST_F(Refusal, FoldersThatCannotBeWritten) {
  const auto source = open(family("llama"));
  const Recipe recipe = recipe_of({{"format", "int8"}});
  const auto missing = compress(*source, recipe, folder_.file("none/out"), pool_);
  ASSERT_FALSE(missing.ok());
  EXPECT_EQ(missing.error().code, ErrorCode::kNotFound);
  if (::geteuid() == 0) return;  // root writes anywhere
  fs::permissions(folder_.path(), fs::perms::owner_read | fs::perms::owner_exec);
  const auto locked = compress(*source, recipe, folder_.file("out"), pool_);
  fs::permissions(folder_.path(), fs::perms::owner_all);
  ASSERT_FALSE(locked.ok());
  EXPECT_TRUE(fs::is_empty(folder_.path()));
}

// A file-size limit stands in for a full disk: the write fails in the middle.
TEST_F(Refusal, FailedWritesLeaveNothing) {
  for (const rlim_t limit : {1000u, 20000u}) {
    const pid_t child = ::fork();
    if (child == 0) {
      std::signal(SIGXFSZ, SIG_IGN);
      const struct rlimit bound { limit, limit };
      if (::setrlimit(RLIMIT_FSIZE, &bound) != 0) ::_exit(3);
      ThreadPool alone(1);
      const auto source = open_checkpoint(family("llama"));
      if (!source.ok()) ::_exit(4);
      const auto recipe = recipe_from_json({{"format", "int8"}});
      const auto report = compress(**source, *recipe, folder_.file("out"), alone);
      if (report.ok()) ::_exit(0);
      const Error& error = report.error();
      const bool told = error.message.find("cannot write") != std::string::npos;
      ::_exit(told && error.code == ErrorCode::kFailed ? 42 : 5);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 42) << limit;
    EXPECT_TRUE(fs::is_empty(folder_.path())) << limit;
  }
}

TEST_F(Refusal, DamagedModelsAreRefusedOnReading) {
  const auto source = open(family("llama"));
  const std::string out = folder_.file("out"), json = out + "/lathe.json";
  ASSERT_TRUE(compress(*source, recipe_of({{"format", "int4:g32"}}), out, pool_).ok());
  const std::string text = read_text(json).value();
  const auto rewrite = [&](const std::string& content) {
    std::ofstream(json, std::ios::trunc) << content;
    return open_checkpoint(out);
  };
  for (const size_t size : {size_t{0}, size_t{1}, text.size() / 2, text.size() - 3}) {
    EXPECT_FALSE(rewrite(text.substr(0, size)).ok()) << size;
  }
  nlohmann::json edited = nlohmann::json::parse(text);
  edited["lathe_checkpoint"] = 2;
  EXPECT_FALSE(rewrite(edited.dump()).ok());
  edited = nlohmann::json::parse(text);
  edited["matrices"]["model.layers.0.mlp.up_proj"]["format"] = "int4:g16";
  const auto lying = rewrite(edited.dump());
  ASSERT_TRUE(lying.ok());
  for (const MatrixInfo& info : matrices_of((*lying)->config())) {
    if (info.name != "model.layers.0.mlp.up_proj") continue;
    const auto matrix = (*lying)->matrix(info.name, info.rows, info.cols);
    ASSERT_FALSE(matrix.ok());
    EXPECT_THAT(matrix.error().message, HasSubstr("format int4:g16 needs"));
  }
  ASSERT_TRUE(rewrite(text).ok());
  fs::resize_file(out + "/model.safetensors", 5000);
  EXPECT_FALSE(open_checkpoint(out).ok());
}

}  // namespace
}  // namespace lathe
