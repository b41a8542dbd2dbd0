// What loaders refuse, and what the golden files do not cover.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <thread>

#include "lathe/io/gguf_writer.h"
#include "lathe/text/bpe_schemes.h"
#include "lathe/text/byte_level.h"
#include "lathe/text/pipeline.h"
#include "lathe/text/regex.h"
#include "lathe/text/unicode.h"

namespace lathe {
namespace {

using Json = nlohmann::json;

// Byte-level BPE over all bytes, with "th", "the", "Ġthe" and doubling merges for "a".
Json byte_level_json() {
  Json vocab = Json::object(), merges = Json::array();
  for (int b = 0; b < 256; ++b)
    vocab[text::bytes_to_alphabet(std::string(1, static_cast<char>(b)))] = b;
  const auto merge = [&](const std::string& left, const std::string& right) {
    vocab[left + right] = vocab.size();
    merges.push_back({left, right});
  };
  merge("t", "h");
  merge("th", "e");
  merge("\xc4\xa0", "the");
  for (int n = 1; n <= 64; n *= 2) merge(std::string(n, 'a'), std::string(n, 'a'));
  return {{"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", merges}}},
          {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
          {"decoder", {{"type", "ByteLevel"}}}};
}

std::string error_of(const std::string& source) {
  const auto parts = text::parse_tokenizer_json(source);
  return parts.ok() ? "loaded" : parts.error().message;
}
std::string error_with(const std::string& pointer, const Json& value) {
  Json file = byte_level_json();
  file[Json::json_pointer(pointer)] = value;
  return error_of(file.dump());
}

TEST(TokenizerJson, NamesWhatItRefuses) {
  EXPECT_EQ(error_of(byte_level_json().dump()), "loaded");
  EXPECT_NE(error_of("{\"model\":").find("not valid JSON"), std::string::npos);
  EXPECT_NE(error_of("[1]").find("not a JSON object"), std::string::npos);
  EXPECT_NE(error_of("{}").find("'model' is not an object"), std::string::npos);
  EXPECT_NE(error_with("/model/type", "Magic").find("model 'Magic'"), std::string::npos);
  EXPECT_NE(error_with("/model/dropout", 0.1).find("dropout"), std::string::npos);
  EXPECT_NE(error_with("/model/merges/0", "a b c").find("not two tokens"), std::string::npos);
  EXPECT_NE(error_with("/model/merges/0", "t zzz").find("'zzz', which is not in the vocabulary"),
            std::string::npos);
  EXPECT_NE(error_with("/model/unk_token", "<nope>").find("'<nope>'"), std::string::npos);
  EXPECT_NE(error_with("/model/vocab/a", 99999999).find("99999999"), std::string::npos);
  EXPECT_NE(error_with("/model/vocab/a", -1).find("-1"), std::string::npos);
  EXPECT_NE(
      error_with("/normalizer", {{"type", "Sparkle"}}).find("normalizer: normalizer 'Sparkle'"),
      std::string::npos);
  EXPECT_NE(error_with("/pre_tokenizer/type", "UnicodeScripts").find("'UnicodeScripts'"),
            std::string::npos);
  EXPECT_NE(error_with("/decoder/type", "CTC").find("decoder 'CTC'"), std::string::npos);
  EXPECT_NE(error_with("/post_processor", {{"type", "Other"}}).find("post-processor 'Other'"),
            std::string::npos);
  EXPECT_NE(error_with("/post_processor", {{"type", "TemplateProcessing"},
                                           {"single", {{{"SpecialToken", {{"id", "<q>"}}}}}}})
                .find("'<q>' is not in 'special_tokens'"),
            std::string::npos);
}

TEST(TokenizerJson, RefusesStepsThatMultiplyText) {
  Json steps = Json::array();
  for (int i = 0; i < 40; ++i)
    steps.push_back({{"type", "Replace"}, {"pattern", {{"String", "a"}}}, {"content", "aaaa"}});
  EXPECT_NE(error_with("/normalizer", {{"type", "Sequence"}, {"normalizers", steps}})
                .find("times as long"),
            std::string::npos);
  Json deep = {{"type", "NFC"}};
  for (int i = 0; i < 30; ++i) deep = {{"type", "Sequence"}, {"normalizers", {deep}}};
  EXPECT_NE(error_with("/normalizer", deep).find("nested deeper"), std::string::npos);
}

std::shared_ptr<const Tokenizer> byte_level() {
  auto parts = text::parse_tokenizer_json(byte_level_json().dump());
  EXPECT_TRUE(parts.ok());
  return text::make_tokenizer(std::move(*parts));
}

// Long words take another algorithm than short ones; "a" × n has one segmentation: powers of two.
TEST(Bpe, LongWordsAreMergedAsShortOnes) {
  const auto tokenizer = byte_level();
  for (const size_t n : {1u, 47u, 48u, 49u, 127u, 128u, 1000u}) {
    const auto ids = tokenizer->encode(std::string(n, 'a'));
    std::vector<size_t> sizes;
    for (const TokenId id : ids) sizes.push_back(tokenizer->token_of(id).size());
    std::vector<size_t> expected(n / 128, 128);
    for (size_t bit = 64; bit > 0; bit /= 2)
      if (n & bit) expected.push_back(bit);
    EXPECT_EQ(sizes, expected) << n;
  }
}

TEST(Bpe, AMegabyteWithoutSpacesIsNotQuadratic) {
  const auto tokenizer = byte_level();
  std::string word;
  for (size_t i = 0; word.size() < (1u << 20); ++i) word += static_cast<char>('a' + i * i % 7);
  const auto start = std::chrono::steady_clock::now();
  const auto ids = tokenizer->encode(word);
  const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start);
  EXPECT_EQ(tokenizer->decode(ids), word);
  EXPECT_LT(seconds.count(), 20);  // about 0.2 s; a quadratic merge takes many minutes
}

TEST(Tokenizer, BrokenUtf8BecomesReplacementCharacters) {
  const auto tokenizer = byte_level();
  EXPECT_EQ(tokenizer->decode(tokenizer->encode("a\xffz\xe2\x82")), "a\xef\xbf\xbdz\xef\xbf\xbd");
  EXPECT_EQ(tokenizer->decode({0xe2}).size(), 1u);  // a token may be part of a character
  EXPECT_TRUE(tokenizer->encode("").empty());
  EXPECT_EQ(tokenizer->decode({-1, 1 << 30}), "");
}

TEST(Tokenizer, ThreadsShareIt) {
  const auto tokenizer = byte_level();
  const auto expected = tokenizer->encode("the cat saw the other cat");
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i)
        if (tokenizer->encode("the cat saw the other cat") != expected) ++wrong;
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
}

Result<std::shared_ptr<const Tokenizer>> from_gguf(const std::string& pre) {
  const Json file = byte_level_json();
  std::vector<std::string> tokens(file["model"]["vocab"].size());
  for (const auto& [token, id] : file["model"]["vocab"].items()) tokens[id] = token;
  std::vector<int32_t> types(tokens.size(), 1);
  for (const char* special : {"<s>", "</s>", "<user>"}) {
    tokens.push_back(special);
    types.push_back(3);
  }
  types.back() = 4;
  std::vector<std::string> merges;
  for (const auto& m : file["model"]["merges"])
    merges.push_back(m[0].get<std::string>() + " " + m[1].get<std::string>());
  GgufMetadata metadata;
  metadata.set("general.architecture", "llama");
  metadata.set("tokenizer.ggml.model", "gpt2");
  metadata.set("tokenizer.ggml.pre", pre);
  metadata.set_array("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
  metadata.set_array("tokenizer.ggml.token_type", std::span<const int32_t>(types));
  metadata.set_array("tokenizer.ggml.merges", std::span<const std::string>(merges));
  metadata.set("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(tokens.size() - 3));
  metadata.set("tokenizer.ggml.eos_token_id", static_cast<uint32_t>(tokens.size() - 2));
  metadata.set("tokenizer.ggml.add_bos_token", true);
  metadata.set("tokenizer.chat_template", "{{ messages }}");
  const std::string path = testing::TempDir() + "lathe_text_" + pre + ".gguf";
  LATHE_TRY(GgufWriter writer, GgufWriter::create(path, metadata, {}));
  LATHE_OK(writer.finish());
  LATHE_TRY(const GgufFile gguf, GgufFile::open(path));
  std::remove(path.c_str());
  return load_tokenizer(gguf);
}

TEST(Gguf, ByteLevelVocabularies) {
  const auto loaded = from_gguf("llama-bpe");
  ASSERT_TRUE(loaded.ok()) << loaded.error().message;
  const Tokenizer& t = **loaded;
  EXPECT_EQ(t.kind(), "byte-level BPE");
  EXPECT_TRUE(t.adds_bos());
  EXPECT_EQ(t.chat_template(), "{{ messages }}");
  const TokenId bos = *t.bos(), eos = *t.eos(), user = *t.id_of("<user>");
  const TokenId the = *t.id_of("\xc4\xa0the");
  EXPECT_EQ(t.encode(" the</s> the<user>"), (std::vector<TokenId>{bos, the, eos, the, user}));
  EXPECT_TRUE(t.is_special(eos));
  EXPECT_FALSE(t.is_special(user));
  EXPECT_EQ(t.decode({bos, the, user, eos}), " the<user>");
  const auto plain = t.encode("</s>", {.add_special = false, .parse_special = false});
  EXPECT_EQ(plain.size(), 4u);
}

TEST(Gguf, AnUnknownPreTokenizerIsNamed) {
  const auto loaded = from_gguf("qwenn2");
  ASSERT_FALSE(loaded.ok());
  EXPECT_NE(loaded.error().message.find("'qwenn2'"), std::string::npos);
  EXPECT_NE(loaded.error().hint.find("qwen2"), std::string::npos);
}

TEST(BpeSchemes, AllPatternsCompileAndCoverText) {
  const std::string sample =
      "I'm HTTPServer2024's  caf\xc3\xa9!!\n\n\t x = 12345; \xe6\x97\xa5\xe6\x9c\xac";
  for (const std::string& name : text::bpe_scheme_names()) {
    const text::BpeScheme* scheme = text::find_bpe_scheme(name);
    ASSERT_TRUE(scheme);
    auto pre = text::make_byte_level(scheme->patterns, false);
    ASSERT_TRUE(pre.ok()) << name << ": " << pre.error().message;
    text::Words words;
    words.words.push_back(sample);
    (*pre)->apply(words);
    std::string joined;
    for (const auto word : words.words) joined += word;
    EXPECT_EQ(joined, sample) << name;
    EXPECT_GT(words.words.size(), 10u) << name;
  }
}

TEST(Regex, HasOnigurumasMeaning) {
  const auto matches = [](const std::string& pattern, std::string_view subject) {
    const auto regex = text::Regex::compile(pattern);
    EXPECT_TRUE(regex.ok()) << pattern;
    std::vector<text::Range> found;
    if (regex.ok()) regex->find_all(subject, found);
    std::vector<std::string> out;
    for (const auto& r : found) out.emplace_back(subject.substr(r.begin, r.end - r.begin));
    return out;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(matches(R"(\s+)", "a\xc2\x85\xe3\x80\x80z"), Words{"\xc2\x85\xe3\x80\x80"});
  EXPECT_EQ(matches(R"([^\s]+)", "\xe1\xa0\x8e"), Words{"\xe1\xa0\x8e"});  // U+180E is no space
  EXPECT_EQ(matches("(?i:'S)", "it's IT'S \x27\xc5\xbf"), (Words{"'s", "'S", "'\xc5\xbf"}));
  EXPECT_EQ(matches(R"(\p{N}{1,3})", "12345"), (Words{"123", "45"}));
  EXPECT_EQ(matches(R"(\h+)", "xbeefz"), Words{"beef"});
  EXPECT_EQ(matches("x*", "axxb"), (Words{"", "xx", ""}));
  EXPECT_FALSE(text::Regex::compile(R"([a-z&&[^b]])").ok());
  EXPECT_FALSE(text::Regex::compile("(").ok());
}

TEST(Unicode, NormalForms) {
  using text::NormalForm;
  EXPECT_EQ(text::normal_form("e\xcc\x81", NormalForm::kNfc), "\xc3\xa9");
  EXPECT_EQ(text::normal_form("\xc3\xa9", NormalForm::kNfd), "e\xcc\x81");
  EXPECT_EQ(text::normal_form("\xef\xac\x81\xc2\xb2", NormalForm::kNfkc), "fi2");
  EXPECT_EQ(text::normal_form("\xea\xb0\x80", NormalForm::kNfd), "\xe1\x84\x80\xe1\x85\xa1");
  // Marks are put in canonical order, in linear time.
  EXPECT_EQ(text::normal_form("a\xcc\x81\xcc\xa3", NormalForm::kNfd), "a\xcc\xa3\xcc\x81");
  std::string marks;
  for (int i = 0; i < 200000; ++i) marks += i % 2 ? "\xcc\xa3" : "\xcc\x81";
  EXPECT_EQ(text::normal_form(marks, NormalForm::kNfd).size(), marks.size());
}

}  // namespace
}  // namespace lathe
