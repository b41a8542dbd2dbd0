// The public stories260K model against its check values (float64 reference, see the data's README).
#include <gtest/gtest.h>

#include <cmath>

#include "lathe/base/mapped_file.h"
#include "lathe/generate/engine.h"
#include "lathe/generate/generator.h"
#include "lathe/generate/score.h"
#include "lathe/model/forward.h"
#include "support/files.h"

namespace lathe {
namespace {

Engine open(const std::string& path) {
  auto engine = open_engine(path, {.device = "cpu", .threads = 2});
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return std::move(*engine);
}

Tensor logits_of(const Engine& engine, const std::vector<TokenId>& ids) {
  KvCache cache = KvCache::create(engine.model->config.kv_shape(), 512).value();
  Batch batch;
  batch.add(cache, ids, true);
  return forward(*engine.model, *engine.ops, batch);
}

TEST(Stories, DirectoryAndGgufGiveTheSameLogits) {
  LATHE_NEEDS_SHARED(shared);
  const Engine hf = open(shared + "/data/models/stories260K-hf");
  const Engine gguf = open(shared + "/data/models/stories260K/stories260K.gguf");
  const std::string text = "Once upon a time, there was a little girl named Lily.";
  const auto ids = hf.tokenizer->encode(text);
  ASSERT_EQ(ids, gguf.tokenizer->encode(text));
  const Tensor a = logits_of(hf, ids), b = logits_of(gguf, ids);
  ASSERT_EQ(a.size(), b.size());
  for (int64_t i = 0; i < a.size(); ++i) ASSERT_EQ(a.data()[i], b.data()[i]) << "element " << i;
}

TEST(Stories, GreedyTextIsTheReferences) {
  LATHE_NEEDS_SHARED(shared);
  const Engine engine = open(shared + "/data/models/stories260K-hf");
  Request request;
  request.prompt = engine.tokenizer->encode("Once upon a time");
  request.max_tokens = 60;
  const auto completion = generate(engine, request);
  ASSERT_TRUE(completion.ok()) << completion.error().message;
  const std::string expected =
      ", there was a little girl named Lily. She loved to play outside in the park. One day, she "
      "saw "
      "a big, red ball.";
  EXPECT_EQ(completion->text.substr(0, expected.size()), expected);
}

TEST(Stories, PerplexityIsTheReferences) {
  LATHE_NEEDS_SHARED(shared);
  const Engine engine = open(shared + "/data/models/stories260K-hf");
  const std::string text = read_text(shared + "/data/text/tinystories_head.txt").value();
  const std::string opening = "Once upon a time";
  double loss = 0;
  int64_t count = 0, stories = 0;
  for (size_t at = text.find(opening); at != std::string::npos && stories < 20; ++stories) {
    const size_t next = text.find(opening, at + 1);
    auto ids = engine.tokenizer->encode(text.substr(at, next - at));
    if (ids.size() > 256) ids.resize(256);
    for (const double l : token_losses(engine, ids, 1).value()) {
      loss += l;
      ++count;
    }
    at = next;
  }
  EXPECT_EQ(count, 5037);
  EXPECT_NEAR(std::exp(loss / static_cast<double>(count)), 3.8354, 0.0001);
}

}  // namespace
}  // namespace lathe
