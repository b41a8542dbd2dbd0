// ROUGE (Lin 2004) as Google's rouge-score computes it, equal in every digit: tokens are runs of
// a-z and 0-9 of the lower-cased text. Scores in [0, 1]; report the plain mean of F-measures.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lathe {

struct RougeScore {
  double precision = 0, recall = 0, f1 = 0;
};

struct RougeOptions {
  // Porter's, for tokens longer than three letters. Off in rouge-score by default.
  bool stemmer = false;
};

struct RougeScores {
  RougeScore rouge1, rouge2, rouge_l;
  // Union of longest common subsequences over sentences, which are the lines of the texts.
  RougeScore rouge_lsum;
};

std::vector<std::string> rouge_tokens(std::string_view text, RougeOptions options = {});

// n ≥ 1: overlap of n-grams as multisets.
RougeScore rouge_n(std::span<const std::string> reference, std::span<const std::string> candidate,
                   int n);
RougeScore rouge_l(std::span<const std::string> reference, std::span<const std::string> candidate);
RougeScore rouge_lsum(std::string_view reference, std::string_view candidate,
                      RougeOptions options = {});

RougeScores rouge(std::string_view reference, std::string_view candidate,
                  RougeOptions options = {});

// Several references: for each measure the first one with the highest F-measure. Not empty.
RougeScores rouge_best(std::span<const std::string> references, std::string_view candidate,
                       RougeOptions options = {});

}  // namespace lathe
