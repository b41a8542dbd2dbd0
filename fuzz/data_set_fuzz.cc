// Evaluation data: SQuAD v2's JSON and GSM8K's lines. What parses has ids that come once, and
// no more of it than was asked for.

// Links: lathe_eval

#include <set>

#include "fuzz_support.h"
#include "lathe/base/check.h"
#include "lathe/eval/data/dataset.h"

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = fuzz_text(data, size);
  for (const int64_t limit : {0, 1}) {
    const auto squad = parse_squad(text, "fuzz.json", limit);
    const auto sums = parse_gsm8k(text, "fuzz.jsonl", limit);
    LATHE_CHECK(squad.ok() || !squad.error().message.empty());
    LATHE_CHECK(sums.ok() || !sums.error().message.empty());
    std::set<std::string> ids;
    if (squad.ok()) {
      for (const SquadQuestion& q : *squad) LATHE_CHECK(ids.insert(q.id).second);
      LATHE_CHECK(!ids.empty() && (limit == 0 || ids.size() == 1));
    }
    ids.clear();
    if (sums.ok()) {
      for (const Gsm8kProblem& p : *sums) LATHE_CHECK(ids.insert(p.id).second);
      LATHE_CHECK(!ids.empty() && (limit == 0 || ids.size() == 1));
    }
  }
  return 0;
}
