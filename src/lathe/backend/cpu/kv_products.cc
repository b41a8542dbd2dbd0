#include "lathe/backend/cpu/kv_products.h"

#include <algorithm>

#include "lathe/backend/cpu/quantized.h"
#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {
namespace {

constexpr int64_t kRun = KvCache::kValueRun;
constexpr int64_t kPanelOfRun = kRun * kPanel;  // bytes

KvCode code_of(KvType type) {
  switch (type) {
    case KvType::kF16:
      return KvCode::kF16;
    case KvType::kBf16:
      return KvCode::kBf16;
    case KvType::kInt8:
      return KvCode::kInt8;
    case KvType::kF32:
      break;
  }
  return KvCode::kF32;
}

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Memory of one slice of at most kCodeTokens rows.
int64_t slice_bytes(int64_t cols) { return round_up(quantized_bytes(kCodeTokens, cols, cols), 64); }

}  // namespace

KvProducts::KvProducts(const Kernels& kernels, const FastKernels* fast, const KvCache& cache,
                       int64_t layer, int64_t head, const float* queries, int64_t rows)
    : kernels_(kernels),
      fast_(cache.shape().type == KvType::kInt8 ? fast : nullptr),
      code_(code_of(cache.shape().type)),
      rows_(rows),
      size_(cache.shape().head_size),
      key_stride_(cache.shape().key_stride()),
      value_stride_(cache.shape().value_stride()),
      element_(element_bytes(cache.shape().type)),
      queries_(queries),
      keys_(static_cast<const uint8_t*>(cache.keys(layer, head))),
      values_(static_cast<const uint8_t*>(cache.values(layer, head))) {
  if (code_ != KvCode::kInt8) return;
  key_scales_ = cache.key_scales(layer, head);
  value_scales_ = cache.value_scales(layer, head);
  if (!fast_) return;
  const int64_t slices = (rows + kCodeTokens - 1) / kCodeTokens;
  const int64_t bytes = slices * slice_bytes(size_) + slice_bytes(kRun);
  memory_ = reinterpret_cast<uint8_t*>(scratch(Slot::kCodes, bytes / 4));
  for (int64_t first = 0; first < rows; first += kCodeTokens) {
    QuantizedView x;
    place_quantized(std::min<int64_t>(kCodeTokens, rows - first), size_, size_,
                    memory_ + first / kCodeTokens * slice_bytes(size_), &x);
    for (int64_t r = 0; r < x.tokens; ++r) fast_->quantize(queries + (first + r) * size_, r, &x);
  }
}

PackedView KvProducts::codes_of(const void* data, int64_t rows, int64_t cols,
                                int64_t panel_bytes) const {
  PackedView view{};
  view.codes = Codes::kInt8;
  view.rows = rows;
  view.cols = view.group = cols;
  view.groups = 1;
  view.data = static_cast<const uint8_t*>(data);
  view.panel_bytes = panel_bytes;
  view.scale_kind = Scales::kNone;
  return view;
}

void KvProducts::scores(int64_t begin, int64_t count, float* scores, int64_t ld) const {
  const int64_t panels = (count + kPanel - 1) / kPanel;
  const uint8_t* data = keys_ + begin * key_stride_ * element_;
  const float* scales = key_scales_ ? key_scales_ + begin : nullptr;
  if (!fast_) {
    const KvTile tile{code_, data, kPanel, kPanel * key_stride_, panels, size_, scales, nullptr};
    return kernels_.multiply_kv(&tile, queries_, size_, scores, ld, rows_, false);
  }
  PackedView keys = codes_of(data, panels * kPanel, size_, kPanel * key_stride_);
  keys.scale_kind = Scales::kF32;
  keys.scales = scales;
  for (int64_t first = 0; first < rows_; first += kCodeTokens) {
    QuantizedView x;
    view_quantized(std::min<int64_t>(kCodeTokens, rows_ - first), size_, size_,
                   memory_ + first / kCodeTokens * slice_bytes(size_), &x);
    fast_->multiply_codes(&keys, 0, panels, &x, nullptr, scores + first * ld, ld);
  }
}

void KvProducts::add_values(int64_t begin, int64_t count, float* weights, int64_t ld,
                            float* sums) const {
  const int64_t panels = value_stride_ / kPanel;
  const uint8_t* data = values_ + begin * value_stride_ * element_;
  if (code_ != KvCode::kInt8) {
    const KvTile tile{code_, data, value_stride_, kPanel, panels, count, nullptr, nullptr};
    return kernels_.multiply_kv(&tile, weights, ld, sums, value_stride_, rows_, true);
  }
  const int64_t slices = (rows_ + kCodeTokens - 1) / kCodeTokens;
  uint8_t* memory = fast_ ? memory_ + slices * slice_bytes(size_) : nullptr;
  float* part = fast_ ? scratch(Slot::kValues, kCodeTokens * value_stride_) : nullptr;
  for (int64_t from = 0; from < count; from += kRun, data += kRun * value_stride_) {
    const int64_t n = std::min(kRun, count - from);
    const float* scales = value_scales_ + begin + from;
    if (!fast_) {
      const KvTile tile{code_, data, kPanel, kPanelOfRun, panels, n, nullptr, scales};
      kernels_.multiply_kv(&tile, weights + from, ld, sums, value_stride_, rows_, true);
      continue;
    }
    const PackedView values = codes_of(data, value_stride_, n, kPanelOfRun);
    for (int64_t first = 0; first < rows_; first += kCodeTokens) {
      QuantizedView x;
      place_quantized(std::min<int64_t>(kCodeTokens, rows_ - first), n, n, memory, &x);
      for (int64_t r = 0; r < x.tokens; ++r) {
        float* row = weights + (first + r) * ld + from;
        kernels_.scale_each(row, scales, n);
        fast_->quantize(row, r, &x);
      }
      fast_->multiply_codes(&values, 0, panels, &x, nullptr, part, value_stride_);
      kernels_.add(sums + first * value_stride_, part, x.tokens * value_stride_);
    }
  }
}

}  // namespace lathe::cpu
