#include <algorithm>
#include <cmath>
#include <cstring>
#include <typeinfo>
#include <utility>

#include "lathe/backend/cpu/attention.h"
#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/backend/cpu/kernel_tables.h"
#include "lathe/backend/cpu/linear.h"
#include "lathe/backend/cpu/packed.h"
#include "lathe/base/mapped_file.h"

namespace lathe {
namespace {

// Elements below which an operation is not worth waking the other threads for.
constexpr int64_t kGrainElems = 8192;

cpu::Unary unary_of(Activation f) {
  switch (f) {
    case Activation::kSilu:
      return cpu::Unary::kSilu;
    case Activation::kGeluErf:
      return cpu::Unary::kGeluErf;
    case Activation::kGeluTanh:
      return cpu::Unary::kGeluTanh;
    case Activation::kRelu:
      break;
  }
  return cpu::Unary::kRelu;
}

// Cosines and sines of the last positions asked for: queries and keys of all layers share them.
class RopeTable {
 public:
  // [T][2][half]: cosines, then sines of a token.
  const float* of(const Rope& r, std::span<const int32_t> positions, ThreadPool& pool) {
    const bool same =
        r.scale == scale_ && r.inverse_frequency == frequency_ &&
        std::equal(positions.begin(), positions.end(), positions_.begin(), positions_.end());
    if (!same) compute(r, positions, pool);
    return values_.data();
  }

 private:
  void compute(const Rope& r, std::span<const int32_t> positions, ThreadPool& pool) {
    scale_ = r.scale;
    frequency_ = r.inverse_frequency;
    positions_.assign(positions.begin(), positions.end());
    const auto half = static_cast<int64_t>(frequency_.size());
    const auto tokens = static_cast<int64_t>(positions.size());
    values_.resize(static_cast<size_t>(tokens * 2 * half));
    pool.parallel_for(tokens, 8, [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        float* cosine = values_.data() + t * 2 * half;
        for (int64_t i = 0; i < half; ++i) {
          // The angle is rounded to f32, as in the reference; its cosine is that of the rounded
          // one.
          const float angle = static_cast<float>(positions_[static_cast<size_t>(t)]) *
                              frequency_[static_cast<size_t>(i)];
          cosine[i] = static_cast<float>(std::cos(static_cast<double>(angle))) * scale_;
          cosine[half + i] = static_cast<float>(std::sin(static_cast<double>(angle))) * scale_;
        }
      }
    });
  }

  float scale_ = 0;
  std::vector<float> frequency_;
  std::vector<int32_t> positions_;
  std::vector<float> values_;
};

class CpuOps final : public Ops {
 public:
  CpuOps(Isa isa, std::shared_ptr<ThreadPool> threads, Math math)
      : isa_(isa),
        kernels_(cpu::kernels_of(isa)),
        fast_(cpu::fast_kernels_of(isa, math)),
        threads_(std::move(threads)) {}

  std::string name() const override { return "cpu " + name_of(isa_); }
  ThreadPool& threads() override { return *threads_; }

  std::shared_ptr<const PackedMatrix> pack(WeightMatrix weights) override {
    return cpu::pack(std::move(weights), *threads_, name_of(isa_));
  }

  Tensor embed(const WeightMatrix& table, std::span<const int32_t> ids, float scale) override {
    Tensor out(static_cast<int64_t>(ids.size()), table.cols());
    by_rows(out, [&](int64_t r) {
      const int64_t id = ids[static_cast<size_t>(r)];
      LATHE_CHECK(0 <= id && id < table.rows());
      table.decode_rows(id, id + 1, out.mutable_row(r));
      if (scale != 1.0f) kernels_.scale(out.mutable_row(r), scale, out.cols());
    });
    // The system maps the neighbours of each row that is read, 64 KB: a prompt of 512 scattered
    // words would keep 33 MB of a mapped table in memory.
    if (ids.size() >= 64) {
      for (const Bytes& part : table.parts()) release_pages(part);
    }
    return out;
  }

  Tensor linear(const Linear& w, const Tensor& x) override {
    const Linear* one = &w;
    return std::move(linears({&one, 1}, x).front());
  }

  std::vector<Tensor> linears(std::span<const Linear* const> ws, const Tensor& x) override {
    std::vector<Tensor> out;
    std::vector<cpu::Product> products;
    for (const Linear* w : ws) {
      const PackedMatrix& matrix = *w->weight;
      LATHE_CHECK(typeid(matrix) == typeid(cpu::CpuPacked));  // packed by this backend
      const auto* packed = static_cast<const cpu::CpuPacked*>(&matrix);
      LATHE_CHECK(w->bias.empty() || static_cast<int64_t>(w->bias.size()) == packed->rows());
      out.emplace_back(x.rows(), packed->rows());
      products.push_back(
          {packed, w->bias.empty() ? nullptr : w->bias.data(), out.back().mutable_data()});
    }
    cpu::multiply(kernels_, fast_, *threads_, products, x, &foresight_);
    return out;
  }

  Tensor norm(const Norm& n, const Tensor& x) override {
    const auto size = static_cast<int64_t>(n.weight.size());
    LATHE_CHECK(size > 0 && x.cols() % size == 0);
    LATHE_CHECK(n.bias.empty() || n.bias.size() == n.weight.size());
    Tensor out(x.rows(), x.cols());
    by_rows(out, [&](int64_t r) {
      for (int64_t i = 0; i < x.cols(); i += size) {
        const float* from = x.row(r) + i;
        float* to = out.mutable_row(r) + i;
        if (n.kind == NormKind::kRms) {
          kernels_.rms_norm(from, n.weight.data(), n.eps, size, to);
        } else {
          kernels_.layer_norm(from, n.weight.data(), n.bias.empty() ? nullptr : n.bias.data(),
                              n.eps, size, to);
        }
      }
    });
    return out;
  }

  Tensor add(Tensor a, const Tensor& b) override {
    LATHE_CHECK(a.cols() == b.cols() && (a.rows() == b.rows() || b.rows() == 1));
    a = owned(std::move(a));
    by_rows(a, [&](int64_t r) {
      kernels_.add(a.mutable_row(r), b.row(b.rows() == 1 ? 0 : r), a.cols());
    });
    return a;
  }

  Tensor activate(Activation f, Tensor x) override {
    x = owned(std::move(x));
    by_blocks(x, [&](int64_t begin, int64_t count) {
      kernels_.activate(unary_of(f), x.mutable_data() + begin, count);
    });
    return x;
  }

  Tensor gate(Activation f, Tensor gate, const Tensor& up) override {
    LATHE_CHECK(gate.cols() == up.cols() && gate.rows() == up.rows());
    gate = owned(std::move(gate));
    by_blocks(gate, [&](int64_t begin, int64_t count) {
      kernels_.gate(unary_of(f), gate.mutable_data() + begin, up.data() + begin, count);
    });
    return gate;
  }

  Tensor rope(const Rope& r, std::span<const int32_t> positions, int64_t head_size,
              Tensor x) override {
    const auto half = static_cast<int64_t>(r.inverse_frequency.size());
    if (half == 0) return x;
    LATHE_CHECK(2 * half <= head_size && x.cols() % head_size == 0);
    LATHE_CHECK(static_cast<int64_t>(positions.size()) == x.rows());
    x = owned(std::move(x));
    const float* table = rope_table_.of(r, positions, *threads_);
    by_rows(x, [&](int64_t row) {
      const float* cosine = table + row * 2 * half;
      for (int64_t h = 0; h < x.cols(); h += head_size) {
        kernels_.rotate(x.mutable_row(row) + h, cosine, cosine + half, half);
      }
    });
    return x;
  }

  Tensor attention(const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
                   const Tensor& q, const Tensor& k, const Tensor& v) override {
    return cpu::attend(kernels_, fast_, *threads_, spec, layer, spans, q, k, v);
  }

  Tensor soft_cap(float cap, Tensor x) override {
    x = owned(std::move(x));
    by_blocks(x, [&](int64_t begin, int64_t count) {
      kernels_.soft_cap(cap, x.mutable_data() + begin, count);
    });
    return x;
  }

  Tensor take_rows(std::span<const int64_t> rows, const Tensor& x) override {
    Tensor out(static_cast<int64_t>(rows.size()), x.cols());
    by_rows(out, [&](int64_t r) {
      const int64_t from = rows[static_cast<size_t>(r)];
      LATHE_CHECK(0 <= from && from < x.rows());
      std::memcpy(out.mutable_row(r), x.row(from), static_cast<size_t>(x.cols()) * 4);
    });
    return out;
  }

 private:
  // The tensor itself if nobody else holds it, else a copy.
  static Tensor owned(Tensor x) {
    if (x.unique()) return x;
    Tensor copy(x.rows(), x.cols());
    std::memcpy(copy.mutable_data(), x.data(), static_cast<size_t>(x.size()) * 4);
    return copy;
  }

  template <typename Fn>
  void by_rows(const Tensor& x, Fn fn) {
    const int64_t grain = std::max<int64_t>(1, kGrainElems / std::max<int64_t>(1, x.cols()));
    threads_->parallel_for(x.rows(), grain, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) fn(r);
    });
  }

  // Element-wise: the whole tensor as one run.
  template <typename Fn>
  void by_blocks(const Tensor& x, Fn fn) {
    threads_->parallel_for(x.size(), kGrainElems,
                           [&](int64_t begin, int64_t end) { fn(begin, end - begin); });
  }

  Isa isa_;
  const cpu::Kernels& kernels_;
  const cpu::FastKernels* fast_;
  std::shared_ptr<ThreadPool> threads_;
  cpu::Foresight foresight_;
  RopeTable rope_table_;
};

}  // namespace

namespace cpu {

const Kernels& kernels_of(Isa isa) {
#if defined(__x86_64__)
  // AMX adds tiles for matrix products to AVX-512, no lanes.
  if (isa == Isa::kAvx512 || isa == Isa::kAmx) return kAvx512Kernels;
  if (isa == Isa::kAvx2) return kAvx2Kernels;
#endif
  LATHE_CHECK(isa == Isa::kPortable);
  return kPortableKernels;
}

#if defined(__x86_64__)
namespace {

// The dot products of BF16 pairs double the rate of f32 on AMD's cores and halve it on Intel's,
// which have AMX instead.
const FastKernels& fast_avx512() {
  if (__builtin_cpu_is("amd")) return kAvx512Fast;
  static const FastKernels without_bf16 = [] {
    FastKernels fast = kAvx512Fast;
    fast.decode_bf16 = nullptr;
    fast.round_bf16 = nullptr;
    fast.multiply_bf16 = nullptr;
    return fast;
  }();
  return without_bf16;
}

}  // namespace
#endif

const FastKernels* fast_kernels_of(Isa isa, Math math) {
  if (math == Math::kExact) return nullptr;
#if defined(__x86_64__)
  if (isa == Isa::kAmx) return &kAmxFast;
  if (isa == Isa::kAvx512) return &fast_avx512();
  if (isa == Isa::kAvx2) return &kAvx2Fast;
#endif
  return nullptr;
}

}  // namespace cpu

std::unique_ptr<Ops> make_cpu_ops(Isa isa, std::shared_ptr<ThreadPool> threads, Math math) {
  return std::make_unique<CpuOps>(isa, std::move(threads), math);
}

std::unique_ptr<Ops> make_cpu_ops(Isa isa, ThreadPool& threads, Math math) {
  return make_cpu_ops(isa, std::shared_ptr<ThreadPool>(std::shared_ptr<void>(), &threads), math);
}

std::vector<KernelChoice> explain_cpu_kernel(Isa isa, const WeightMatrix& weights) {
  std::vector<KernelChoice> choices;
  for (const cpu::Packer& packer : cpu::packers()) {
    const auto reason = packer.declines(weights);
    choices.push_back({fmt::format("{} {}", packer.name, name_of(isa)), reason.value_or("")});
    if (!reason) return choices;
  }
  choices.push_back({"decode " + name_of(isa), ""});
  return choices;
}

}  // namespace lathe
