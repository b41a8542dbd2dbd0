#include "lathe/backend/cpu/kv_products.h"

#include <algorithm>

#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {
namespace {

constexpr int64_t kRun = KvCache::kValueRun;
// From so many rows on, tiles pay for splitting the cache's floats.
constexpr int64_t kTileRows = 16;

KvCode code_of(KvType type) {
  switch (type) {
    case KvType::kF16:
      return KvCode::kF16;
    case KvType::kBf16:
      return KvCode::kBf16;
    case KvType::kInt8:
      return KvCode::kInt8;
    case KvType::kF32:
    case KvType::kInt4:  // decoded first
      break;
  }
  return KvCode::kF32;
}

}  // namespace

KvProducts::KvProducts(const Kernels& kernels, const FastKernels* fast, const KvCache& cache,
                       int64_t layer, int64_t head, const float* queries, int64_t rows)
    : kernels_(kernels),
      fast_(fast && fast->multiply_kv && rows >= kTileRows ? fast : nullptr),
      cache_(cache),
      layer_(layer),
      head_(head),
      rows_(rows),
      queries_(queries) {}

void KvProducts::multiply(const KvTile& tile, const float* x, int64_t ldx, float* y, int64_t ldy,
                          bool accumulate) const {
  if (fast_ && tile.code != KvCode::kInt8) {
    auto* memory =
        reinterpret_cast<uint32_t*>(scratch(Slot::kCodes, kv_tile_dwords(rows_, tile.depth)));
    return fast_->multiply_kv(&tile, x, ldx, y, ldy, rows_, accumulate, memory);
  }
  kernels_.multiply_kv(&tile, x, ldx, y, ldy, rows_, accumulate);
}

// 16 positions as a packed matrix of 16 rows.
PackedView KvProducts::int4_block(bool keys, int64_t position) const {
  PackedView view{};
  view.codes = Codes::kInt4;
  view.rows = kPanel;
  view.cols = cache_.shape().key_stride();
  view.group = KvShape::kGroup;
  view.groups = cache_.shape().groups();
  for (int i = 0; i < 16; ++i) view.table[i] = static_cast<float>(i);
  view.scale_kind = Scales::kF16;
  const auto at = [&](KvCache::Part of_keys, KvCache::Part of_values) {
    return cache_.part(layer_, head_, keys ? of_keys : of_values, position);
  };
  view.data = at(KvCache::kKeys, KvCache::kValues);
  view.scales = at(KvCache::kKeyScales, KvCache::kValueScales);
  view.offsets =
      reinterpret_cast<const uint16_t*>(at(KvCache::kKeyOffsets, KvCache::kValueOffsets));
  return view;
}

void KvProducts::scores(int64_t begin, int64_t count, float* scores, int64_t ld) const {
  const KvShape& shape = cache_.shape();
  const int64_t panels = (count + kPanel - 1) / kPanel;
  if (shape.type == KvType::kInt4) {
    constexpr int64_t kStride = kMost;
    float* tile = scratch(Slot::kTile, (shape.key_stride() + 8) * kStride);
    for (int64_t p = 0; p < panels; ++p) {
      const PackedView block = int4_block(true, begin + p * kPanel);
      kernels_.decode(&block, 0, 0, shape.head_size, tile + p * kPanel, kStride);
    }
    const KvTile keys{KvCode::kF32,    tile,    kStride, kPanel, panels,
                      shape.head_size, nullptr, nullptr};
    return multiply(keys, queries_, shape.head_size, scores, ld, false);
  }
  const float* scales = nullptr;
  if (shape.type == KvType::kInt8) {
    scales = reinterpret_cast<const float*>(cache_.part(layer_, head_, KvCache::kKeyScales, begin));
  }
  const KvTile keys{code_of(shape.type),
                    cache_.part(layer_, head_, KvCache::kKeys, begin),
                    kPanel,
                    kPanel * shape.key_stride(),
                    panels,
                    shape.head_size,
                    scales,
                    nullptr};
  multiply(keys, queries_, shape.head_size, scores, ld, false);
}

void KvProducts::add_values(int64_t begin, int64_t count, const float* weights, int64_t ld,
                            float* sums) const {
  const KvShape& shape = cache_.shape();
  const int64_t stride = shape.value_stride(), panels = stride / kPanel;
  if (shape.type == KvType::kInt4) {
    // Decoded by component, then turned: [position][Dv].
    float* values = scratch(Slot::kTile, kMost * stride);
    float* block = scratch(Slot::kValues, (stride + 8) * kPanel);
    for (int64_t j = 0; j < count; j += kPanel) {
      const PackedView view = int4_block(false, begin + j);
      kernels_.decode(&view, 0, 0, stride, block, kPanel);
      for (int64_t d = 0; d < stride; d += kPanel) {
        kernels_.transpose(block + d * kPanel, kPanel, kPanel, kPanel, values + j * stride + d,
                           stride);
      }
    }
    const KvTile tile{KvCode::kF32, values, stride, kPanel, panels, count, nullptr, nullptr};
    return multiply(tile, weights, ld, sums, stride, true);
  }
  if (shape.type != KvType::kInt8) {
    const KvTile tile{code_of(shape.type),
                      cache_.part(layer_, head_, KvCache::kValues, begin),
                      stride,
                      kPanel,
                      panels,
                      count,
                      nullptr,
                      nullptr};
    return multiply(tile, weights, ld, sums, stride, true);
  }
  for (int64_t from = 0; from < count; from += kRun) {
    const KvTile tile{KvCode::kInt8,
                      cache_.part(layer_, head_, KvCache::kValues, begin + from),
                      kPanel,
                      kRun * kPanel,
                      panels,
                      std::min(kRun, count - from),
                      nullptr,
                      reinterpret_cast<const float*>(
                          cache_.part(layer_, head_, KvCache::kValueScales, begin + from))};
    multiply(tile, weights + from, ld, sums, stride, true);
  }
}

}  // namespace lathe::cpu
