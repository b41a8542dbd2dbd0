#include "lathe/eval/metrics/python_text.h"

#include <gtest/gtest.h>

#include "eval/metric_golden.h"

namespace lathe {
namespace {

class PythonText : public testing::Test {
 protected:
  static void SetUpTestSuite() { golden_ = new nlohmann::json(read_golden("python_text.json")); }
  static void TearDownTestSuite() { delete golden_; }

  // Calls check(code point, expected) for every code point that the golden file's Python knows.
  template <typename Check>
  static void for_each_code_point(const nlohmann::json& runs, Check check) {
    for (size_t r = 0; r < runs.size(); ++r) {
      const auto expected = runs[r][1].get<std::string>();
      const char32_t end = r + 1 < runs.size() ? runs[r + 1][0].get<char32_t>() : 0x110000;
      if (expected == "?") continue;
      for (char32_t c = runs[r][0].get<char32_t>(); c < end; ++c) {
        if (c >= 0xd800 && c < 0xe000) continue;
        ASSERT_NO_FATAL_FAILURE(check(c, expected));
      }
    }
  }

  static nlohmann::json* golden_;
};
nlohmann::json* PythonText::golden_ = nullptr;

std::vector<std::string> encoded(const std::vector<std::u32string_view>& pieces) {
  std::vector<std::string> out;
  for (const auto p : pieces) out.push_back(encode_utf8(p));
  return out;
}

TEST_F(PythonText, KnowsSpacesAndWordCharacters) {
  int seen = 0;
  for_each_code_point((*golden_)["kinds"], [&](char32_t c, const std::string& kind) {
    ++seen;
    ASSERT_EQ(is_python_space(c), kind == "s") << std::hex << static_cast<uint32_t>(c);
    ASSERT_EQ(is_python_word(c), kind == "w") << std::hex << static_cast<uint32_t>(c);
  });
  EXPECT_GT(seen, 140000);
}

TEST_F(PythonText, LowersEveryCodePoint) {
  std::map<char32_t, std::string> changed;
  for (const auto& pair : (*golden_)["lower"]) changed[pair[0].get<char32_t>()] = pair[1];
  EXPECT_GT(changed.size(), 1300u);
  for_each_code_point((*golden_)["kinds"], [&](char32_t c, const std::string&) {
    const std::u32string one(1, c);
    const auto it = changed.find(c);
    ASSERT_EQ(encode_utf8(python_lower(one)), it == changed.end() ? encode_utf8(one) : it->second)
        << std::hex << static_cast<uint32_t>(c);
  });
}

TEST_F(PythonText, ChoosesTheSmallSigmaByItsNeighbours) {
  const auto letter = [](const std::u32string& text, size_t at) {
    return python_lower(text)[at] == U'ς' ? 'f' : 'm';
  };
  for_each_code_point((*golden_)["sigma"], [&](char32_t c, const std::string& expected) {
    // The dotted capital I lowers to two characters, so ask for the last one from the end.
    const std::u32string before{c, U'Σ'}, between{U'A', c, U'Σ'};
    const std::string got = {letter(before, python_lower(before).size() - 1),
                             letter(between, python_lower(between).size() - 1),
                             letter({U'A', U'Σ', c}, 1), letter({U'A', U'Σ', c, U'A'}, 1)};
    ASSERT_EQ(got, expected) << std::hex << static_cast<uint32_t>(c);
  });
  for (const auto& pair : (*golden_)["lower_phrases"]) {
    EXPECT_EQ(encode_utf8(python_lower(decode_utf8(pair[0].get<std::string>()))),
              pair[1].get<std::string>());
  }
}

TEST_F(PythonText, Splits) {
  const auto& split = (*golden_)["split"];
  EXPECT_EQ(encoded(python_split(decode_utf8(split[0].get<std::string>()))),
            split[1].get<std::vector<std::string>>());
  EXPECT_TRUE(python_split(U"").empty());
  EXPECT_TRUE(python_split(U" \u3000\n").empty());
  EXPECT_EQ(python_strip(U"\u00a0 a b\n"), U"a b");
  EXPECT_EQ(python_rstrip(U" a \x1f"), U" a");
  EXPECT_EQ(python_strip(U" \t"), U"");
}

TEST_F(PythonText, ReplacesIllFormedBytesAsPythonDoes) {
  for (const auto& pair : (*golden_)["decode"]) {
    const auto hex = pair[0].get<std::string>();
    std::string bytes;
    for (size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    EXPECT_EQ(encode_utf8(decode_utf8(bytes)), pair[1].get<std::string>()) << hex;
  }
}

TEST_F(PythonText, PunctuationIsAscii) {
  std::string all;
  for (char32_t c = 0; c < 0x300; ++c) {
    if (is_ascii_punctuation(c)) all.push_back(static_cast<char>(c));
  }
  EXPECT_EQ(all, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
}

}  // namespace
}  // namespace lathe
