#include "lathe/backend/cpu/linear_bf16.h"

#include <algorithm>
#include <vector>

#include "lathe/backend/cpu/expanded.h"
#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {
namespace {

// Columns of a slab: 2 panels × 512 columns × 2 bytes = 32 kB of weights stay in the first-level
// cache while all tokens pass.
constexpr int64_t kSlab = 512;
// Tokens that pass at once: their slab (512 kB) and the sums of a task (512 kB) share the
// second-level cache.
constexpr int64_t kTokenChunk = 512;
// Panels of a task at most, for the same reason.
constexpr int64_t kTaskPanels = 16;

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
int64_t panels_of(const CpuPacked& w) { return (w.rows() + kPanel - 1) / kPanel; }

struct Chunk {
  int64_t first, tokens;  // of x
  const uint16_t* x;      // [slabs][token blocks][tiles of the slab][16][32]
};

// Panels [begin, end) of one product with all tokens of the chunk.
void task(const Kernels& kernels, const FastKernels& fast, const Product& p, const Chunk& chunk,
          int64_t begin, int64_t end) {
  const PackedView& v = *p.weight->view();
  Expanded expanded(kernels, v);
  const int64_t blocks = (chunk.tokens + kTileTokens - 1) / kTileTokens;
  auto* decoded = reinterpret_cast<uint32_t*>(scratch(Slot::kTile, kSlab * kPanel));
  float* sums = scratch(Slot::kOutput, blocks * round_up(end - begin, 2) * kTileTokens * kPanel);
  for (int64_t k0 = 0; k0 < v.cols; k0 += kSlab) {
    const int64_t k1 = std::min(v.cols, k0 + kSlab);
    // BF16 panels are tiles already, unless the last one is cut short.
    const bool tiled = v.codes == Codes::kBf16 && !v.masks && (k1 - k0) % kTileDepth == 0;
    for (int64_t panel = begin; panel < end; panel += 2) {
      const int64_t panels = std::min<int64_t>(2, end - panel);
      for (int64_t i = 0; !tiled && i < panels; ++i) {
        fast.decode_bf16(expanded.of(panel + i, k0, k1), panel + i, k0, k1,
                         decoded + i * kSlab / 2 * kPanel);
      }
      Bf16Product b;
      b.weights = decoded;
      b.panel_stride = kSlab / 2 * kPanel;
      if (tiled) {
        b.weights =
            reinterpret_cast<const uint32_t*>(v.data + panel * v.panel_bytes) + k0 / 2 * kPanel;
        b.panel_stride = v.panel_bytes / 4;
      }
      b.panels = static_cast<int32_t>(panels);
      b.tiles = (k1 - k0 + kTileDepth - 1) / kTileDepth;
      b.x = chunk.x + k0 * blocks * kTileTokens;
      b.block_stride = b.tiles * kTileDepth * kTileTokens;
      b.tokens = chunk.tokens;
      b.sums = sums + (panel - begin) * blocks * kTileTokens * kPanel;
      b.first = k0 == 0;
      b.last = k1 == v.cols;
      b.y = p.out + chunk.first * v.rows + panel * kPanel;
      b.ldy = v.rows;
      b.rows = v.rows - panel * kPanel;
      b.bias = p.bias ? p.bias + panel * kPanel : nullptr;
      fast.multiply_bf16(&b);
    }
  }
}

}  // namespace

void multiply_bf16(const Kernels& kernels, const FastKernels& fast, ThreadPool& pool,
                   std::span<const Product> products, const Tensor& x) {
  const int64_t columns = round_up(x.cols(), kTileDepth);
  int64_t all_panels = 0;
  for (const Product& p : products) all_panels += panels_of(*p.weight);
  const int64_t step =
      std::clamp<int64_t>(round_up(all_panels / (4 * pool.size()), 2), 2, kTaskPanels);
  struct Task {
    const Product* product;
    int64_t begin, end;
  };
  std::vector<Task> tasks;
  for (const Product& p : products) {
    const int64_t panels = panels_of(*p.weight);
    for (int64_t i = 0; i < panels; i += step) tasks.push_back({&p, i, std::min(panels, i + step)});
  }
  // Of this thread, read by the others while they work for it.
  auto* rounded = reinterpret_cast<uint16_t*>(
      scratch(Slot::kInput, round_up(std::min(x.rows(), kTokenChunk), kTileTokens) * columns / 2));
  for (int64_t first = 0; first < x.rows(); first += kTokenChunk) {
    const Chunk chunk{first, std::min(kTokenChunk, x.rows() - first), rounded};
    const int64_t blocks = (chunk.tokens + kTileTokens - 1) / kTileTokens;
    pool.parallel_for(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        const int64_t t = b * kTileTokens;
        for (int64_t k0 = 0; k0 < x.cols(); k0 += kSlab) {
          const int64_t slab = std::min(kSlab, columns - k0);
          fast.round_bf16(
              x.row(first + t) + k0, x.cols(), std::min<int64_t>(kTileTokens, chunk.tokens - t),
              std::min(kSlab, x.cols() - k0), rounded + k0 * blocks * kTileTokens + t * slab);
        }
      }
    });
    for_each_task(pool, static_cast<int64_t>(tasks.size()), [&](int64_t i) {
      const Task& t = tasks[static_cast<size_t>(i)];
      task(kernels, fast, *t.product, chunk, t.begin, t.end);
    });
  }
}

}  // namespace lathe::cpu
