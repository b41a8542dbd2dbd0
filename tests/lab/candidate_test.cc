// Candidates as they are written: formats, sparsities, and layouts with a pattern of their own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lathe/lab/analysis.h"

namespace lathe {
namespace {

TEST(Candidate, ALayoutWithAPatternHasItsSparsity) {
  struct Case {
    const char *text, *format;
    double sparsity;
    const char *pattern, *canonical;
  };
  for (const Case& c :
       {Case{"int4:g32", "int4:g32", 0, "", "int4:g32"},
        {"keep@0.25", "keep", 0.25, "", "keep@0.25"},
        {"sparse:int4:g64@0.5", "sparse:int4:g64", 0.5, "", "sparse:int4:g64@0.5"},
        {"sparse24:int8:row", "sparse24:int8:row", 0.5, "2:4", "sparse24:int8:row@0.5"},
        {"sparse48:bf16@0.5", "sparse48:bf16", 0.5, "4:8", "sparse48:bf16@0.5"}}) {
    const auto candidate = parse_candidate(c.text);
    ASSERT_TRUE(candidate.ok()) << candidate.error().message;
    EXPECT_EQ(candidate->format, c.format);
    EXPECT_EQ(candidate->sparsity, c.sparsity);
    EXPECT_EQ(candidate->pattern(), c.pattern);
    EXPECT_EQ(candidate->text(), c.canonical);
  }
}

TEST(Candidate, WhatCannotBeIsRefused) {
  for (const auto& [text, piece] : {std::pair{"int4:g32@half", "no sparsity"},
                                    {"int4:g32@1.5", "from 0 to 0.95"},
                                    {"sparse24:int8:row@0.3", "pattern 2:4 has a sparsity of 0.5"},
                                    {"sparse48:int8:row@0", "4:8"},
                                    {"sparse:q4_k@0.5", "sparse"},
                                    {"int5:g32", "int5"}}) {
    const auto candidate = parse_candidate(text);
    ASSERT_FALSE(candidate.ok()) << text;
    EXPECT_THAT(candidate.error().message + candidate.error().hint, testing::HasSubstr(piece));
  }
}

TEST(Candidate, DefaultsAreThereOnceAndPruneForSparseLayouts) {
  const std::vector<Candidate> defaults = default_candidates();
  for (size_t i = 0; i < defaults.size(); ++i) {
    EXPECT_EQ(*parse_candidate(defaults[i].text()), defaults[i]);
    EXPECT_EQ(std::find(defaults.begin(), defaults.end(), defaults[i]) - defaults.begin(),
              static_cast<int64_t>(i));
    EXPECT_EQ(defaults[i].sparsity, defaults[i].format.starts_with("sparse") ? 0.5 : 0);
  }
  EXPECT_NE(std::find(defaults.begin(), defaults.end(), Candidate{"sparse:int4:g64", 0.5}),
            defaults.end());
}

}  // namespace
}  // namespace lathe
