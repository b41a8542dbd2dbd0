// The tokenizer of stories260K against its published vectors, from all files that carry it.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lathe/base/mapped_file.h"
#include "lathe/text/tokenizer.h"
#include "text/shared_data.h"

namespace lathe {
namespace {

void check_vectors(const Tokenizer& tokenizer) {
  const auto source = read_text(shared_path("data/models/stories260K/tok512_vectors.json"));
  ASSERT_TRUE(source.ok());
  const auto vectors = nlohmann::json::parse(*source);
  ASSERT_GT(vectors.size(), 100u);
  for (const auto& v : vectors) {
    const std::string text = v["text"];
    const auto ids = v["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << text;
    EXPECT_EQ(tokenizer.decode(ids), text);
  }
}

TEST(Stories260k, TokenizerJsonGivesTheVectors) {
  LATHE_NEEDS_SHARED("data/models/stories260K-hf/tokenizer.json");
  const auto tokenizer = load_tokenizer(shared_path("data/models/stories260K-hf"));
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.error().message;
  EXPECT_EQ((*tokenizer)->vocab_size(), 512);
  EXPECT_TRUE((*tokenizer)->adds_bos());
  check_vectors(**tokenizer);
}

}  // namespace
}  // namespace lathe
