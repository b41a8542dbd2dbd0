// GSM8K: the final number of a worked sum, by lm-evaluation-harness's rules (task gsm8k, version 3;
// gsm8k_cot for the chain-of-thought prompt). Extraction uses its regular expressions, comparison
// its normalization; both proven equal to Python's re in tests/eval/metric_gsm8k_test.cc.
#pragma once

#include <string>
#include <string_view>

namespace lathe {

// What extraction gives where nothing matches; it equals no gold answer.
inline constexpr std::string_view kGsm8kInvalid = "[invalid]";

enum class Gsm8kExtraction {
  kStrict,     // first match of   #### (\-?[0-9\.\,]+)
  kFlexible,   // last match of    (-?[$0-9.,]{2,})|(-?[0-9]+)
  kStrictCot,  // first match of   The answer is (\-?[0-9\.\,]+).
};

// The matched number as written in `generation`, or kGsm8kInvalid. As in Python, the "." of
// kStrictCot stands for any character except a newline, and may take the last one of the number.
std::string gsm8k_extract(std::string_view generation, Gsm8kExtraction how);

// Removes "," and "$", everything up to the last "#### ", one "." at the end (or before a final
// newline), and lowers the case.
std::string gsm8k_normalize(std::string_view text);

// `gold` is the data set's whole answer field ("… #### 72"), or the number alone.
bool gsm8k_match(std::string_view gold, std::string_view generation, Gsm8kExtraction how);

// The gold number of an answer field: what stands after its last "#### ", normalized.
std::string gsm8k_gold(std::string_view answer);

}  // namespace lathe
