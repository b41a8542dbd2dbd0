// layers, heads, channels: structured pruning, which leaves a smaller dense model.
//   layers    those that change the residual stream least, by 1 − the cosine similarity of the
//             stream before and after (Men et al. 2024, "ShortGPT", section 3.1: Block Influence)
//   heads     whole groups of query heads with the key/value head that they share, and
//   channels  of the feed-forward network, by what they add to the output on the calibration data;
//             what is left of o_proj or down_proj is then refitted by least squares
// All blocks lose the same number, since config.json has one number for all of them. Blocks come
// one after another, so that each is fitted to what the smaller ones before it give.
#include <cmath>

#include "lathe/base/progress.h"
#include "lathe/compress/calibration.h"
#include "lathe/compress/column_groups.h"
#include "lathe/compress/passes/format_parameter.h"
#include "lathe/compress/passes/list.h"
#include "lathe/compress/passes/sparse.h"
#include "lathe/compress/reduced_model.h"

namespace lathe {
namespace {

std::vector<int64_t> all_layers(const ModelConfig& c) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < c.layers; ++i) out.push_back(i);
  return out;
}

// Of `total`, as a multiple of `multiple` where that leaves any.
Result<int64_t> number_kept(int64_t total, const nlohmann::json& parameters, int64_t multiple,
                            const char* what) {
  const double share = 1 - parameters["sparsity"].get<double>();
  const double multiples = share * static_cast<double>(total) / static_cast<double>(multiple);
  const int64_t kept = std::min<int64_t>(total, multiple * std::llround(multiples));
  if (kept > 0) return kept;
  return bad_input("sparsity {} would leave none of {} {}", parameters["sparsity"].dump(), total,
                   what)
      .with_hint(multiple > 1 ? "a smaller sparsity, or a smaller 'multiple'"
                              : "a smaller sparsity");
}

double cosine(const float* a, const float* b, int64_t count) {
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < count; ++i) {
    ab += double{a[i]} * double{b[i]};
    aa += double{a[i]} * double{a[i]};
    bb += double{b[i]} * double{b[i]};
  }
  return aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : 1;
}

double influence(const std::vector<Tensor>& before, const std::vector<Tensor>& after) {
  double sum = 0;
  int64_t tokens = 0;
  for (size_t s = 0; s < before.size(); ++s) {
    for (int64_t t = 0; t < before[s].rows(); ++t, ++tokens) {
      sum += 1 - cosine(before[s].row(t), after[s].row(t), before[s].cols());
    }
  }
  return sum / static_cast<double>(tokens);
}

Result<Reshaped> reduce_layers(const Checkpoint& source, const ReshapeSetup& setup) {
  const ModelConfig& c = source.config();
  LATHE_TRY(const int64_t count, number_kept(c.layers, setup.parameters, 1, "layers"));
  std::vector<int64_t> kept = all_layers(c);
  nlohmann::json report;
  if (!setup.samples) {
    kept.resize(static_cast<size_t>(count));
  } else {
    LATHE_TRY(const auto stream, CalibrationStream::create(source, *setup.samples, setup.pool));
    std::vector<double> scores;
    Progress progress("weighing layers", c.layers, "layers");
    for (int64_t i = 0; i < c.layers; ++i) {
      const std::vector<Tensor> before = stream->states();
      LATHE_OK(stream->advance(source, i));
      scores.push_back(influence(before, stream->states()));
      if (!std::isfinite(scores.back())) {
        return bad_input("layer {} gives NaN or infinity on the calibration data", i);
      }
      progress.advance();
    }
    kept = strongest(scores, count);
    report = {{"kept", kept}, {"influence", scores}};
  }
  return Reshaped{std::make_unique<ReducedModel>(source, kept, c.kv_heads, c.ffn),
                  std::move(report)};
}

Result<Reshaped> reduce_columns(const Checkpoint& source, const ReshapeSetup& setup, bool heads,
                                int64_t multiple) {
  const ModelConfig& c = source.config();
  const int64_t total = heads ? c.kv_heads : c.ffn;
  LATHE_TRY(const int64_t count,
            number_kept(total, setup.parameters, multiple, heads ? "key/value heads" : "channels"));
  auto model = std::make_unique<ReducedModel>(source, all_layers(c), heads ? count : c.kv_heads,
                                              heads ? c.ffn : count);
  nlohmann::json report = {{"kept", count}, {"of", total}};
  if (!setup.samples || count == total) return Reshaped{std::move(model), std::move(report)};
  LATHE_TRY(const auto stream, CalibrationStream::create(source, *setup.samples, setup.pool));
  Progress progress(heads ? "removing heads" : "removing channels", c.layers, "layers");
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    const std::string name =
        fmt::format("model.layers.{}.{}", layer, heads ? "self_attn.o_proj" : "mlp.down_proj");
    std::vector<std::string> sharing;
    LATHE_TRY_IN(const auto stats, stream->collect(source, layer, name, sharing), name);
    LATHE_OK_IN(stats->check_finite(), name);
    LATHE_TRY(const WeightMatrix matrix, source.matrix(name, c.hidden, stats->size));
    const std::vector<float> weights = matrix.decode(setup.pool);
    const int64_t size = stats->size / total;
    const std::vector<double> energy = group_energy(*stats, weights, size);
    const std::vector<int64_t> kept = strongest(energy, count);
    double stays = 0, all = 0;
    for (const double e : energy) all += e;
    for (const int64_t g : kept) stays += energy[static_cast<size_t>(g)];
    report["lost_energy"].push_back(all > 0 ? 1 - stays / all : 0.0);
    if (heads) {
      model->keep_heads(layer, kept);
      report["kept_heads"].push_back(kept);
    } else {
      model->keep_channels(layer, kept);
    }
    if (setup.parameters["refit"].get<bool>()) {
      std::vector<int64_t> columns;
      for (const int64_t g : kept) {
        for (int64_t i = 0; i < size; ++i) columns.push_back(g * size + i);
      }
      LATHE_TRY_IN(const std::vector<float> refitted,
                   refit_columns(*stats, weights, columns,
                                 setup.parameters["damping"].get<double>(), setup.pool),
                   name);
      LATHE_TRY(WeightMatrix stored,
                WeightMatrix::encode(float_format_of(matrix), refitted.data(), c.hidden,
                                     static_cast<int64_t>(columns.size()), name, &setup.pool));
      model->replace(name, std::move(stored));
    }
    LATHE_OK(stream->advance(*model, layer));
    progress.advance();
  }
  return Reshaped{std::move(model), std::move(report)};
}

Result<Reshaped> reduce_heads(const Checkpoint& source, const ReshapeSetup& setup) {
  return reduce_columns(source, setup, true, 1);
}
Result<Reshaped> reduce_channels(const Checkpoint& source, const ReshapeSetup& setup) {
  return reduce_columns(source, setup, false, setup.parameters["multiple"].get<int64_t>());
}

Result<nlohmann::json> check_multiple(const nlohmann::json& value) {
  if (value.is_number_integer() && value.get<int64_t>() >= 1 && value.get<int64_t>() <= 1024) {
    return value;
  }
  return bad_input("must be a whole number from 1 to 1024, not {}", value.dump());
}

PassParameter refit_parameter() {
  return {"refit", true, "the columns that stay make up for those that go, by least squares",
          check_flag};
}

}  // namespace

Pass layers_pass() {
  Pass pass{"layers",
            "whole layers go, those that change the residual stream least",
            PassKind::kReduce,
            true,
            {sparsity_parameter()},
            nullptr};
  pass.reshape = reduce_layers;
  return pass;
}

Pass heads_pass() {
  Pass pass{
      "heads", "key/value heads go, each with the query heads that share it",  PassKind::kReduce,
      true,    {sparsity_parameter(), refit_parameter(), damping_parameter()}, nullptr};
  pass.reshape = reduce_heads;
  return pass;
}

Pass channels_pass() {
  Pass pass{
      "channels",
      "channels of the feed-forward networks go",
      PassKind::kReduce,
      true,
      {sparsity_parameter(), refit_parameter(), damping_parameter(),
       PassParameter{"multiple", 32, "their number stays a multiple of this", check_multiple}},
      nullptr};
  pass.reshape = reduce_channels;
  return pass;
}

}  // namespace lathe
