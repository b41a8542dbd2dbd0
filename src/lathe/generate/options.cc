#include "lathe/generate/options.h"

#include <algorithm>
#include <cmath>

#include "lathe/generate/prefix_store.h"
#include "lathe/model/forward.h"

namespace lathe {
namespace {

// Rows of logits held at once: about 32 MB of them.
constexpr int64_t kLogitElems = int64_t{8} << 20;

// A token whose probability is wanted, and where it counts.
struct Target {
  int64_t row;  // of the batch
  TokenId token;
  OptionScore* score;
};

// One group of requests that are in memory together.
class Group {
 public:
  Group(const Engine& engine, const ScoreOptions& options) : engine_(engine), options_(options) {}

  Status add(const OptionRequest& request, std::span<const TokenId> following,
             PrefixStore& prefixes) {
    const KvShape shape = engine_.model->kv_shape();
    LATHE_TRY(KvCache cache, KvCache::create(shape, positions_of(request)));
    LATHE_TRY(const int64_t known, prefixes.begin(request.context, following, cache));
    members_.push_back({&request, std::move(cache), known, {}});
    members_.back().scores.resize(request.options.size());
    return {};
  }

  static int64_t positions_of(const OptionRequest& request) {
    size_t longest = 1;
    for (const auto& option : request.options) longest = std::max(longest, option.size());
    return static_cast<int64_t>(request.context.size() + longest - 1);
  }

  void run() {
    run_contexts();
    size_t most = 0;
    for (const Member& m : members_) most = std::max(most, m.request->options.size());
    for (size_t k = 0; k < most; ++k) run_option(k);
  }

  size_t size() const { return members_.size(); }
  const std::vector<OptionScore>& scores(size_t i) const { return members_[i].scores; }

 private:
  struct Member {
    const OptionRequest* request;
    KvCache cache;
    int64_t known;  // positions of the context that the cache holds already
    std::vector<OptionScore> scores;
  };

  // The last token of a context predicts the first token of every option.
  void run_contexts() {
    for (Member& m : members_) {
      const std::span<const TokenId> context(m.request->context);
      for (auto at = static_cast<size_t>(m.known); at < context.size();) {
        const size_t count = std::min(context.size() - at, room());
        const int64_t first_row = std::ssize(batch_.ids);
        batch_.add(m.cache, context.subspan(at, count), false);
        at += count;
        if (at == context.size()) {
          const int64_t row = first_row + static_cast<int64_t>(count) - 1;
          for (size_t k = 0; k < m.scores.size(); ++k) {
            targets_.push_back({row, m.request->options[k][0], &m.scores[k]});
          }
        }
        if (room() == 0) flush();
      }
    }
    flush();
  }

  // Option k of every request behind its context; the positions are given back afterwards. A
  // sequence comes once in a forward pass, so a long option goes through in pieces.
  void run_option(size_t k) {
    for (Member& m : members_) {
      if (k >= m.scores.size() || m.request->options[k].size() < 2) continue;
      const std::span<const TokenId> option(m.request->options[k]);
      for (size_t at = 0; at + 1 < option.size();) {
        const size_t count = std::min(option.size() - 1 - at, room());
        const int64_t first_row = std::ssize(batch_.ids);
        batch_.add(m.cache, option.subspan(at, count), false);
        for (size_t i = 0; i < count; ++i) {
          targets_.push_back(
              {first_row + static_cast<int64_t>(i), option[at + i + 1], &m.scores[k]});
        }
        at += count;
        if (room() == 0) flush();
      }
    }
    flush();
    for (Member& m : members_) {
      m.cache.set_length(static_cast<int64_t>(m.request->context.size()));
    }
  }

  size_t room() const {
    const auto chunk = static_cast<size_t>(std::max<int64_t>(1, options_.chunk));
    return chunk - std::min(chunk, batch_.ids.size());
  }

  void flush() {
    if (batch_.ids.empty()) return;
    Ops& ops = *engine_.ops;
    const Tensor hidden = hidden_states(*engine_.model, ops, batch_);
    std::vector<int64_t> rows;
    for (const Target& t : targets_) {
      if (rows.empty() || rows.back() != t.row) rows.push_back(t.row);
    }
    const int64_t at_once = std::clamp<int64_t>(kLogitElems / engine_.model->config.vocab, 16, 256);
    size_t next = 0;
    for (int64_t begin = 0; begin < std::ssize(rows); begin += at_once) {
      const int64_t count = std::min(at_once, std::ssize(rows) - begin);
      const std::span<const int64_t> some = std::span<const int64_t>(rows).subspan(
          static_cast<size_t>(begin), static_cast<size_t>(count));
      const Tensor out = logits(*engine_.model, ops, ops.take_rows(some, hidden));
      next = score(out, some, next);
    }
    batch_ = {};
    targets_.clear();
  }

  // The targets from `next` on whose rows are in `rows`; returns the first that is not.
  size_t score(const Tensor& out, std::span<const int64_t> rows, size_t next) {
    struct Row {
      double log_sum;
      TokenId best;
    };
    std::vector<Row> sums(rows.size());
    engine_.ops->threads().parallel_for(std::ssize(rows), 1, [&](int64_t from, int64_t to) {
      for (int64_t i = from; i < to; ++i) {
        const float* begin = out.row(i);
        const float* best = std::max_element(begin, begin + out.cols());
        double sum = 0;
        for (const float* p = begin; p < begin + out.cols(); ++p) {
          sum += std::exp(static_cast<double>(*p) - *best);
        }
        sums[static_cast<size_t>(i)] = {std::log(sum) + *best, static_cast<TokenId>(best - begin)};
      }
    });
    for (size_t r = 0; r < rows.size(); ++r) {
      for (; next < targets_.size() && targets_[next].row == rows[r]; ++next) {
        const Target& t = targets_[next];
        t.score->log_likelihood += out.row(static_cast<int64_t>(r))[t.token] - sums[r].log_sum;
        t.score->greedy = t.score->greedy && sums[r].best == t.token;
      }
    }
    return next;
  }

  const Engine& engine_;
  const ScoreOptions& options_;
  std::vector<Member> members_;
  Batch batch_;
  std::vector<Target> targets_;
};

Status check(const Engine& engine, const OptionRequest& request) {
  const Model& model = *engine.model;
  LATHE_CHECK(!request.context.empty());
  const auto known = [&](const std::vector<TokenId>& ids) {
    return std::all_of(ids.begin(), ids.end(),
                       [&](TokenId id) { return id >= 0 && id < model.config.vocab; });
  };
  bool ok = known(request.context);
  for (const auto& option : request.options) {
    LATHE_CHECK(!option.empty());
    ok = ok && known(option);
  }
  if (!ok) return bad_input("a token is outside of the vocabulary");
  if (Group::positions_of(request) > model.context) {
    return bad_input("a context of {} tokens and its options do not fit the context of {}",
                     request.context.size(), model.context)
        .with_hint("use --context N for a longer one");
  }
  return {};
}

}  // namespace

Status score_options(const Engine& engine, std::span<const OptionRequest> requests,
                     const ScoreOptions& options, const OnScored& done) {
  for (const OptionRequest& request : requests) LATHE_OK(check(engine, request));
  const KvShape shape = engine.model->kv_shape();
  PrefixStore prefixes(engine, options.share_prefixes ? options.max_kv_bytes / 4 : 0,
                       options.chunk);
  for (size_t next = 0; next < requests.size();) {
    Group group(engine, options);
    const size_t first = next;
    int64_t bytes = 0;
    for (; next < requests.size(); ++next) {
      const int64_t more = KvCache::bytes_for(shape, Group::positions_of(requests[next]));
      const bool full = static_cast<int64_t>(group.size()) >= options.max_batch ||
                        bytes + more > options.max_kv_bytes;
      if (group.size() > 0 && full) break;
      bytes += more;
      std::span<const TokenId> following;
      if (next + 1 < requests.size()) following = requests[next + 1].context;
      LATHE_OK(group.add(requests[next], following, prefixes));
    }
    group.run();
    for (size_t i = 0; i < group.size(); ++i) {
      if (!done(first + i, group.scores(i))) return {};
    }
  }
  return {};
}

}  // namespace lathe
