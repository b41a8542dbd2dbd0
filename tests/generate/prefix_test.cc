// Sharing what prompts have in common must not change what comes out.
#include "lathe/generate/prefix_store.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lathe/generate/generator.h"
#include "lathe/generate/options.h"
#include "lathe/generate/score.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

const Engine& engine() {
  static const Engine opened = [] {
    auto engine = open_engine("bundled", {.device = "cpu", .threads = 2, .math = Math::kExact});
    EXPECT_TRUE(engine.ok()) << engine.error().message;
    return std::move(*engine);
  }();
  return opened;
}

std::vector<TokenId> tokens(const std::string& text, bool special = false) {
  return engine().tokenizer->encode(text, {.add_special = special});
}

const std::string kShots =
    "Question: Elsa has 3 melons and buys 4 more. How many melons does she have?\n"
    "Answer: Elsa has 3 + 4 = 7 melons.\n#### 7\n\nQuestion: Toby has 9 coins and loses 2. How "
    "many coins does he have?\nAnswer: Toby has 9 - 2 = 7 coins.\n#### 7\n\n";

std::vector<Request> few_shot_requests() {
  std::vector<Request> requests;
  for (const char* question :
       {"Mark has 5 buttons and gets 6 more. How many buttons does he have?",
        "Mark has 8 pears. He eats 3. How many pears are left?", "Olga has 2 cats.",
        "Olga has 2 cats and 2 dogs. How many pets does she have?"}) {
    Request r;
    r.prompt = tokens(kShots + "Question: " + question + "\nAnswer:", true);
    r.max_tokens = 24;
    requests.push_back(std::move(r));
  }
  requests.push_back(requests[1]);  // the same prompt twice
  requests.push_back({tokens("Dan went to the lake", true), 24});
  return requests;
}

std::vector<std::vector<TokenId>> generated(const std::vector<Request>& requests,
                                            const GenerateOptions& options) {
  std::vector<std::vector<TokenId>> out(requests.size());
  const Status status = generate(engine(), requests, options, [&](size_t i, Completion c) {
    out[i] = std::move(c.ids);
    return true;
  });
  EXPECT_TRUE(status.ok());
  return out;
}

TEST(PrefixStore, SharesWhatNeighboursBeginWith) {
  const auto requests = few_shot_requests();
  PrefixStore store(engine(), int64_t{1} << 28, 64);
  const int64_t shots = common_prefix(requests[0].prompt, requests[1].prompt);
  ASSERT_GT(shots, 40);
  int64_t copied = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    KvCache cache =
        KvCache::create(engine().model->kv_shape(), std::ssize(requests[i].prompt)).value();
    const std::span<const TokenId> following =
        i + 1 < requests.size() ? std::span<const TokenId>(requests[i + 1].prompt)
                                : std::span<const TokenId>();
    const int64_t known = store.begin(requests[i].prompt, following, cache).value();
    EXPECT_EQ(known, cache.length());
    EXPECT_LT(known, std::ssize(requests[i].prompt));
    if (i < 5) {
      EXPECT_GE(known, shots - 16);
    } else {
      EXPECT_EQ(known, 0);
    }
    copied += known;
  }
  EXPECT_EQ(store.copied_tokens(), copied);
  // The examples once, and little more than the questions' own words.
  EXPECT_LT(store.computed_tokens(), shots + 64);
}

TEST(PrefixStore, CopiesWhatAForwardPassWouldHaveWritten) {
  const auto requests = few_shot_requests();
  PrefixStore store(engine(), int64_t{1} << 28, 32);
  const auto& prompt = requests[0].prompt;
  KvCache shared = KvCache::create(engine().model->kv_shape(), 400).value();
  const int64_t known = store.begin(prompt, requests[1].prompt, shared).value();
  ASSERT_GT(known, 40);
  Batch rest;
  rest.add(shared, std::span(prompt).subspan(static_cast<size_t>(known)), false);
  const Tensor a = forward(*engine().model, *engine().ops, rest);
  KvCache fresh = KvCache::create(engine().model->kv_shape(), 400).value();
  Batch whole;
  whole.add(fresh, prompt, false);
  const Tensor b = forward(*engine().model, *engine().ops, whole);
  ASSERT_EQ(a.size(), b.size());
  float largest = 0;
  for (int64_t i = 0; i < b.size(); ++i) largest = std::max(largest, std::abs(b.data()[i]));
  for (int64_t i = 0; i < b.size(); ++i) {
    ASSERT_NEAR(a.data()[i], b.data()[i], 1e-5F * largest) << i;
  }
}

TEST(PrefixStore, ForgetsWhatDoesNotFit) {
  const auto requests = few_shot_requests();
  const KvShape shape = engine().model->kv_shape();
  KvCache cache = KvCache::create(shape, 400).value();
  PrefixStore off(engine(), 0, 64);
  EXPECT_EQ(off.begin(requests[0].prompt, requests[1].prompt, cache).value(), 0);
  PrefixStore tiny(engine(), KvCache::bytes_for(shape, 20), 64);
  EXPECT_EQ(tiny.begin(requests[0].prompt, requests[1].prompt, cache).value(), 0);
  EXPECT_EQ(tiny.computed_tokens(), 0);
}

TEST(Generate, SharesPrefixesOfEveryKeyValueType) {
  for (const KvType type : {KvType::kF16, KvType::kBf16, KvType::kInt8, KvType::kInt4}) {
    auto opened =
        open_engine("bundled", {.device = "cpu", .threads = 2, .kv = type, .math = Math::kExact});
    ASSERT_TRUE(opened.ok());
    const auto requests = few_shot_requests();
    size_t finished = 0;
    ASSERT_TRUE(generate(*opened, requests, {.max_batch = 3}, [&](size_t, const Completion& c) {
                  finished += c.ids.empty() ? 0 : 1;
                  return true;
                }).ok());
    EXPECT_EQ(finished, requests.size()) << name_of(type);
  }
}

TEST(Generate, SharingPrefixesChangesNothing) {
  const auto requests = few_shot_requests();
  const auto alone = generated(requests, {.max_batch = 1, .share_prefixes = false});
  EXPECT_EQ(generated(requests, {.max_batch = 1}), alone);
  EXPECT_EQ(generated(requests, {.max_batch = 4}), alone);
  EXPECT_EQ(generated(requests, {.max_batch = 3, .chunk = 17}), alone);
  EXPECT_FALSE(alone[0].empty());
}

std::vector<OptionRequest> option_requests() {
  const std::vector<std::vector<std::string>> options = {
      {" 7", " 11 buttons", " a cat that sits on the mat beside the lake and waits"},
      {" yes", " no"},
      {" the ladder", " a very long story about the river", " b", " Wednesday morning"}};
  std::vector<OptionRequest> out;
  for (size_t i = 0; i < 9; ++i) {
    OptionRequest r;
    r.context = tokens(kShots + "Question: number " + std::to_string(i) + "?\nAnswer:", true);
    if (i % 4 == 3) r.context = tokens("Short", true);
    for (const std::string& text : options[i % 3]) r.options.push_back(tokens(text));
    out.push_back(std::move(r));
  }
  return out;
}

TEST(ScoreOptions, EqualsTheLossesOfWholeSequences) {
  const auto requests = option_requests();
  std::vector<std::vector<OptionScore>> expected;
  for (const OptionRequest& r : requests) {
    expected.emplace_back();
    for (const auto& option : r.options) {
      std::vector<TokenId> ids = r.context;
      ids.insert(ids.end(), option.begin(), option.end());
      double sum = 0;
      for (const double loss : token_losses(engine(), ids, std::ssize(r.context)).value()) {
        sum -= loss;
      }
      expected.back().push_back({sum, false});
    }
  }
  for (const ScoreOptions& how :
       {ScoreOptions{}, ScoreOptions{.max_batch = 1, .share_prefixes = false},
        ScoreOptions{.max_batch = 4, .chunk = 7}, ScoreOptions{.chunk = 1},
        ScoreOptions{.max_kv_bytes = 1}}) {
    size_t count = 0;
    const Status status = score_options(
        engine(), requests, how, [&](size_t i, const std::vector<OptionScore>& scores) {
          EXPECT_EQ(i, count++);
          EXPECT_EQ(scores.size(), expected[i].size());
          for (size_t k = 0; k < scores.size(); ++k) {
            EXPECT_NEAR(scores[k].log_likelihood, expected[i][k].log_likelihood,
                        1e-4 * std::abs(expected[i][k].log_likelihood));
          }
          return true;
        });
    ASSERT_TRUE(status.ok()) << status.error().message;
    EXPECT_EQ(count, requests.size());
  }
}

TEST(ScoreOptions, KnowsTheGreedyContinuation) {
  Request request;
  request.prompt = tokens(kShots + "Question: Mark has 5 buttons.\nAnswer:", true);
  request.max_tokens = 6;
  request.stop_at_eos = false;
  const Completion greedy = generate(engine(), request).value();
  auto other = greedy.ids;
  other[3] = other[3] == 5 ? 6 : 5;
  const std::vector<OptionRequest> requests = {{request.prompt, {greedy.ids, other}}};
  ASSERT_TRUE(score_options(engine(), requests, {}, [&](size_t, const auto& scores) {
                EXPECT_TRUE(scores[0].greedy);
                EXPECT_FALSE(scores[1].greedy);
                EXPECT_GT(scores[0].log_likelihood, scores[1].log_likelihood);
                return true;
              }).ok());
}

TEST(ScoreOptions, RefusesWhatDoesNotFit) {
  const auto never = [](size_t, const std::vector<OptionScore>&) { return true; };
  const std::vector<OptionRequest> long_one = {
      {std::vector<TokenId>(static_cast<size_t>(engine().model->context) + 1, 5), {{5}}}};
  EXPECT_EQ(score_options(engine(), long_one, {}, never).error().code, ErrorCode::kBadInput);
  const std::vector<OptionRequest> strange = {{{5}, {{1 << 30}}}};
  EXPECT_EQ(score_options(engine(), strange, {}, never).error().code, ErrorCode::kBadInput);
}

}  // namespace
}  // namespace lathe
