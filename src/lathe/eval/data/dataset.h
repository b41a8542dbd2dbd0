// Evaluation data by name or path.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lathe/base/result.h"

namespace lathe {

// `name` is "bundled" (the held-out sets beside the bundled model), the name of a standard set
// ("wikitext2", "squad_v2", "gsm8k") looked for under LATHE_DATA, a path, or a data set of the hub
// (hub_data.h). `task`: which bundled file.
Result<std::string> find_dataset(const std::string& name, const std::string& task);

struct SquadQuestion {
  std::string id, context, question;
  std::vector<std::string> answers;  // empty: unanswerable
};
// SQuAD v2's own JSON. At most `limit` questions, 0: all; ids that come twice are refused.
Result<std::vector<SquadQuestion>> read_squad(const std::string& path, int64_t limit);
// The same from a text; `where` names it in errors.
Result<std::vector<SquadQuestion>> parse_squad(std::string_view text, const std::string& where,
                                               int64_t limit);

struct Gsm8kProblem {
  std::string id, question, answer;
};
// One {"question", "answer"} a line.
Result<std::vector<Gsm8kProblem>> read_gsm8k(const std::string& path, int64_t limit);
Result<std::vector<Gsm8kProblem>> parse_gsm8k(std::string_view text, const std::string& where,
                                              int64_t limit);

}  // namespace lathe
