#include "lathe/compress/work_matrix.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "lathe/base/wide.h"
#include "lathe/formats/matrix_encoder.h"

namespace lathe {
namespace {

// Floats that a thread has in hand at a time: decoded, encoded and compared they stay in its cache.
constexpr int64_t kChunkElems = 16384;

int64_t chunk_rows(int64_t cols) { return std::max<int64_t>(1, kChunkElems / cols); }

bool same(const Format& a, const Format& b) { return a.id() == b.id() && a.spec() == b.spec(); }

using Sums = WorkMatrix::RowSums;

// In sixteen sums each, so that they vectorise; squares of at most 8 weights are added up in f32.
LATHE_WIDE Sums compare(const float* a, const float* b, int64_t count) {
  constexpr int kLanes = 16, kRun = 8 * kLanes;
  double error[kLanes] = {}, power[kLanes] = {};
  int32_t zeros[kLanes] = {};
  int64_t i = 0;
  for (; i + kRun <= count; i += kRun) {
    float errors[kLanes] = {}, powers[kLanes] = {};
    for (int64_t j = i; j < i + kRun; j += kLanes) {
      for (int l = 0; l < kLanes; ++l) {
        const float x = a[j + l], d = b[j + l] - x;
        errors[l] += d * d;
        powers[l] += x * x;
        zeros[l] += b[j + l] == 0.0f;
      }
    }
    for (int l = 0; l < kLanes; ++l) error[l] += static_cast<double>(errors[l]);
    for (int l = 0; l < kLanes; ++l) power[l] += static_cast<double>(powers[l]);
  }
  Sums sums;
  for (; i < count; ++i) {
    const double x = a[i], d = static_cast<double>(b[i]) - x;
    sums.error += d * d;
    sums.power += x * x;
    sums.zeros += b[i] == 0.0f;
  }
  for (int l = 0; l < kLanes; ++l) {
    sums.error += error[l];
    sums.power += power[l];
    sums.zeros += zeros[l];
  }
  return sums;
}

// Pruned weights that are not zero.
int64_t lost_zeros(const uint8_t* mask, const float* weights, int64_t count) {
  int64_t lost = 0;
  for (int64_t i = 0; i < count; ++i) lost += mask[i] & static_cast<int>(weights[i] != 0.0f);
  return lost;
}

}  // namespace

const float* WorkMatrix::rows(int64_t begin, int64_t end, std::vector<float>& scratch) const {
  if (!weights_.empty()) return weights_.data() + begin * info_.cols;
  scratch.resize(static_cast<size_t>((end - begin) * info_.cols));
  stored_.decode_rows(begin, end, scratch.data());
  return scratch.data();
}

const float* WorkMatrix::weights(ThreadPool& pool) {
  if (weights_.empty()) weights_ = stored_.decode(pool);
  return weights_.data();
}

void WorkMatrix::prune(const std::vector<uint8_t>& mask, ThreadPool& pool) {
  LATHE_CHECK(static_cast<int64_t>(mask.size()) == size());
  weights(pool);
  change();
  mask_.resize(mask.size());
  // Local pointers, without branches: this vectorises.
  const uint8_t* added = mask.data();
  uint8_t* all = mask_.data();
  float* weights = weights_.data();
  pool.parallel_for(size(), 4096, [=](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) all[i] |= added[i];
    for (int64_t i = begin; i < end; ++i) weights[i] = added[i] ? 0.0f : weights[i];
  });
}

void WorkMatrix::replace(std::vector<float> weights) {
  LATHE_CHECK(static_cast<int64_t>(weights.size()) == size());
  weights_ = std::move(weights);
  change();
}

void WorkMatrix::store(WeightMatrix stored) {
  LATHE_CHECK(stored.rows() == info_.rows && stored.cols() == info_.cols);
  change();
  become(std::move(stored));
}

void WorkMatrix::note_damping(double asked, double used) {
  if (used > asked) note_ = fmt::format("damping raised from {:g} to {:g}", asked, used);
}

Status WorkMatrix::quantize(const FormatPtr& format, ThreadPool& pool) {
  if (is_stored() && same(*format, stored_.format())) return {};
  const int64_t rows = info_.rows, cols = info_.cols;
  LATHE_TRY(MatrixEncoder encoder, MatrixEncoder::create(format, rows, cols, info_.name));
  if (!encoder.by_rows()) {
    LATHE_TRY(WeightMatrix whole,
              WeightMatrix::encode(format, weights(pool), rows, cols, info_.name, &pool));
    change();
    become(std::move(whole));
    return {};
  }
  // What is decoded here is the source itself: the error is measured on the way.
  std::vector<Sums> sums(untouched_ && encoder.decodes() ? static_cast<size_t>(rows) : 0);
  std::atomic<bool> finite = true;
  pool.parallel_for(rows, 1, [&](int64_t first, int64_t last) {
    std::vector<float> scratch, after;
    for (int64_t begin = first; begin < last; begin += chunk_rows(cols)) {
      const int64_t end = std::min(last, begin + chunk_rows(cols));
      const float* before = this->rows(begin, end, scratch);
      if (!encoder.encode(begin, end, before)) finite = false;
      if (sums.empty()) continue;
      after.resize(static_cast<size_t>((end - begin) * cols));
      encoder.decode(begin, end, after.data());
      for (int64_t r = begin; r < end; ++r) {
        const int64_t at = (r - begin) * cols;
        sums[static_cast<size_t>(r)] = compare(before + at, after.data() + at, cols);
      }
    }
  });
  if (!finite) {
    return bad_input("{}: a weight is not finite; a checkpoint must hold finite numbers",
                     info_.name);
  }
  LATHE_TRY(WeightMatrix stored, encoder.finish(info_.name));
  change();
  become(std::move(stored));
  sums_ = std::move(sums);
  return {};
}

void WorkMatrix::change() {
  changed_ = true;
  untouched_ = false;
  sums_.clear();
}

void WorkMatrix::become(WeightMatrix stored) {
  stored_ = std::move(stored);
  weights_ = {};
  changed_ = false;
}

StorageError storage_error(const WorkMatrix& matrix, ThreadPool& pool) {
  LATHE_CHECK(matrix.is_stored());
  const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
  const std::vector<uint8_t>& mask = matrix.mask();
  std::vector<Sums> sums = matrix.sums();
  std::vector<int64_t> lost(static_cast<size_t>(rows));
  const bool measured = !sums.empty();
  sums.resize(static_cast<size_t>(rows));
  pool.parallel_for(measured ? 0 : rows, 1, [&](int64_t first, int64_t last) {
    std::vector<float> before, after;
    for (int64_t begin = first; begin < last; begin += chunk_rows(cols)) {
      const int64_t end = std::min(last, begin + chunk_rows(cols));
      before.resize(static_cast<size_t>((end - begin) * cols));
      matrix.source().decode_rows(begin, end, before.data());
      const float* now = matrix.is_untouched() ? before.data() : matrix.rows(begin, end, after);
      for (int64_t r = begin; r < end; ++r) {
        const int64_t at = (r - begin) * cols;
        sums[static_cast<size_t>(r)] = compare(before.data() + at, now + at, cols);
        if (!mask.empty()) {
          lost[static_cast<size_t>(r)] = lost_zeros(mask.data() + r * cols, now + at, cols);
        }
      }
    }
  });
  StorageError out;
  double error = 0, power = 0;
  for (int64_t r = 0; r < rows; ++r) {
    error += sums[static_cast<size_t>(r)].error;
    power += sums[static_cast<size_t>(r)].power;
    out.zeros += sums[static_cast<size_t>(r)].zeros;
    out.lost_zeros += lost[static_cast<size_t>(r)];
  }
  out.mse = error / static_cast<double>(matrix.size());
  out.relative_error = power > 0 ? std::sqrt(error / power) : 0;
  return out;
}

}  // namespace lathe
