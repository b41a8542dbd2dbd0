#include "lathe/backend/check_ops.h"

#include <fmt/format.h>

#include <cmath>
#include <utility>

namespace lathe {
namespace {

class BothPacked final : public PackedMatrix {
 public:
  BothPacked(std::shared_ptr<const PackedMatrix> tested,
             std::shared_ptr<const PackedMatrix> reference)
      : PackedMatrix(tested->rows(), tested->cols(), tested->format()),
        tested(std::move(tested)),
        reference(std::move(reference)) {}
  int64_t bytes() const override { return tested->bytes() + reference->bytes(); }
  std::string kernel() const override {
    return fmt::format("check({}, {})", tested->kernel(), reference->kernel());
  }

  const std::shared_ptr<const PackedMatrix> tested, reference;
};

struct Pair {
  Linear tested, reference;
};

Pair split(const Linear& w) {
  const auto* both = dynamic_cast<const BothPacked*>(w.weight.get());
  LATHE_CHECK(both);  // packed by another backend
  return {{w.name, both->tested, w.bias}, {w.name, both->reference, w.bias}};
}

}  // namespace

CheckOps::CheckOps(std::unique_ptr<Ops> tested, std::unique_ptr<Ops> reference, float tolerance)
    : tested_(std::move(tested)), reference_(std::move(reference)), tolerance_(tolerance) {}

CheckOps::~CheckOps() = default;

std::string CheckOps::name() const {
  return fmt::format("check({}, {})", tested_->name(), reference_->name());
}

Tensor CheckOps::compare(const std::string& what, Tensor tested, const Tensor& reference) const {
  if (tested.rows() != reference.rows() || tested.cols() != reference.cols()) {
    throw CheckError(fmt::format("{}: {} gives {}×{}, {} gives {}×{}", what, tested_->name(),
                                 tested.rows(), tested.cols(), reference_->name(), reference.rows(),
                                 reference.cols()));
  }
  for (int64_t r = 0; r < tested.rows(); ++r) {
    double difference = 0, size = 0, most = -1;
    int64_t worst = 0;
    for (int64_t c = 0; c < tested.cols(); ++c) {
      const double a = tested.row(r)[c], b = reference.row(r)[c];
      const bool same = a == b || (std::isnan(a) && std::isnan(b));
      // Infinity against a number, or NaN on one side, is as different as can be.
      const double d = same ? 0 : std::isfinite(a - b) ? std::abs(a - b) : INFINITY;
      if (d > most) most = d, worst = c;
      difference += d * d;
      if (std::isfinite(b)) size += b * b;
    }
    if (std::sqrt(difference) <= static_cast<double>(tolerance_) * std::sqrt(size)) continue;
    throw CheckError(
        fmt::format("{}: row {} of {}, column {} of {}: {} gives {}, {} gives {} "
                    "(relative difference of the row {:.3g}, tolerance {:.3g})",
                    what, r, tested.rows(), worst, tested.cols(), tested_->name(),
                    tested.row(r)[worst], reference_->name(), reference.row(r)[worst],
                    std::sqrt(difference) / std::sqrt(size), tolerance_));
  }
  return tested;
}

std::shared_ptr<const PackedMatrix> CheckOps::pack(WeightMatrix weights) {
  auto tested = tested_->pack(weights);
  return std::make_shared<BothPacked>(std::move(tested), reference_->pack(std::move(weights)));
}

Tensor CheckOps::embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) {
  return compare("embed", tested_->embed(table, ids, scale), reference_->embed(table, ids, scale));
}

Tensor CheckOps::linear(const Linear& w, const Tensor& x) {
  const Pair p = split(w);
  return compare(fmt::format("linear {}", w.name), tested_->linear(p.tested, x),
                 reference_->linear(p.reference, x));
}

std::vector<Tensor> CheckOps::linears(std::span<const Linear* const> ws, const Tensor& x) {
  std::vector<Pair> pairs;
  for (const Linear* w : ws) pairs.push_back(split(*w));
  std::vector<const Linear*> tested, reference;
  for (const Pair& p : pairs) {
    tested.push_back(&p.tested);
    reference.push_back(&p.reference);
  }
  std::vector<Tensor> out = tested_->linears(tested, x);
  const std::vector<Tensor> expected = reference_->linears(reference, x);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = compare(fmt::format("linears {}", ws[i]->name), std::move(out[i]), expected[i]);
  }
  return out;
}

Tensor CheckOps::norm(const Norm& n, const Tensor& x) {
  return compare(fmt::format("norm {}", n.name), tested_->norm(n, x), reference_->norm(n, x));
}

// The inputs stay shared until the reference is through, so that the tested backend copies.
Tensor CheckOps::add(Tensor a, const Tensor& b) {
  Tensor out = tested_->add(a, b);
  return compare("add", std::move(out), reference_->add(std::move(a), b));
}

Tensor CheckOps::activate(Activation f, Tensor x) {
  Tensor out = tested_->activate(f, x);
  return compare("activate", std::move(out), reference_->activate(f, std::move(x)));
}

Tensor CheckOps::gate(Activation f, Tensor gate, const Tensor& up) {
  Tensor out = tested_->gate(f, gate, up);
  return compare("gate", std::move(out), reference_->gate(f, std::move(gate), up));
}

Tensor CheckOps::rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
                      Tensor x) {
  Tensor out = tested_->rope(r, positions, head_size, x);
  return compare("rope", std::move(out), reference_->rope(r, positions, head_size, std::move(x)));
}

Tensor CheckOps::attention(const AttentionSpec& spec, int64_t layer,
                           std::span<const SequenceSpan> spans, const Tensor& q, const Tensor& k,
                           const Tensor& v) {
  Tensor out = tested_->attention(spec, layer, spans, q, k, v);
  return compare(fmt::format("attention of layer {}", layer), std::move(out),
                 reference_->attention(spec, layer, spans, q, k, v));
}

Tensor CheckOps::soft_cap(float cap, Tensor x) {
  Tensor out = tested_->soft_cap(cap, x);
  return compare("soft_cap", std::move(out), reference_->soft_cap(cap, std::move(x)));
}

Tensor CheckOps::take_rows(std::span<const int64_t> rows, const Tensor& x) {
  return compare("take_rows", tested_->take_rows(rows, x), reference_->take_rows(rows, x));
}

}  // namespace lathe
