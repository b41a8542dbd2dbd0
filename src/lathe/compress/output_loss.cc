#include "lathe/compress/output_loss.h"

#include <algorithm>

#include "lathe/backend/cpu/cpu_backend.h"

namespace lathe {

Result<OutputLoss> OutputLoss::create(const LinearStats& stats, ThreadPool& pool) {
  LATHE_TRY(const Isa isa, chosen_isa());
  LATHE_OK(stats.check_finite());
  const std::vector<float> gram = stats.mean_gram();
  OutputLoss out;
  out.ops_ = make_cpu_ops(isa, pool, Math::kExact);
  out.size_ = stats.size;
  out.gram_.weight = out.ops_->pack(WeightMatrix::of_floats(gram.data(), stats.size, stats.size));
  return out;
}

double OutputLoss::operator()(const float* errors, int64_t rows) const {
  constexpr int64_t kAtOnce = 256;
  double sum = 0;
  for (int64_t begin = 0; begin < rows; begin += kAtOnce) {
    const int64_t count = std::min(kAtOnce, rows - begin);
    Tensor e(count, size_);
    std::copy_n(errors + begin * size_, count * size_, e.mutable_data());
    const Tensor product = ops_->linear(gram_, e);
    for (int64_t i = 0; i < count * size_; ++i) {
      sum += static_cast<double>(e.data()[i]) * static_cast<double>(product.data()[i]);
    }
  }
  return sum;
}

}  // namespace lathe
