#include "lathe/backend/tap_ops.h"

#include <algorithm>

namespace lathe {
namespace {

int64_t bytes_of(const Tensor& t) { return t.size() * 4; }

}  // namespace

template <typename Fn>
Tensor TimedOps::timed(const char* kind, int64_t read_bytes, Fn&& fn, const std::string* linear) {
  const auto start = std::chrono::steady_clock::now();
  Tensor out = fn();
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (recording_) {
    using Microseconds = std::chrono::duration<double, std::micro>;
    if (events_.empty()) first_ = start;
    events_.push_back({linear ? *linear : kind, kind, Microseconds(start - first_).count(),
                       1e6 * seconds, out.rows()});
  }
  for (Total* total : {&by_kind_[kind], linear ? &by_linear_[*linear] : nullptr}) {
    if (!total) continue;
    ++total->calls;
    total->tokens += out.rows();
    total->seconds += seconds;
    total->bytes += read_bytes + bytes_of(out);
  }
  return out;
}

void TimedOps::clear() {
  by_kind_.clear();
  by_linear_.clear();
  events_.clear();
}

Tensor TimedOps::embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) {
  const int64_t read = table.bytes() / table.rows() * static_cast<int64_t>(ids.size());
  return timed("embed", read, [&] { return inner().embed(table, ids, scale); });
}

Tensor TimedOps::linear(const Linear& w, const Tensor& x) {
  return timed(
      "linear", w.weight->bytes() + bytes_of(x), [&] { return inner().linear(w, x); }, &w.name);
}

std::vector<Tensor> TimedOps::linears(std::span<const Linear* const> ws, const Tensor& x) {
  std::vector<Tensor> out;
  for (const Linear* w : ws) out.push_back(linear(*w, x));
  return out;
}

Tensor TimedOps::norm(const Norm& n, const Tensor& x) {
  return timed("norm", bytes_of(x), [&] { return inner().norm(n, x); });
}

Tensor TimedOps::add(Tensor a, const Tensor& b) {
  const int64_t read = bytes_of(a) + bytes_of(b);
  return timed("add", read, [&] { return inner().add(std::move(a), b); });
}

Tensor TimedOps::activate(Activation f, Tensor x) {
  const int64_t read = bytes_of(x);
  return timed("activate", read, [&] { return inner().activate(f, std::move(x)); });
}

Tensor TimedOps::gate(Activation f, Tensor gate, const Tensor& up) {
  const int64_t read = bytes_of(gate) + bytes_of(up);
  return timed("gate", read, [&] { return inner().gate(f, std::move(gate), up); });
}

Tensor TimedOps::rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
                      Tensor x) {
  const int64_t read = bytes_of(x);
  return timed("rope", read, [&] { return inner().rope(r, positions, head_size, std::move(x)); });
}

Tensor TimedOps::attention(const AttentionSpec& spec, int64_t layer,
                           std::span<const SequenceSpan> spans, const Tensor& q, const Tensor& k,
                           const Tensor& v) {
  int64_t read = bytes_of(q) + bytes_of(k) + bytes_of(v);
  for (const SequenceSpan& span : spans) {
    int64_t positions = span.start + span.rows;
    if (spec.window > 0) positions = std::min(positions, span.rows + spec.window - 1);
    KvShape one_layer = span.cache->shape();
    one_layer.layers = 1;
    read += KvCache::bytes_for(one_layer, positions);
  }
  return timed("attention", read, [&] { return inner().attention(spec, layer, spans, q, k, v); });
}

Tensor TimedOps::soft_cap(float cap, Tensor x) {
  const int64_t read = bytes_of(x);
  return timed("soft_cap", read, [&] { return inner().soft_cap(cap, std::move(x)); });
}

Tensor TimedOps::take_rows(std::span<const int64_t> rows, const Tensor& x) {
  const int64_t read = static_cast<int64_t>(rows.size()) * x.cols() * 4;
  return timed("take_rows", read, [&] { return inner().take_rows(rows, x); });
}

}  // namespace lathe
