// The perplexity task in every convention at once, and against a baseline.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "eval/metric_golden.h"
#include "lathe/eval/divergence.h"
#include "lathe/eval/match.h"
#include "lathe/eval/metrics/statistics.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

const std::string kRandomModel = std::string(LATHE_SOURCE_DIR) + "/tests/golden/eval/choice";

Engine open(const std::string& model) {
  auto engine = open_engine(model, {.device = "cpu", .threads = 2, .math = Math::kExact});
  EXPECT_TRUE(engine.ok()) << engine.error().message;
  return std::move(*engine);
}

const Engine& bundled() {
  static const Engine engine = open("bundled");
  return engine;
}

const Engine& random_model() {
  static const Engine engine = open(kRandomModel);
  return engine;
}

std::vector<Sample> samples_of(Task& task, const Engine& engine,
                               const std::set<std::string>& done = {}) {
  if (done.empty()) {
    const Status ready = task.prepare(engine);
    EXPECT_TRUE(ready.ok()) << ready.error().message;
  }
  std::vector<Sample> samples;
  const Status status = task.run(engine, done, [&](Sample s) -> Status {
    samples.push_back(std::move(s));
    return {};
  });
  EXPECT_TRUE(status.ok()) << status.error().message;
  return samples;
}

const Measurement& row(const std::vector<Measurement>& rows, const std::string& metric,
                       const std::string& convention = "") {
  for (const Measurement& m : rows) {
    if (m.metric == metric && (convention.empty() || m.extra["convention"] == convention)) return m;
  }
  throw std::runtime_error("no " + metric);
}

TEST(Rosetta, GivesWhatEachConventionGivesAlone) {
  const auto all = make_task("rosetta", {{"limit", 3}}).value();
  const auto rows = aggregate(*all, samples_of(*all, random_model()), nullptr, 1);
  for (const char* convention : {"papers", "hf-stride", "llama.cpp", "lm-eval"}) {
    const Measurement& ours = row(rows, "ppl", convention);
    nlohmann::json parameters = {{"convention", convention}, {"limit", 3}, {"window", 512}};
    if (std::string(convention) == "hf-stride") parameters["stride"] = 256;
    const auto alone = make_task("perplexity", parameters).value();
    const auto expected = aggregate(*alone, samples_of(*alone, random_model()), nullptr, 1);
    EXPECT_EQ(ours.value, row(expected, "ppl").value) << convention;
    EXPECT_EQ(ours.n, row(expected, "ppl").n) << convention;
    EXPECT_EQ(ours.low, row(expected, "ppl").low) << convention;
  }
  EXPECT_GT(row(rows, "word_ppl").value, 1);
  const auto warnings = all->preflight()["warnings"].dump();
  EXPECT_NE(warnings.find("papers: the usual window of 2048 is cut"), std::string::npos);
}

// lm-eval's whole file is cut before it is counted, or a limit would leave it whole.
TEST(Perplexity, LimitCutsADocumentThatIsTheWholeFile) {
  const auto scores = [](int64_t limit) {
    const auto task =
        make_task("perplexity", {{"convention", "lm-eval"}, {"window", 64}, {"limit", limit}})
            .value();
    const auto samples = samples_of(*task, random_model());
    EXPECT_EQ(samples.size(), 1u);
    return samples.at(0).scores;
  };
  const auto two = scores(2), three = scores(3);
  EXPECT_LE(two.at("tokens"), 128);
  EXPECT_GT(two.at("tokens"), 64);
  EXPECT_LE(three.at("tokens"), 192);
  EXPECT_GT(three.at("tokens"), two.at("tokens"));
  // Words and bytes are those of the same beginning.
  EXPECT_GT(three.at("words"), two.at("words"));
  EXPECT_LT(three.at("bytes"), 192 * 16);
  EXPECT_GT(two.at("bytes"), two.at("words"));
}

TEST(Rosetta, ResumesWhereItStopped) {
  const auto task = make_task("rosetta", {{"limit", 2}}).value();
  const auto whole = samples_of(*task, random_model());
  std::set<std::string> done;
  for (size_t i = 0; i < whole.size(); i += 2) done.insert(whole[i].id);
  const auto rest = samples_of(*task, random_model(), done);
  ASSERT_EQ(rest.size(), whole.size() - done.size());
  EXPECT_EQ(rest[0].id, whole[1].id);
  EXPECT_EQ(rest[0].scores, whole[1].scores);
}

TEST(Match, NamesTheNearestByRatio) {
  std::vector<Measurement> rows(4);
  rows[0].metric = "ppl", rows[0].value = 5.9;
  rows[1].metric = "ppl", rows[1].value = 5.5;
  rows[2].metric = "bits_per_byte", rows[2].value = 5.47;  // no perplexity
  rows[3].metric = "word_ppl", rows[3].value = 9;
  const auto match = nearest_perplexity(rows, 5.47);
  ASSERT_TRUE(match);
  EXPECT_EQ(match->row, 1u);
  EXPECT_NEAR(match->distance, 5.5 / 5.47 - 1, 1e-12);
  EXPECT_EQ(nearest_perplexity(rows, 8.9)->row, 3u);
  EXPECT_FALSE(nearest_perplexity(rows, 0));
  EXPECT_FALSE(nearest_perplexity({}, 5));
}

TEST(Divergence, OfAModelWithItselfIsNothing) {
  const auto task = make_divergence(bundled(), {.window = 256, .limit = 2});
  const auto rows = aggregate(*task, samples_of(*task, bundled()), nullptr, 1);
  EXPECT_NEAR(row(rows, "kl_mean").value, 0, 1e-9);
  EXPECT_NEAR(row(rows, "kl_max").value, 0, 1e-9);
  EXPECT_EQ(row(rows, "top1_agreement").value, 100);
  EXPECT_EQ(row(rows, "p_shift").value, 0);
  EXPECT_EQ(row(rows, "ppl_ratio").value, 1);
}

// Straight from the definition: one window, all logits in memory, in double precision.
TEST(Divergence, EqualsItsDefinition) {
  const auto task = make_divergence(bundled(), {.window = 256, .limit = 1});
  const auto samples = samples_of(*task, random_model());
  ASSERT_EQ(samples.size(), 1u);
  const auto rows = aggregate(*task, samples, nullptr, 1);

  std::string text = read_text(std::filesystem::path(bundled().model->path) / "data/text.txt");
  auto ids = bundled().tokenizer->encode(text, {.add_special = true, .parse_special = false});
  ids.resize(256);
  ids[0] = *bundled().tokenizer->bos();
  const auto probabilities = [&](const Engine& engine) {
    KvCache cache = KvCache::create(engine.model->kv_shape(), 256).value();
    Batch batch;
    batch.add(cache, ids, true);
    const Tensor out = forward(*engine.model, *engine.ops, batch);
    std::vector<std::vector<double>> p;
    for (int64_t r = 0; r < out.rows(); ++r) {
      std::vector<double> line(out.row(r), out.row(r) + out.cols());
      const double largest = *std::max_element(line.begin(), line.end());
      double sum = 0;
      for (double& x : line) sum += x = std::exp(x - largest);
      for (double& x : line) x /= sum;
      p.push_back(std::move(line));
    }
    return p;
  };
  const auto p = probabilities(bundled()), q = probabilities(random_model());
  std::vector<double> kl;
  double same = 0, shift = 0, squares = 0, loss = 0, base_loss = 0;
  for (size_t r = 128; r < 255; ++r) {
    double sum = 0;
    for (size_t v = 0; v < p[r].size(); ++v) {
      if (p[r][v] > 0) sum += p[r][v] * std::log(p[r][v] / q[r][v]);
    }
    kl.push_back(sum);
    const auto top = [](const auto& line) {
      return std::max_element(line.begin(), line.end()) - line.begin();
    };
    same += top(p[r]) == top(q[r]) ? 1 : 0;
    const auto next = static_cast<size_t>(ids[r + 1]);
    shift += q[r][next] - p[r][next];
    squares += std::pow(q[r][next] - p[r][next], 2);
    loss -= std::log(q[r][next]);
    base_loss -= std::log(p[r][next]);
  }
  const auto n = static_cast<double>(kl.size());
  EXPECT_EQ(samples[0].scores.at("tokens"), n);
  double total = 0;
  for (const double k : kl) total += k;
  std::sort(kl.begin(), kl.end());
  const auto expect = [&](const char* metric, double value) {
    EXPECT_NEAR(row(rows, metric).value, value, 1e-5 * std::abs(value) + 1e-7) << metric;
  };
  expect("kl_mean", total / n);
  expect("kl_p99", quantile_of_sorted(kl, 0.99));
  expect("kl_max", kl.back());
  expect("top1_agreement", 100 * same / n);
  expect("p_shift", 100 * shift / n);
  expect("p_shift_rms", 100 * std::sqrt(squares / n));
  expect("ppl", std::exp(loss / n));
  expect("base_ppl", std::exp(base_loss / n));
  expect("ppl_ratio", std::exp((loss - base_loss) / n));
}

TEST(Divergence, AgreesWithThePerplexityTask) {
  const auto task = make_divergence(bundled(), {.window = 256, .limit = 3});
  const auto rows = aggregate(*task, samples_of(*task, random_model()), nullptr, 1);
  const auto perplexity =
      make_task("perplexity", {{"convention", "llama.cpp"}, {"window", 256}, {"limit", 3}}).value();
  const auto expected = aggregate(*perplexity, samples_of(*perplexity, random_model()), nullptr, 1);
  EXPECT_NEAR(row(rows, "ppl").value, row(expected, "ppl").value, 1e-6 * row(rows, "ppl").value);
}

TEST(Divergence, RefusesModelsThatDoNotGoTogether) {
  const Engine other =
      open(std::string(LATHE_SOURCE_DIR) + "/tests/golden/eval/choice");  // the same words: fits
  const auto fits = make_divergence(bundled(), {.window = 256, .limit = 1});
  EXPECT_TRUE(fits->prepare(other).ok());
  const auto long_window = make_divergence(bundled(), {.window = 900, .limit = 1});
  const Status status = long_window->prepare(other);  // its context is 512
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("does not fit"), std::string::npos);
}

}  // namespace
}  // namespace lathe
