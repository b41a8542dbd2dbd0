// How much of a test has been seen in calibration: shared runs of thirteen words.
//
// Words as in Brown et al. 2020, "Language Models are Few-Shot Learners", appendix C: lower-cased,
// split at white space, punctuation stripped from both ends. There, a document that shares one
// 13-gram with the training text counts as seen; here, the share of the test's own 13-grams counts.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

constexpr int64_t kOverlapWords = 13;
// From this share on, in percent, the preflight warns. Stock phrases of a language stay below.
constexpr double kOverlapWarns = 1;

class Overlap {
 public:
  // `calibration`: a file as the recipe names it.
  static Result<Overlap> with(const std::string& calibration);
  explicit Overlap(std::string_view calibration_text);

  // The files that a test is made from: of JSON and JSONL all texts, each on its own; of others the
  // whole. Gives {"ngrams": distinct 13-grams, "shared": those that calibration has, "percent"};
  // "percent" is null where no text has thirteen words.
  Result<nlohmann::json> of_files(const std::vector<std::string>& files) const;
  nlohmann::json of_texts(const std::vector<std::string>& texts) const;

 private:
  std::unordered_set<uint64_t> seen_;
};

// Puts what of_files() gave into a task's preflight, with a warning from kOverlapWarns on.
void add_overlap(const nlohmann::json& overlap, nlohmann::json& preflight);

}  // namespace lathe
