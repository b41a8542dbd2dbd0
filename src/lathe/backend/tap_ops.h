// WrappedOps forwards every operation to another Ops; what wants to see or record what passes by
// (calibration, profiling, training) derives from it and overrides what it needs.
// TimedOps is one of them: time and bytes per kind of operation and per Linear.
#pragma once

#include <chrono>
#include <map>

#include "lathe/backend/ops.h"

namespace lathe {

class WrappedOps : public Ops {
 public:
  // The inner Ops must outlive this one.
  explicit WrappedOps(Ops& inner) : inner_(inner) {}

  Ops& inner() { return inner_; }
  std::string name() const override { return inner_.name(); }
  ThreadPool& threads() override { return inner_.threads(); }
  std::shared_ptr<const PackedMatrix> pack(WeightMatrix weights) override {
    return inner_.pack(std::move(weights));
  }
  Tensor embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) override {
    return inner_.embed(table, ids, scale);
  }
  Tensor linear(const Linear& w, const Tensor& x) override { return inner_.linear(w, x); }
  // Forwards whole: who taps the inputs of single matrices overrides both.
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    return inner_.linears(ws, x);
  }
  Tensor norm(const Norm& n, const Tensor& x) override { return inner_.norm(n, x); }
  Tensor add(Tensor a, const Tensor& b) override { return inner_.add(std::move(a), b); }
  Tensor activate(Activation f, Tensor x) override { return inner_.activate(f, std::move(x)); }
  Tensor gate(Activation f, Tensor gate, const Tensor& up) override {
    return inner_.gate(f, std::move(gate), up);
  }
  Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
              Tensor x) override {
    return inner_.rope(r, positions, head_size, std::move(x));
  }
  Tensor attention(const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
                   const Tensor& q, const Tensor& k, const Tensor& v) override {
    return inner_.attention(spec, layer, spans, q, k, v);
  }
  Tensor soft_cap(float cap, Tensor x) override { return inner_.soft_cap(cap, std::move(x)); }
  Tensor take_rows(std::span<const int64_t> rows, const Tensor& x) override {
    return inner_.take_rows(rows, x);
  }

 private:
  Ops& inner_;
};

// Accumulates, until cleared, the time of each operation on the calling thread's clock.
class TimedOps final : public WrappedOps {
 public:
  struct Total {
    int64_t calls = 0;
    int64_t tokens = 0;  // rows of the result
    double seconds = 0;
    // Memory that the operation must at least move: weights, keys and values once per call, inputs
    // and results once per token.
    int64_t bytes = 0;
  };

  // One call, for a trace.
  struct Event {
    std::string name;  // of the Linear, else the kind
    const char* kind;
    double start_us, duration_us;  // since the first recorded call
    int64_t tokens;
  };

  using WrappedOps::WrappedOps;

  const std::map<std::string, Total>& by_kind() const { return by_kind_; }  // "linear", "norm" …
  const std::map<std::string, Total>& by_linear() const { return by_linear_; }  // Linear::name
  void clear();
  // From now on each call is also kept as an Event.
  void record_events() { recording_ = true; }
  const std::vector<Event>& events() const { return events_; }

  Tensor embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) override;
  Tensor linear(const Linear& w, const Tensor& x) override;
  // One at a time, so that each matrix gets its own time; a little slower than together.
  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override;
  Tensor norm(const Norm& n, const Tensor& x) override;
  Tensor add(Tensor a, const Tensor& b) override;
  Tensor activate(Activation f, Tensor x) override;
  Tensor gate(Activation f, Tensor gate, const Tensor& up) override;
  Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
              Tensor x) override;
  Tensor attention(const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
                   const Tensor& q, const Tensor& k, const Tensor& v) override;
  Tensor soft_cap(float cap, Tensor x) override;
  Tensor take_rows(std::span<const int64_t> rows, const Tensor& x) override;

 private:
  template <typename Fn>
  Tensor timed(const char* kind, int64_t read_bytes, Fn&& fn, const std::string* linear = nullptr);

  std::map<std::string, Total> by_kind_, by_linear_;
  bool recording_ = false;
  std::chrono::steady_clock::time_point first_;
  std::vector<Event> events_;
};

}  // namespace lathe
