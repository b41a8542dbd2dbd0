// Batched generation on the bundled model: batches change nothing, stop sequences end the text
// wherever they lie, streams are whole characters.
#include "lathe/generate/generator.h"

#include <gtest/gtest.h>

#include "support/files.h"

namespace lathe {
namespace {

const Engine& engine() {
  static const Engine opened = open_engine(test::source_file("models/tiny"),
                                           {.device = "cpu", .threads = 2, .math = Math::kExact})
                                   .value();
  return opened;
}

Request request_of(const std::string& prompt, int64_t max_tokens) {
  Request request;
  request.prompt = engine().tokenizer->encode(prompt);
  request.max_tokens = max_tokens;
  return request;
}

// The model's story of this prompt, long enough to cut.
const Completion& story() {
  static const Completion made = [] {
    Request request = request_of("One day", 48);
    request.stop_at_eos = false;
    return generate(engine(), request).value();
  }();
  return made;
}

std::vector<Completion> all(std::span<const Request> requests, const GenerateOptions& options) {
  std::vector<Completion> out(requests.size());
  std::vector<int> ended(requests.size());
  const Status status =
      generate(engine(), requests, options, [&](size_t index, Completion completion) {
        ++ended[index];
        out[index] = std::move(completion);
        return true;
      });
  EXPECT_TRUE(status.ok());
  for (const int count : ended) EXPECT_EQ(count, 1);
  return out;
}

TEST(Generator, BatchesGiveWhatSingleRequestsGive) {
  const std::vector<std::string> prompts = {
      "One day",
      "The",
      "Anna had 3 apples and bought 4 more. How many apples does she have now?",
      "In the garden there was",
      "x",
      "Once there was a cat that lived near the river and"};
  std::vector<Request> requests;
  for (size_t i = 0; i < 12; ++i) {
    Request request = request_of(prompts[i % prompts.size()], 5 + static_cast<int64_t>(3 * i));
    request.seed = i;
    if (i % 2 == 1) request.sampling = {0.8, 20, 0.95, 0.0};
    requests.push_back(request);
  }
  std::vector<Completion> single;
  for (const Request& request : requests) {
    single.push_back(generate(engine(), request).value());
  }
  // A chunk of 5 splits prompts over several passes, beside the tokens of others.
  for (const GenerateOptions& options :
       {GenerateOptions{.max_batch = 1}, GenerateOptions{.max_batch = 4},
        GenerateOptions{.max_batch = 16}, GenerateOptions{.max_batch = 4, .chunk = 5},
        GenerateOptions{.max_batch = 16, .max_kv_bytes = 1 << 19}}) {
    const auto batched = all(requests, options);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(testing::Message() << "request " << i << ", batch " << options.max_batch
                                      << ", chunk " << options.chunk);
      EXPECT_EQ(batched[i].ids, single[i].ids);
      EXPECT_EQ(batched[i].text, single[i].text);
      EXPECT_EQ(batched[i].finish, single[i].finish);
      EXPECT_EQ(batched[i].prompt_tokens, static_cast<int64_t>(requests[i].prompt.size()));
    }
  }
}

TEST(Generator, StopsWhereverTheSequenceLies) {
  const std::string& text = story().text;
  ASSERT_GT(text.size(), 60u);
  // Every start, short and long: inside of a token, over one border, over several.
  for (size_t at = 0; at + 12 < text.size(); at += 3) {
    for (const size_t size : {size_t{1}, size_t{4}, size_t{12}}) {
      Request request = request_of("One day", 48);
      request.stop_at_eos = false;
      request.stops = {"never in it", text.substr(at, size)};
      std::string streamed;
      const auto completion =
          generate(engine(), request, [&](size_t, std::string_view piece) { streamed += piece; });
      ASSERT_TRUE(completion.ok());
      const std::string expected = text.substr(0, text.find(request.stops[1]));
      EXPECT_EQ(completion->text, expected) << "stop '" << request.stops[1] << "'";
      EXPECT_EQ(streamed, expected) << "part of the stop sequence was shown";
      EXPECT_EQ(completion->finish, "stop");
    }
  }
}

TEST(Generator, EndsByLengthAndByContext) {
  EXPECT_EQ(story().finish, "length");
  EXPECT_EQ(story().ids.size(), 48u);
  Request request = request_of("One day", 1 << 20);
  request.stop_at_eos = false;
  const Engine small =
      open_engine(test::source_file("models/tiny"),
                  {.device = "cpu", .threads = 2, .context = 32, .math = Math::kExact})
          .value();
  const auto completion = generate(small, request);
  ASSERT_TRUE(completion.ok()) << completion.error().message;
  EXPECT_EQ(completion->finish, "context");
  EXPECT_EQ(request.prompt.size() + completion->ids.size(), 32u);
}

TEST(Generator, RefusesBadRequests) {
  const auto refused = [](const Request& request) {
    const auto completion = generate(engine(), request);
    EXPECT_FALSE(completion.ok());
    return completion.ok() ? std::string() : completion.error().message;
  };
  Request request;
  EXPECT_NE(refused(request).find("empty prompt"), std::string::npos);
  request.prompt = {5, 1 << 20};
  EXPECT_NE(refused(request).find("outside of the vocabulary"), std::string::npos);
  request.prompt.assign(5000, 5);
  EXPECT_NE(refused(request).find("does not fit the context"), std::string::npos);
  request.prompt = {5};
  request.sampling.top_p = 7;
  EXPECT_NE(refused(request).find("top-p"), std::string::npos);
}

TEST(Generator, ConsumerMayEndIt) {
  const std::vector<Request> requests(6, request_of("One day", 4));
  int seen = 0;
  ASSERT_TRUE(generate(engine(), requests, {.max_batch = 2}, [&](size_t, const Completion&) {
                return ++seen < 3;
              }).ok());
  EXPECT_EQ(seen, 3);
}

// Gives out a text byte by byte, whatever the ids are.
class ScriptTokenizer : public Tokenizer {
 public:
  ScriptTokenizer(std::shared_ptr<const Tokenizer> real, std::string script)
      : real_(std::move(real)), script_(std::move(script)) {}
  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options) const override {
    return real_->encode(text, options);
  }
  std::string decode(const std::vector<TokenId>& ids, bool) const override {
    return script_.substr(0, ids.size());
  }
  int64_t vocab_size() const override { return real_->vocab_size(); }
  std::optional<TokenId> id_of(std::string_view token) const override {
    return real_->id_of(token);
  }
  std::string token_of(TokenId id) const override { return real_->token_of(id); }
  bool is_special(TokenId id) const override { return real_->is_special(id); }
  std::optional<TokenId> bos() const override { return real_->bos(); }
  std::optional<TokenId> eos() const override { return real_->eos(); }
  bool adds_bos() const override { return real_->adds_bos(); }
  std::string kind() const override { return "script"; }
  std::string hash() const override { return ""; }
  const std::string& chat_template() const override { return real_->chat_template(); }

 private:
  std::shared_ptr<const Tokenizer> real_;
  std::string script_;
};

TEST(Generator, StreamsWholeCharacters) {
  // One, two, three and four bytes; a family joined of several; then a character cut short.
  const std::string script = "aé€😀👨‍👩‍👧 日本\xF0\x9F\x98";
  Engine scripted = open_engine(test::source_file("models/tiny"),
                                {.device = "cpu", .threads = 1, .math = Math::kExact})
                        .value();
  scripted.tokenizer = std::make_shared<ScriptTokenizer>(scripted.tokenizer, script);
  Request request = request_of("x", static_cast<int64_t>(script.size()));
  request.stop_at_eos = false;
  std::vector<std::string> pieces;
  const auto completion = generate(
      scripted, request, [&](size_t, std::string_view piece) { pieces.emplace_back(piece); });
  ASSERT_TRUE(completion.ok());
  std::string joined;
  for (const std::string& piece : pieces) joined += piece;
  EXPECT_EQ(joined, script) << "what is cut short at the end is shown as it is";
  for (size_t i = 0; i + 1 < pieces.size(); ++i) {
    // A piece that is one whole character: its lead byte tells its length.
    const auto lead = static_cast<unsigned char>(pieces[i][0]);
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
    EXPECT_EQ(pieces[i].size(), length) << "piece " << i << " '" << pieces[i] << "'";
  }
}

}  // namespace
}  // namespace lathe
