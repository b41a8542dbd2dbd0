// Several sequences decoded together.
#include <chrono>

#include "lathe/generate/sampler.h"
#include "lathe/model/forward.h"
#include "lathe/profile/probe_list.h"

namespace lathe {
namespace {

// Tokens of all sequences per second, after a prompt of their own each.
Result<double> time_once(const Engine& engine, int64_t sequences, int64_t prompt,
                         int64_t generated) {
  const Model& model = *engine.model;
  std::vector<KvCache> caches;
  caches.reserve(static_cast<size_t>(sequences));
  Batch batch;
  for (int64_t i = 0; i < sequences; ++i) {
    LATHE_TRY(KvCache cache, KvCache::create(model.kv_shape(), prompt + generated));
    caches.push_back(std::move(cache));
    batch.add(caches.back(), timing_tokens(model, prompt, static_cast<uint64_t>(i + 1)), false);
  }
  Rng rng(0);
  Tensor out = forward(model, *engine.ops, batch);
  const auto start = std::chrono::steady_clock::now();
  for (int64_t step = 0; step < generated; ++step) {
    Batch next;
    for (int64_t i = 0; i < sequences; ++i) {
      const TokenId id = sample({out.row(i), static_cast<size_t>(out.cols())}, {}, rng);
      next.add(caches[static_cast<size_t>(i)], std::span(&id, 1), false);
    }
    out = forward(model, *engine.ops, next);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  return static_cast<double>(sequences * generated) / seconds.count();
}

Result<std::vector<Measurement>> run(const ProbeContext& context, const nlohmann::json& p) {
  const auto sequences = p["sequences"].get<int64_t>(), prompt = p["prompt"].get<int64_t>();
  const auto generated = p["generate"].get<int64_t>(),
             repetitions = p["repetitions"].get<int64_t>();
  if (sequences < 1 || sequences > 4096 || prompt < 1 || generated < 1 || repetitions < 1) {
    return bad_input(
        "probe 'batch': sequences from 1 to 4096, prompt, generate and repetitions ≥ 1 are needed");
  }
  if (prompt + generated > context.engine.model->context) {
    return bad_input("probe 'batch': {} + {} tokens do not fit the context of {}", prompt,
                     generated, context.engine.model->context);
  }
  std::vector<double> rates;
  for (int64_t i = -p["warm_up"].get<int64_t>(); i < repetitions; ++i) {
    LATHE_TRY(const double rate, time_once(context.engine, sequences, prompt, generated));
    if (i >= 0) rates.push_back(rate);
  }
  std::vector<Measurement> rows = {
      median_row("batch", "batched_decode_tokens_per_s", rates, "tok/s", "higher")};
  rows[0].extra["sequences"] = sequences;
  return rows;
}

}  // namespace

ProbeKind batch_probe() {
  return {"batch",
          "decode speed of several sequences together, tokens of all of them",
          {{"sequences", 8}, {"prompt", 32}, {"generate", 32}, {"repetitions", 3}, {"warm_up", 1}},
          run};
}

}  // namespace lathe
