// Perplexity in the four conventions of metrics/perplexity.h. A sample is a window, or in the
// lm-eval convention a document.
#include <cmath>

#include "lathe/base/hash.h"
#include "lathe/base/suggest.h"
#include "lathe/eval/data/dataset.h"
#include "lathe/eval/data/text_file.h"
#include "lathe/eval/metrics/perplexity.h"
#include "lathe/eval/preflight.h"
#include "lathe/eval/tasks/list.h"
#include "lathe/eval/tasks/window_loss.h"

namespace lathe {
namespace {

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1);
    lines.push_back(text.substr(begin, end + 1 - begin));
    begin = end + 1;
  }
  return lines;
}

bool blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == std::string_view::npos;
}

// The rows of the published data set (a line with its newline, or nothing for a blank one) joined
// by
// "\n\n", which is what the GPTQ code base and all after it tokenize.
std::string join_rows(std::string_view text) {
  std::string out;
  for (const std::string_view line : lines_of(text)) {
    if (!out.empty() || line.data() != text.data()) out += "\n\n";
    if (!blank(line)) out += line;
  }
  return out;
}

Result<std::vector<std::string>> split_documents(const std::string& text, const std::string& how,
                                                 const std::string& path) {
  std::vector<std::string> out;
  if (how == "file") return std::vector<std::string>{text};
  if (how == "jsonl") {
    int64_t number = 0;
    for (const std::string_view line : lines_of(text)) {
      ++number;
      if (blank(line)) continue;
      const auto json = nlohmann::json::parse(line, nullptr, false);
      if (!json.is_object() || !json.contains("text") || !json["text"].is_string()) {
        return bad_input("{}:{}: not an object with a 'text'", path, number);
      }
      out.push_back(json["text"].get<std::string>());
    }
    return out;
  }
  // "blank_lines": a blank line ends a document. "wikitext": a title line (" = Title = ") begins
  // one.
  std::string current;
  for (const std::string_view line : lines_of(text)) {
    const bool title = line.starts_with(" = ") && !line.starts_with(" = = ");
    const bool ends = how == "blank_lines" ? blank(line) : title;
    if (ends) {
      if (!blank(current)) out.push_back(std::move(current));
      current.clear();
    }
    if (how == "wikitext" || !ends) current += line;
  }
  if (!blank(current)) out.push_back(std::move(current));
  return out;
}

// The beginning of `text` that is at most `tokens` tokens long, cut before white space. The cut is
// searched for by its share of the text, since only the tokenizer can tell how long a beginning is.
std::string beginning(const Tokenizer& tokenizer, std::string text, int64_t tokens) {
  const EncodeOptions bare = {.add_special = false, .parse_special = false};
  for (;;) {
    const int64_t length = std::ssize(tokenizer.encode(text, bare));
    if (length <= tokens) return text;
    const double share = static_cast<double>(tokens) / static_cast<double>(length);
    const auto most = static_cast<size_t>(share * static_cast<double>(text.size()));
    const size_t cut = text.find_last_of(" \n", most);
    // A text without a place to cut stays whole.
    if (cut == std::string::npos || blank(std::string_view(text).substr(0, cut))) return text;
    text.resize(cut);
  }
}

class PerplexityTask : public Task {
 public:
  explicit PerplexityTask(nlohmann::json parameters) : parameters_(std::move(parameters)) {}

  std::string name() const override { return "perplexity"; }
  nlohmann::json parameters() const override { return parameters_; }
  nlohmann::json preflight() const override { return preflight_; }
  int64_t sample_count() const override { return static_cast<int64_t>(items_.size()); }
  std::vector<std::string> input_files() const override {
    const auto path = find_dataset(parameters_["data"].get<std::string>(), "perplexity");
    return path.ok() ? std::vector{*path} : std::vector<std::string>();
  }

  nlohmann::json extra() const override {
    nlohmann::json j = {{"convention", parameters_["convention"]}};
    if (!per_document()) j["window"] = parameters_["window"];
    if (parameters_["convention"] == "hf-stride") j["stride"] = parameters_["stride"];
    return j;
  }

  std::vector<MetricDef> metrics() const override {
    using Kind = MetricDef::Kind;
    // A tenth of a percent of perplexity is below what any published table prints.
    constexpr double kMargin = 0.001;
    if (!per_document())
      return {{"ppl", Kind::kExpRatio, "nll", "tokens", 1, "", "lower", kMargin}};
    return {{"word_ppl", Kind::kExpRatio, "nll", "words", 1, "", "lower", kMargin},
            {"ppl", Kind::kExpRatio, "nll", "tokens", 1, "", "lower", kMargin},
            {"bits_per_byte", Kind::kRatio, "nll", "bytes", 1 / std::log(2.0), "bits", "lower",
             0.0005}};
  }

  Status prepare(const Engine& engine) override {
    LATHE_TRY(plan_.convention,
              parse_perplexity_convention(parameters_["convention"].get<std::string>()));
    plan_.window = parameters_["window"].get<int64_t>();
    plan_.stride = parameters_["stride"].get<int64_t>();
    plan_.add_bos = engine.tokenizer->adds_bos();
    const int64_t needed = plan_.window;
    if (needed > engine.model->context) {
      return bad_input("task 'perplexity': a window of {} does not fit the context of {}", needed,
                       engine.model->context)
          .with_hint(
              fmt::format("use 'window: {}', or --context {}", engine.model->context, needed));
    }
    LATHE_OK(read_texts(*engine.tokenizer));
    items_.clear();
    tokens_.clear();
    for (size_t t = 0; t < texts_.size(); ++t) LATHE_OK(add_windows(engine, t));
    const auto limit = parameters_["limit"].get<int64_t>();
    if (limit > 0 && limit < sample_count()) items_.resize(static_cast<size_t>(limit));
    write_preflight(engine);
    return {};
  }

  Status run(const Engine& engine, const std::set<std::string>& done,
             const SampleSink& sink) override {
    for (const Item& item : items_) {
      if (done.count(item.id)) continue;
      LossTotals totals;
      double numerator = 0;
      for (const TokenWindow& window : item.windows) {
        LATHE_TRY(const double loss, window_loss(engine, tokens_[item.text], window));
        numerator += totals.add(window, loss);
      }
      Sample sample;
      sample.id = item.id;
      sample.scores = {{"nll", numerator}, {"tokens", item.weight}};
      if (per_document()) {
        sample.scores["words"] = static_cast<double>(lm_eval_word_count(texts_[item.text]));
        sample.scores["bytes"] = static_cast<double>(texts_[item.text].size());
      }
      LATHE_OK(sink(std::move(sample)));
    }
    return {};
  }

 private:
  struct Item {
    std::string id;
    size_t text;
    std::vector<TokenWindow> windows;
    double weight = 0;
  };

  bool per_document() const { return parameters_["convention"] == "lm-eval"; }

  Status read_texts(const Tokenizer& tokenizer) {
    LATHE_TRY(path_, find_dataset(parameters_["data"].get<std::string>(), "perplexity"));
    LATHE_TRY(std::string text, read_utf8(path_));
    if (blank(text)) return bad_input("{}: holds no text", path_);
    const auto documents = parameters_["documents"].get<std::string>();
    const std::vector<std::string> ways = {"file", "jsonl", "blank_lines", "wikitext"};
    if (std::find(ways.begin(), ways.end(), documents) == ways.end()) {
      return bad_input("task 'perplexity': 'documents' is '{}'", documents)
          .with_hint(suggest(documents, ways));
    }
    if (per_document()) {
      LATHE_TRY(texts_, split_documents(text, documents, path_));
      // A file that is one document is cut itself: its windows share the counts of words and bytes.
      const auto limit = parameters_["limit"].get<int64_t>();
      if (documents == "file" && limit > 0) {
        texts_[0] = beginning(tokenizer, std::move(texts_[0]), limit * plan_.window);
      }
      return {};
    }
    if (documents != "file") {
      return bad_input("task 'perplexity': 'documents' is only for the lm-eval convention");
    }
    texts_ = {plan_.convention == PerplexityConvention::kPapers ? join_rows(text)
                                                                : std::move(text)};
    return {};
  }

  Status add_windows(const Engine& engine, size_t t) {
    // Only lm-eval's documents are tokenized bare: their prefix token is added per window.
    const EncodeOptions options = {.add_special = !per_document(), .parse_special = false};
    tokens_.push_back(engine.tokenizer->encode(texts_[t], options));
    LATHE_TRY_IN(const auto windows, plan_windows(static_cast<int64_t>(tokens_[t].size()), plan_),
                 path_);
    if (per_document()) {
      Item item{std::to_string(t), t, windows, 0};
      for (const TokenWindow& w : windows) item.weight += static_cast<double>(w.weight);
      if (!windows.empty()) items_.push_back(std::move(item));
      return {};
    }
    for (const TokenWindow& w : windows) {
      items_.push_back({std::to_string(items_.size()), t, {w}, static_cast<double>(w.weight)});
    }
    return {};
  }

  void write_preflight(const Engine& engine) {
    int64_t count = 0;
    for (const auto& t : tokens_) count += static_cast<int64_t>(t.size());
    Preflight preflight(engine, false);
    preflight.set("data", path_);
    preflight.set("text_hash", sha256_hex(texts_[0]));
    preflight.set("tokens", count);
    preflight.set("samples", sample_count());
    preflight_ = preflight.report();
  }

  nlohmann::json parameters_, preflight_;
  PerplexityPlan plan_;
  std::string path_;
  std::vector<std::string> texts_;
  std::vector<std::vector<TokenId>> tokens_;
  std::vector<Item> items_;
};

}  // namespace

TaskKind perplexity_task() {
  return {"perplexity",
          "perplexity in the conventions papers, hf-stride, llama.cpp and lm-eval",
          {{"data", "bundled"},
           {"convention", "llama.cpp"},
           {"window", 512},
           {"stride", 256},
           {"documents", "file"},
           {"limit", 0}},
          [](nlohmann::json p) -> std::unique_ptr<Task> {
            return std::make_unique<PerplexityTask>(std::move(p));
          }};
}

}  // namespace lathe
