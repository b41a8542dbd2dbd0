#include "lathe/compress/work_matrix.h"

#include <algorithm>
#include <cmath>

namespace lathe {
namespace {

// Floats that a thread has in hand at a time: decoded, encoded and compared they stay in its cache.
constexpr int64_t kChunkElems = 16384;

int64_t chunk_rows(int64_t cols) { return std::max<int64_t>(1, kChunkElems / cols); }

bool same(const Format& a, const Format& b) { return a.id() == b.id() && a.spec() == b.spec(); }

// Σ (b − a)² and Σ a², with eight sums each so that they vectorise.
struct Sums {
  double error = 0, power = 0;
  int64_t zeros = 0;
};

Sums compare(const float* a, const float* b, int64_t count) {
  constexpr int kLanes = 8;
  double error[kLanes] = {}, power[kLanes] = {};
  int32_t zeros[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) {
      const double x = a[i + l], d = static_cast<double>(b[i + l]) - x;
      error[l] += d * d;
      power[l] += x * x;
      zeros[l] += b[i + l] == 0.0f;
    }
  }
  for (int l = 0; i < count; ++i, ++l) {
    const double x = a[i], d = static_cast<double>(b[i]) - x;
    error[l] += d * d;
    power[l] += x * x;
    zeros[l] += b[i] == 0.0f;
  }
  Sums sums;
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
  changed_ = true;
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
  changed_ = true;
}

void WorkMatrix::store(WeightMatrix stored) {
  LATHE_CHECK(stored.rows() == info_.rows && stored.cols() == info_.cols);
  stored_ = std::move(stored);
  weights_ = {};
  changed_ = false;
}

void WorkMatrix::note_damping(double asked, double used) {
  if (used > asked) note_ = fmt::format("damping raised from {:g} to {:g}", asked, used);
}

Status WorkMatrix::quantize(const FormatPtr& format, ThreadPool& pool) {
  if (is_stored() && same(*format, stored_.format())) return {};
  const int64_t rows = info_.rows, cols = info_.cols;
  if (!format->rows_independent()) {
    LATHE_TRY(stored_, WeightMatrix::encode(format, weights(pool), rows, cols, info_.name, &pool));
    weights_ = {};
    changed_ = false;
    return {};
  }
  LATHE_OK_IN(format->supports(rows, cols), info_.name);
  std::vector<Bytes> parts;
  std::vector<uint8_t*> buffers;
  for (const PartSpec& part : format->parts(rows, cols)) {
    uint8_t* data = nullptr;
    parts.push_back(Bytes::allocate(static_cast<size_t>(part.bytes()), &data));
    buffers.push_back(data);
  }
  pool.parallel_for(rows, 1, [&](int64_t first, int64_t last) {
    std::vector<float> scratch;
    std::vector<uint8_t*> out(buffers.size());
    for (int64_t begin = first; begin < last; begin += chunk_rows(cols)) {
      const int64_t end = std::min(last, begin + chunk_rows(cols));
      for (size_t p = 0; p < out.size(); ++p) {
        out[p] = buffers[p] + begin * (static_cast<int64_t>(parts[p].size()) / rows);
      }
      format->encode(this->rows(begin, end, scratch), end - begin, cols, out);
    }
  });
  // Finite weights can still lie outside what the format can hold (70000 in f16).
  auto encoded = WeightMatrix::create(format, rows, cols, std::move(parts), info_.name);
  if (!encoded.ok()) {
    return bad_input("the weights do not fit format {}: {}", format->spec(),
                     encoded.error().message)
        .with_hint("use a format with a wider range, such as bf16");
  }
  stored_ = std::move(*encoded);
  weights_ = {};
  changed_ = false;
  return {};
}

StorageError storage_error(const WorkMatrix& matrix, ThreadPool& pool) {
  LATHE_CHECK(matrix.is_stored());
  const int64_t rows = matrix.info().rows, cols = matrix.info().cols;
  const std::vector<uint8_t>& mask = matrix.mask();
  std::vector<Sums> sums(static_cast<size_t>(rows));
  std::vector<int64_t> lost(static_cast<size_t>(rows));
  pool.parallel_for(rows, 1, [&](int64_t first, int64_t last) {
    std::vector<float> before, after;
    for (int64_t begin = first; begin < last; begin += chunk_rows(cols)) {
      const int64_t end = std::min(last, begin + chunk_rows(cols));
      before.resize(static_cast<size_t>((end - begin) * cols));
      matrix.source().decode_rows(begin, end, before.data());
      const float* now = matrix.rows(begin, end, after);
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
