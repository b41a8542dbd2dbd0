#include <algorithm>

#include "lathe/base/suggest.h"
#include "lathe/eval/coherence.h"
#include "lathe/eval/data/fields.h"
#include "lathe/eval/data/pattern.h"
#include "lathe/eval/data/text_metric.h"
#include "lathe/eval/metrics/bleu.h"
#include "lathe/eval/metrics/chrf.h"
#include "lathe/eval/metrics/python_text.h"
#include "lathe/eval/metrics/rouge.h"
#include "lathe/eval/metrics/squad.h"
#include "lathe/eval/metrics/ter.h"
#include "lathe/eval/metrics/text_statistics.h"

namespace lathe {
namespace {

using Kind = MetricDef::Kind;
using Json = nlohmann::ordered_json;
using References = std::span<const std::string>;
using Scores = std::map<std::string, double>;
using Columns = std::vector<std::vector<double>>;

MetricDef percent(const std::string& name) {
  return {name, Kind::kMean, name, "", 100, "%", "higher"};
}

// Sums of the chosen rows, a column each.
std::vector<double> sums(const Columns& columns, std::span<const int64_t> rows) {
  std::vector<double> out(columns.size());
  for (size_t f = 0; f < columns.size(); ++f) {
    for (const int64_t r : rows) out[f] += columns[f][static_cast<size_t>(r)];
  }
  return out;
}

// What lm-evaluation-harness's exact_match does to both sides before it compares them.
struct Normalizer {
  std::vector<Pattern> removed;
  bool ignore_case = false, ignore_punctuation = false;

  std::string operator()(std::string text) const {
    for (const Pattern& pattern : removed) text = pattern.remove(text);
    if (!ignore_case && !ignore_punctuation) return text;
    std::u32string decoded = decode_utf8(text);
    if (ignore_case) decoded = python_lower(decoded);
    if (ignore_punctuation) std::erase_if(decoded, is_ascii_punctuation);
    return encode_utf8(decoded);
  }
};

Result<TextMetric> exact_match(const std::string& name, const Json& options) {
  Fields fields(options, "exact_match");
  auto normalize = std::make_shared<Normalizer>();
  LATHE_TRY(normalize->ignore_case, fields.boolean("ignore_case", false));
  LATHE_TRY(normalize->ignore_punctuation, fields.boolean("ignore_punctuation", false));
  LATHE_TRY(const auto patterns, fields.texts("ignore"));
  for (const std::string& source : patterns) {
    LATHE_TRY(Pattern pattern, Pattern::compile(source));
    normalize->removed.push_back(std::move(pattern));
  }
  LATHE_OK(fields.finish());
  TextMetric metric;
  metric.score = [name, normalize](References golds, const std::string& text, Scores& scores) {
    const std::string ours = (*normalize)(text);
    scores[name] = std::any_of(golds.begin(), golds.end(),
                               [&](const std::string& g) { return (*normalize)(g) == ours; });
  };
  metric.rows = {percent(name)};
  return metric;
}

Result<TextMetric> token_f1(const std::string& name, const Json& options) {
  LATHE_OK(Fields(options, "f1").finish());
  TextMetric metric;
  metric.score = [name](References golds, const std::string& text, Scores& scores) {
    scores[name] = squad_score(golds, text).f1;
  };
  metric.rows = {percent(name)};
  return metric;
}

Result<TextMetric> rouge_metric(const std::string&, const Json& options) {
  Fields fields(options, "rouge");
  RougeOptions how;
  LATHE_TRY(how.stemmer, fields.boolean("stemmer", false));
  LATHE_OK(fields.finish());
  TextMetric metric;
  metric.score = [how](References golds, const std::string& text, Scores& scores) {
    const RougeScores s = rouge_best(golds, text, how);
    scores["rouge1"] = s.rouge1.f1;
    scores["rouge2"] = s.rouge2.f1;
    scores["rougeL"] = s.rouge_l.f1;
    scores["rougeLsum"] = s.rouge_lsum.f1;
  };
  for (const char* row : {"rouge1", "rouge2", "rougeL", "rougeLsum"}) {
    metric.rows.push_back(percent(row));
  }
  return metric;
}

Result<TextMetric> bleu_metric(const std::string& name, const Json& options) {
  LATHE_OK(Fields(options, "bleu").finish());
  std::vector<std::string> fields = {name + ":words", name + ":reference_words"};
  for (int n = 1; n <= kBleuOrder; ++n) {
    fields.push_back(fmt::format("{}:matches{}", name, n));
    fields.push_back(fmt::format("{}:ngrams{}", name, n));
  }
  TextMetric metric;
  metric.score = [fields](References golds, const std::string& text, Scores& scores) {
    const BleuStats s = bleu_stats(text, golds);
    scores[fields[0]] = static_cast<double>(s.candidate_length);
    scores[fields[1]] = static_cast<double>(s.reference_length);
    for (size_t n = 0; n < kBleuOrder; ++n) {
      scores[fields[2 + 2 * n]] = static_cast<double>(s.matches[n]);
      scores[fields[3 + 2 * n]] = static_cast<double>(s.totals[n]);
    }
  };
  MetricDef row{name, Kind::kCorpus, "", "", 1, "", "higher"};
  row.fields = fields;
  row.corpus = [](const Columns& columns, std::span<const int64_t> rows) {
    const auto total = sums(columns, rows);
    BleuStats s;
    s.candidate_length = static_cast<int64_t>(total[0]);
    s.reference_length = static_cast<int64_t>(total[1]);
    for (size_t n = 0; n < kBleuOrder; ++n) {
      s.matches[n] = static_cast<int64_t>(total[2 + 2 * n]);
      s.totals[n] = static_cast<int64_t>(total[3 + 2 * n]);
    }
    return bleu_score(s).bleu;
  };
  row.extra["signature"] = "case:mixed|eff:no|tok:13a|smooth:exp";
  metric.rows = {std::move(row)};
  return metric;
}

Result<TextMetric> chrf_family(const std::string& name, const Json& options, int word_order) {
  LATHE_OK(Fields(options, name).finish());
  const ChrfOptions how{.word_order = word_order};
  std::vector<std::string> fields;
  for (int order = 0; order < how.char_order + how.word_order; ++order) {
    for (const char* count : {"candidate", "reference", "matches"}) {
      fields.push_back(fmt::format("{}:{}{}", name, count, order + 1));
    }
  }
  TextMetric metric;
  metric.score = [fields, how](References golds, const std::string& text, Scores& scores) {
    const ChrfStats s = chrf_stats(text, golds, how);
    for (size_t i = 0; i < s.orders.size(); ++i) {
      scores[fields[3 * i]] = static_cast<double>(s.orders[i].candidate);
      scores[fields[3 * i + 1]] = static_cast<double>(s.orders[i].reference);
      scores[fields[3 * i + 2]] = static_cast<double>(s.orders[i].matches);
    }
  };
  MetricDef row{name, Kind::kCorpus, "", "", 1, "", "higher"};
  row.fields = fields;
  row.corpus = [how](const Columns& columns, std::span<const int64_t> rows) {
    const auto total = sums(columns, rows);
    ChrfStats s;
    for (size_t i = 0; i < total.size(); i += 3) {
      s.orders.push_back({static_cast<int64_t>(total[i]), static_cast<int64_t>(total[i + 1]),
                          static_cast<int64_t>(total[i + 2])});
    }
    return chrf_score(s, how);
  };
  row.extra["signature"] = fmt::format("case:mixed|eff:yes|nc:6|nw:{}|space:no", word_order);
  metric.rows = {std::move(row)};
  return metric;
}

Result<TextMetric> chrf_metric(const std::string& name, const Json& options) {
  return chrf_family(name, options, 0);
}
Result<TextMetric> chrf_plus_plus(const std::string& name, const Json& options) {
  return chrf_family(name, options, 2);
}

Result<TextMetric> ter_metric(const std::string& name, const Json& options) {
  LATHE_OK(Fields(options, "ter").finish());
  TextMetric metric;
  metric.score = [name](References golds, const std::string& text, Scores& scores) {
    const TerStats s = ter_stats(text, golds);
    scores[name + ":edits"] = static_cast<double>(s.edits);
    scores[name + ":reference_words"] = s.reference_length;
  };
  MetricDef row{name, Kind::kCorpus, "", "", 1, "%", "lower"};
  row.fields = {name + ":edits", name + ":reference_words"};
  row.corpus = [](const Columns& columns, std::span<const int64_t> rows) {
    const auto total = sums(columns, rows);
    return ter_score(total[0], total[1]);
  };
  row.extra["signature"] = "case:lc|tok:tercom|norm:no|punct:yes|asian:no";
  metric.rows = {std::move(row)};
  return metric;
}

Result<TextMetric> statistics_metric(const std::string&, const Json& options) {
  LATHE_OK(Fields(options, "text_statistics").finish());
  TextMetric metric;
  metric.score = [](References, const std::string& text, Scores& scores) {
    const TextStatistics s = text_statistics(text);
    scores["distinct_1"] = s.distinct_1;
    scores["distinct_2"] = s.distinct_2;
    scores["repeated_4"] = s.repeated_4;
    scores["word_entropy"] = s.entropy;
    scores["length_words"] = static_cast<double>(s.words);
  };
  // How varied a good text is depends on the task: only repetition has a bad direction.
  metric.rows = {{"distinct_1", Kind::kMean, "distinct_1", "", 100, "%", ""},
                 {"distinct_2", Kind::kMean, "distinct_2", "", 100, "%", ""},
                 {"repeated_4", Kind::kMean, "repeated_4", "", 100, "%", "lower"},
                 {"word_entropy", Kind::kMean, "word_entropy", "", 1, "bits", ""},
                 {"length_words", Kind::kMean, "length_words", "", 1, "words", ""}};
  return metric;
}

Result<TextMetric> coherence_metric(const std::string& name, const Json& options) {
  Fields fields(options, "coherence");
  TextMetric metric;
  LATHE_TRY(metric.encoder, fields.text("encoder", "auto"));
  LATHE_OK(fields.finish());
  if (metric.encoder.empty()) return bad_input("coherence: 'encoder' is empty");
  metric.rows = {coherence_row(name)};
  return metric;
}

}  // namespace

const std::vector<TextMetricKind>& text_metric_kinds() {
  static const std::vector<TextMetricKind> kinds = {
      {"exact_match", "equal to a reference; ignore_case, ignore_punctuation, ignore: patterns",
       exact_match},
      {"f1", "SQuAD's token F1, the best over the references", token_f1},
      {"rouge", "rouge1, rouge2, rougeL, rougeLsum as rouge-score; stemmer", rouge_metric},
      {"bleu", "as sacreBLEU", bleu_metric},
      {"chrf", "as sacreBLEU", chrf_metric},
      {"chrf++", "as sacreBLEU with word order 2", chrf_plus_plus},
      {"ter", "translation edit rate as sacreBLEU", ter_metric},
      {"coherence", "cosine of prompt and answer by a sentence encoder; encoder", coherence_metric},
      {"text_statistics", "distinct and repeated n-grams, entropy, length", statistics_metric},
  };
  return kinds;
}

Result<TextMetric> make_text_metric(const std::string& kind, const std::string& name,
                                    const nlohmann::ordered_json& options) {
  std::vector<std::string> names;
  for (const TextMetricKind& k : text_metric_kinds()) {
    names.push_back(k.name);
    if (k.name != kind) continue;
    LATHE_TRY(TextMetric metric, k.create(name.empty() ? kind : name, options));
    if (!name.empty() && metric.rows.size() > 1) {
      return bad_input("metric '{}' gives several rows and takes no 'name'", kind);
    }
    return metric;
  }
  return bad_input("unknown metric '{}'", kind).with_hint(suggest(kind, names));
}

}  // namespace lathe
