#include "lathe/eval/metrics/ter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>
#include <vector>

#include "lathe/base/check.h"
#include "lathe/eval/metrics/python_text.h"

namespace lathe {
namespace {

// Tercom's own limits, which are part of the score's definition.
constexpr int64_t kMaxShiftSize = 10, kMaxShiftDistance = 50, kBeamWidth = 25;
constexpr int64_t kMaxCandidates = 1000;

using Words = std::vector<int>;

// Words as numbers, equal where the texts are.
class Vocabulary {
 public:
  Words words(std::string_view text) {
    const std::u32string lower = python_lower(python_rstrip(decode_utf8(text)));
    Words out;
    for (const std::u32string_view word : python_split(lower)) {
      out.push_back(ids_.emplace(word, static_cast<int>(ids_.size())).first->second);
    }
    return out;
  }

 private:
  std::map<std::u32string, int> ids_;
};

// How the candidate's words become the reference's. kInsert: a word of the reference that the
// candidate lacks.
enum class Edit : uint8_t { kNone, kKeep, kSubstitute, kInsert, kDelete };

struct Cell {
  int64_t cost;
  Edit edit;
};

// Edit distance to one reference within a beam around the diagonal. Rows are kept, since the
// candidates of one search differ from its base only behind some word.
class EditDistance {
 public:
  EditDistance(const Words& reference, size_t length) : reference_(reference), length_(length) {
    rows_.assign(length + 1, std::vector<Cell>(reference.size() + 1, kFar));
    for (size_t j = 0; j <= reference.size(); ++j) {
      rows_[0][j] = {static_cast<int64_t>(j), Edit::kInsert};
    }
    ratio_ = length > 0 ? static_cast<double>(reference.size()) / static_cast<double>(length) : 1;
    beam_ = kBeamWidth < ratio_ / 2 ? static_cast<int64_t>(std::ceil(ratio_ / 2 + kBeamWidth))
                                    : kBeamWidth;
  }

  // `words` always has the length that was given.
  int64_t of(const Words& words) {
    size_t same = 0;
    while (same < known_.size() && known_[same] == words[same]) ++same;
    known_ = words;
    for (size_t i = same + 1; i <= length_; ++i) fill(i, words[i - 1]);
    return rows_[length_][reference_.size()].cost;
  }

  // The edits of the last of(), in order.
  std::vector<Edit> trace() const {
    std::vector<Edit> out;
    for (size_t i = length_, j = reference_.size(); i > 0 || j > 0;) {
      const Edit edit = rows_[i][j].edit;
      LATHE_CHECK(edit != Edit::kNone);
      out.push_back(edit);
      if (edit != Edit::kInsert) --i;
      if (edit != Edit::kDelete) --j;
    }
    std::ranges::reverse(out);
    return out;
  }

 private:
  static constexpr Cell kFar{std::numeric_limits<int64_t>::max() / 2, Edit::kNone};

  void fill(size_t i, int word) {
    std::vector<Cell>& row = rows_[i];
    const std::vector<Cell>& above = rows_[i - 1];
    std::ranges::fill(row, kFar);
    const auto columns = static_cast<int64_t>(reference_.size()) + 1;
    const auto diagonal = static_cast<int64_t>(std::floor(static_cast<double>(i) * ratio_));
    const int64_t first = std::max<int64_t>(0, diagonal - beam_);
    const int64_t last = i == length_ ? columns : std::min(columns, diagonal + beam_);
    for (int64_t column = first; column < last; ++column) {
      const auto j = static_cast<size_t>(column);
      if (j == 0) {
        row[0] = {above[0].cost + 1, Edit::kDelete};
        continue;
      }
      const bool same = word == reference_[j - 1];
      // Earlier ones win ties.
      Cell best = {above[j - 1].cost + (same ? 0 : 1), same ? Edit::kKeep : Edit::kSubstitute};
      if (above[j].cost + 1 < best.cost) best = {above[j].cost + 1, Edit::kDelete};
      if (row[j - 1].cost + 1 < best.cost) best = {row[j - 1].cost + 1, Edit::kInsert};
      if (best.cost < kFar.cost) row[j] = best;
    }
  }

  const Words& reference_;
  size_t length_;
  double ratio_;
  int64_t beam_;
  Words known_;
  std::vector<std::vector<Cell>> rows_;
};

struct Alignment {
  std::vector<int64_t> of_reference;  // the candidate's position at, or before, each reference word
  std::vector<bool> reference_error, candidate_error;
};

Alignment align(const std::vector<Edit>& trace) {
  Alignment out;
  int64_t candidate = -1;
  for (const Edit edit : trace) {
    if (edit != Edit::kInsert) ++candidate;
    const bool error = edit != Edit::kKeep;
    if (edit != Edit::kInsert) out.candidate_error.push_back(error);
    if (edit != Edit::kDelete) {
      out.of_reference.push_back(candidate);
      out.reference_error.push_back(error);
    }
  }
  return out;
}

bool any(const std::vector<bool>& errors, size_t start, size_t length) {
  const auto begin = errors.begin() + static_cast<std::ptrdiff_t>(start);
  return std::find(begin, begin + static_cast<std::ptrdiff_t>(length), true) !=
         begin + static_cast<std::ptrdiff_t>(length);
}

// words[start, start + length) moved to before position `target` (as counted before the move;
// targets inside of the run count behind it).
Words shifted(const Words& words, size_t start, size_t length, size_t target) {
  Words out(words);
  const auto at = [&](size_t i) { return out.begin() + static_cast<std::ptrdiff_t>(i); };
  if (target < start) {
    std::rotate(at(target), at(start), at(start + length));
  } else if (target > start + length) {
    std::rotate(at(start), at(start + length), at(target));
  } else {
    std::rotate(at(start), at(start + length), at(std::min(words.size(), length + target)));
  }
  return out;
}

// One search over all shifts of a run that occurs in both texts.
class ShiftSearch {
 public:
  ShiftSearch(const Words& words, const Words& reference, EditDistance& distance)
      : words_(words), reference_(reference), distance_(distance) {
    before_ = distance.of(words);
    alignment_ = align(distance.trace());
  }

  // The best shift's gain and result. `checked` counts candidates over all searches of a segment.
  std::pair<int64_t, Words> best(int64_t& checked) {
    for (size_t start = 0; start < words_.size(); ++start) {
      for (size_t at = 0; at < reference_.size(); ++at) {
        const int64_t distance = std::abs(static_cast<int64_t>(at) - static_cast<int64_t>(start));
        if (distance > kMaxShiftDistance) continue;
        for (size_t length = 1; length <= kMaxShiftSize; ++length) {
          if (start + length > words_.size() || at + length > reference_.size() ||
              words_[start + length - 1] != reference_[at + length - 1]) {
            break;
          }
          if (try_run(start, at, length, checked) && checked >= kMaxCandidates) return result();
        }
      }
    }
    return result();
  }

 private:
  // False where the run needs no shift.
  bool try_run(size_t start, size_t at, size_t length, int64_t& checked) {
    if (!any(alignment_.candidate_error, start, length)) return false;
    if (!any(alignment_.reference_error, at, length)) return false;
    const int64_t aligned = alignment_.of_reference[at];
    if (static_cast<int64_t>(start) <= aligned && aligned < static_cast<int64_t>(start + length)) {
      return false;
    }
    int64_t previous = -1;
    for (size_t offset = 0; offset <= length; ++offset) {  // the reference word before, then each
      int64_t target = 0;
      if (at + offset > 0) {
        const size_t word = at + offset - 1;
        if (word >= alignment_.of_reference.size()) break;
        target = alignment_.of_reference[word] + 1;
      }
      if (target == previous) continue;
      previous = target;
      Words candidate = shifted(words_, start, length, static_cast<size_t>(target));
      const int64_t gain = before_ - distance_.of(candidate);
      ++checked;
      // The largest gain; then the longest run, the earliest, the earliest target.
      const auto key = std::make_tuple(gain, static_cast<int64_t>(length),
                                       -static_cast<int64_t>(start), -target);
      if (!found_ || key > key_) {
        found_ = true;
        key_ = key;
        best_ = std::move(candidate);
      }
    }
    return true;
  }

  std::pair<int64_t, Words> result() {
    if (!found_) return {0, words_};
    return {std::get<0>(key_), std::move(best_)};
  }

  const Words& words_;
  const Words& reference_;
  EditDistance& distance_;
  int64_t before_ = 0;
  Alignment alignment_;
  bool found_ = false;
  std::tuple<int64_t, int64_t, int64_t, int64_t> key_;
  Words best_;
};

int64_t edits_between(Words words, const Words& reference) {
  if (reference.empty()) return std::ssize(words);
  EditDistance distance(reference, words.size());
  int64_t shifts = 0, checked = 0;
  while (true) {
    auto [gain, better] = ShiftSearch(words, reference, distance).best(checked);
    if (checked >= kMaxCandidates || gain <= 0) break;
    ++shifts;
    words = std::move(better);
  }
  return shifts + distance.of(words);
}

}  // namespace

TerStats ter_stats(std::string_view candidate, std::span<const std::string> references) {
  LATHE_CHECK(!references.empty());
  Vocabulary vocabulary;
  const Words words = vocabulary.words(candidate);
  TerStats stats{std::numeric_limits<int64_t>::max(), 0};
  for (const std::string& reference : references) {
    const Words theirs = vocabulary.words(reference);
    stats.edits = std::min(stats.edits, edits_between(words, theirs));
    stats.reference_length += static_cast<double>(theirs.size());
  }
  stats.reference_length /= static_cast<double>(references.size());
  return stats;
}

double ter_score(double edits, double reference_length) {
  if (reference_length > 0) return 100 * (edits / reference_length);
  return edits > 0 ? 100 : 0;
}

}  // namespace lathe
