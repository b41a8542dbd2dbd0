#include "lathe/backend/cpu/linear.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "lathe/backend/cpu/expanded.h"
#include "lathe/backend/cpu/linear_bf16.h"
#include "lathe/backend/cpu/linear_bytes.h"
#include "lathe/backend/cpu/quantized.h"
#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {
namespace {

// Columns of a tile. 2 panels × 256 columns × 4 bytes = 32 kB: the first-level cache, together with
// the 12 kB of x that one call of the kernel reads.
constexpr int64_t kTileColumns = 256;
// Tokens whose input is packed at a time: 240 × 256 × 4 bytes = 240 kB stay in the second-level
// cache.
constexpr int64_t kTokenChunk = 240;
// Bytes of codes in one task of a product with few tokens: 2 µs of a thread that gets 16 GB/s,
// which is what one waits for another at the end.
constexpr int64_t kTaskBytes = 32 << 10;

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
int64_t panels_of(const CpuPacked& w) { return (w.rows() + kPanel - 1) / kPanel; }

// ---- few tokens -------------------------------------------------------------------------------

// Rows of a matrix that is decoded when used: one row at a time, then dot products.
void few_decoded(const Kernels& kernels, const Product& p, int64_t begin, int64_t end,
                 const Tensor& x) {
  const int64_t cols = x.cols(), rows = p.weight->rows();
  float* row = scratch(Slot::kTile, cols);
  for (int64_t n = begin; n < end; ++n) {
    p.weight->source().decode_rows(n, n + 1, row);
    for (int64_t t = 0; t < x.rows(); ++t) {
      p.out[t * rows + n] = kernels.dot(row, x.row(t), cols) + (p.bias ? p.bias[n] : 0.0f);
    }
  }
}

// Σ x over groups of columns, per token: [T][groups].
std::vector<float> group_sums(const Tensor& x, const PackedView& v) {
  std::vector<float> sums(static_cast<size_t>(x.rows() * v.groups));
  for (int64_t t = 0; t < x.rows(); ++t) {
    for (int64_t g = 0; g < v.groups; ++g) {
      const int64_t last = std::min(v.cols, (g + 1) * v.group);
      double s = 0;
      for (int64_t k = g * v.group; k < last; ++k) s += x.row(t)[k];
      sums[static_cast<size_t>(t * v.groups + g)] = static_cast<float>(s);
    }
  }
  return sums;
}

// The panels (or rows) of a product, cut into tasks of about kTaskBytes, four per thread at least.
struct Share {
  const Product* product;
  const float* sums;           // of x over groups, or null
  const QuantizedView* codes;  // x as integers, or null
  int64_t count, step;         // panels, or rows of a matrix that is decoded when used; per task
  int64_t first, end;          // tasks, numbered through all products

  int64_t panel(int64_t task) const { return std::min(count, (task - first) * step); }
};

Share share_of(const Product& p, const ThreadPool& pool, int64_t cols, int64_t first) {
  const PackedView* v = p.weight->view();
  Share s{&p, nullptr, nullptr, v ? panels_of(*p.weight) : p.weight->rows(), 1, first, first};
  const int64_t unit_bytes = v ? v->panel_bytes + v->high_panel_bytes : 2 * cols;
  const int64_t most = (s.count + 4 * pool.size() - 1) / (4 * pool.size());
  s.step = std::clamp<int64_t>(kTaskBytes / std::max<int64_t>(1, unit_bytes), 1, most);
  s.end = first + (s.count + s.step - 1) / s.step;
  return s;
}

// The scales with which a panel begins.
ThreadPool::Soon scales_of(const PackedView& v, int64_t panel) {
  if (v.scale_kind == Scales::kNone) return {};
  const int64_t size = v.scale_kind == Scales::kF32 ? 4 : v.scale_kind == Scales::kF16 ? 2 : 1;
  const int64_t bytes = v.groups * kPanel * size;
  return {static_cast<const uint8_t*>(v.scales) + panel * bytes, bytes};
}

// What a thread reads first if its tasks begin with `task`: the matrix's description, the scales
// and the codes.
constexpr size_t kFirstParts = 3;
void first_of(std::span<const Share> shares, int64_t task, int64_t end, ThreadPool::Soon* soon) {
  for (const Share& s : shares) {
    const PackedView* v = s.product->weight->view();
    if (task >= s.end || task >= end || !v) continue;
    const int64_t panel = s.panel(task), bytes = (s.panel(end) - panel) * v->panel_bytes;
    soon[0] = {reinterpret_cast<const uint8_t*>(s.product->weight), sizeof(CpuPacked)};
    soon[1] = scales_of(*v, panel);
    soon[2] = {v->data + panel * v->panel_bytes, bytes};
    return;
  }
}

bool is_float(Codes codes) {
  return codes == Codes::kF32 || codes == Codes::kF16 || codes == Codes::kBf16;
}

// Whether few() multiplies integers.
bool by_codes(const FastKernels* fast, const Product& p) {
  return fast && p.weight->view() && !is_float(p.weight->view()->codes);
}

void few(const Kernels& kernels, const FastKernels* fast, ThreadPool& pool, Foresight* foresight,
         std::span<const Product> products, const Tensor& x) {
  const int64_t tokens = x.rows(), cols = x.cols(), columns = round_up(cols, 8);
  std::vector<Share> shares;
  shares.reserve(products.size());
  std::vector<std::vector<float>> all_sums;
  QuantizedInputs quantized(x);
  float* input = nullptr;  // [columns][T]
  for (const Product& p : products) {
    const PackedView* v = p.weight->view();
    Share share = share_of(p, pool, cols, shares.empty() ? 0 : shares.back().end);
    if (by_codes(fast, p)) {
      share.codes = quantized.of(*fast, pool, *v);
    } else {
      if (v && !input) {
        input = scratch(Slot::kInput, tokens * columns);
        for (int64_t t = 0; t < tokens; ++t) {
          for (int64_t k = 0; k < cols; ++k) input[k * tokens + t] = x.row(t)[k];
        }
        std::fill(input + cols * tokens, input + columns * tokens, 0.0f);
      }
      if (v && (v->zeros || v->offsets || v->mins)) {
        all_sums.push_back(group_sums(x, *v));
        share.sums = all_sums.back().data();
      }
    }
    shares.push_back(share);
  }
  const auto run = [&](const Share& s, int64_t begin, int64_t end) {
    const Product& p = *s.product;
    const int64_t rows = p.weight->rows();
    if (!p.weight->view()) return few_decoded(kernels, p, begin, end, x);
    const PackedView& view = *p.weight->view();
    if (view.masks && s.codes && fast->multiply_sparse && tokens <= kFewTokens) {
      fast->multiply_sparse(&view, begin, end, s.codes, p.bias, p.out, rows);
      return;
    }
    Expanded expanded(kernels, view);
    const int64_t step = expanded.at_once(end - begin);
    for (int64_t panel = begin; panel < end; panel += step) {
      const PackedView* v = expanded.of(panel, 0, cols);
      if (s.codes) {
        fast->multiply_codes(v, panel, panel + step, s.codes, p.bias, p.out, rows);
      } else {
        kernels.multiply_few(v, panel, panel + step, input, s.sums, static_cast<int32_t>(tokens),
                             p.bias, p.out, rows);
      }
    }
  };
  const int64_t tasks = shares.back().end;
  std::vector<ThreadPool::Soon> soon;
  if (foresight && tokens == 1 && pool.size() > 1) {
    soon.resize(kFirstParts * static_cast<size_t>(pool.size()));
    for (int t = 0; t < pool.size(); ++t) {
      first_of(shares, pool.own_begin(tasks, t), pool.own_begin(tasks, t + 1),
               &soon[kFirstParts * static_cast<size_t>(t)]);
    }
    soon = foresight->next(products[0].weight, soon);
  }
  // Neighbours of one product are one piece: kernels read several panels at once.
  pool.parallel_for(
      tasks, 1,
      [&](int64_t begin, int64_t end) {
        for (const Share& s : shares) {
          const int64_t from = std::max(begin, s.first), to = std::min(end, s.end);
          if (from < to) run(s, s.panel(from), s.panel(to));
        }
      },
      soon);
}

// ---- many tokens ------------------------------------------------------------------------------

// x of one chunk of tokens as [token blocks][K][tokens_at_once], tokens past the end being 0.
void pack_input(ThreadPool& pool, const Tensor& x, int64_t first, int64_t tokens, int64_t block,
                float* packed) {
  const int64_t cols = x.cols();
  pool.parallel_for((tokens + block - 1) / block, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      float* out = packed + b * block * cols;
      const int64_t count = std::min(block, tokens - b * block);
      for (int64_t k0 = 0; k0 < cols; k0 += 16) {  // one cache line of each token
        const int64_t k1 = std::min(cols, k0 + 16);
        for (int64_t t = 0; t < block; ++t) {
          const float* row = t < count ? x.row(first + b * block + t) : nullptr;
          for (int64_t k = k0; k < k1; ++k) out[k * block + t] = row ? row[k] : 0.0f;
        }
      }
    }
  });
}

struct Chunk {
  int64_t first, tokens;  // of x
  const float* packed;    // [token blocks][K][tokens_at_once]
};

// All tokens [from, to) of the chunk times one tile: panels × [k0, k1).
void tile_times_tokens(const Kernels& kernels, const Product& p, const Chunk& chunk, int64_t cols,
                       int64_t from, int64_t to, int64_t panel, int64_t panels, int64_t k0,
                       int64_t k1, const float* tile) {
  const int64_t block = kernels.tokens_at_once, stride = kernels.panels_at_once * kPanel;
  const int64_t rows = p.weight->rows();
  const int64_t valid = std::min(panels * kPanel, rows - panel * kPanel);
  for (int64_t t = from; t < to; t += block) {
    const int64_t count = std::min(block, chunk.tokens - t);
    const float* x = chunk.packed + (t / block * cols + k0) * block;
    float* y = p.out + (chunk.first + t) * rows + panel * kPanel;
    if (valid == panels * kPanel) {
      kernels.multiply(tile, stride, k1 - k0, x, y, rows, static_cast<int32_t>(panels),
                       static_cast<int32_t>(count), k0 > 0);
      continue;
    }
    float* whole = scratch(Slot::kOutput, block * stride);
    for (int64_t i = 0; k0 > 0 && i < count; ++i) {
      std::copy_n(y + i * rows, valid, whole + i * stride);
    }
    kernels.multiply(tile, stride, k1 - k0, x, whole, stride, static_cast<int32_t>(panels),
                     static_cast<int32_t>(count), k0 > 0);
    for (int64_t i = 0; i < count; ++i) std::copy_n(whole + i * stride, valid, y + i * rows);
  }
}

void add_bias(const Product& p, const Chunk& chunk, int64_t from, int64_t to, int64_t panel,
              int64_t panels) {
  if (!p.bias) return;
  const int64_t rows = p.weight->rows(), end = std::min(rows, (panel + panels) * kPanel);
  for (int64_t t = from; t < std::min(to, chunk.tokens); ++t) {
    float* y = p.out + (chunk.first + t) * rows;
    for (int64_t n = panel * kPanel; n < end; ++n) y[n] += p.bias[n];
  }
}

// Panels [begin, end) of one product with tokens [from, to) of the chunk.
void many(const Kernels& kernels, const Product& p, const Chunk& chunk, int64_t cols, int64_t begin,
          int64_t end, int64_t from, int64_t to) {
  const int64_t at_once = kernels.panels_at_once, stride = at_once * kPanel;
  if (const PackedView* v = p.weight->view()) {
    Expanded expanded(kernels, *v);
    float* tile = scratch(Slot::kTile, (kTileColumns + 8) * stride);
    for (int64_t k0 = 0; k0 < cols; k0 += kTileColumns) {
      const int64_t k1 = std::min(cols, k0 + kTileColumns);
      for (int64_t panel = begin; panel < end; panel += at_once) {
        const int64_t panels = std::min(at_once, end - panel);
        for (int64_t i = 0; i < panels; ++i) {
          kernels.decode(expanded.of(panel + i, k0, k1), panel + i, k0, k1, tile + i * kPanel,
                         stride);
        }
        tile_times_tokens(kernels, p, chunk, cols, from, to, panel, panels, k0, k1, tile);
      }
    }
    for (int64_t panel = begin; panel < end; panel += at_once) {
      add_bias(p, chunk, from, to, panel, std::min(at_once, end - panel));
    }
    return;
  }
  // Whole rows are decoded at once, so the panels are the outer loop.
  float* tile = scratch(Slot::kTile, kTileColumns * stride);
  float* decoded = scratch(Slot::kValues, stride * cols);
  for (int64_t panel = begin; panel < end; panel += at_once) {
    const int64_t panels = std::min(at_once, end - panel);
    const int64_t last = std::min(p.weight->rows(), (panel + panels) * kPanel);
    p.weight->source().decode_rows(panel * kPanel, last, decoded);
    for (int64_t k0 = 0; k0 < cols; k0 += kTileColumns) {
      const int64_t k1 = std::min(cols, k0 + kTileColumns);
      for (int64_t i = 0; i < panels; ++i) {
        const int64_t rows = std::min<int64_t>(kPanel, last - (panel + i) * kPanel);
        kernels.transpose(decoded + i * kPanel * cols + k0, cols, rows, k1 - k0, tile + i * kPanel,
                          stride);
      }
      tile_times_tokens(kernels, p, chunk, cols, from, to, panel, panels, k0, k1, tile);
    }
    add_bias(p, chunk, from, to, panel, panels);
  }
}

void many_tokens(const Kernels& kernels, ThreadPool& pool, std::span<const Product> products,
                 const Tensor& x) {
  const int64_t cols = x.cols(), block = kernels.tokens_at_once;
  Tensor packed(round_up(std::min(x.rows(), kTokenChunk), block), cols);
  for (int64_t first = 0; first < x.rows(); first += kTokenChunk) {
    const Chunk chunk{first, std::min(kTokenChunk, x.rows() - first), packed.data()};
    pack_input(pool, x, first, chunk.tokens, block, packed.mutable_data());
    struct Task {
      const Product* product;
      int64_t begin, end, from, to;
    };
    std::vector<Task> tasks;
    for (const Product& p : products) {
      const int64_t panels = panels_of(*p.weight);
      // Enough tasks for an even load; tokens are split only where panels are too few for that.
      const int64_t wanted = 4 * pool.size();
      const int64_t step =
          std::max(kernels.panels_at_once + int64_t{0},
                   round_up((panels + wanted - 1) / wanted, kernels.panels_at_once));
      const int64_t panel_tasks = (panels + step - 1) / step;
      const int64_t blocks = (chunk.tokens + block - 1) / block;
      const int64_t splits =
          pool.size() == 1 ? 1 : std::clamp<int64_t>(pool.size() * 2 / panel_tasks, 1, blocks);
      const int64_t token_step = (blocks + splits - 1) / splits * block;
      for (int64_t i = 0; i < panels; i += step) {
        for (int64_t t = 0; t < chunk.tokens; t += token_step) {
          tasks.push_back(
              {&p, i, std::min(panels, i + step), t, std::min(chunk.tokens, t + token_step)});
        }
      }
    }
    for_each_task(pool, static_cast<int64_t>(tasks.size()), [&](int64_t i) {
      const Task& t = tasks[static_cast<size_t>(i)];
      many(kernels, *t.product, chunk, cols, t.begin, t.end, t.from, t.to);
    });
  }
}

}  // namespace

void multiply(const Kernels& kernels, const FastKernels* fast, ThreadPool& pool,
              std::span<const Product> products, const Tensor& x, Foresight* foresight) {
  for (const Product& p : products) LATHE_CHECK(p.weight->cols() == x.cols());
  if (x.rows() == 0) return;
  std::vector<Product> small, bytes, rounded, large;
  for (const Product& p : products) {
    const bool codes = by_codes(fast, p), fits_bytes = codes && fast->multiply_bytes;
    const int64_t most = codes && !fits_bytes ? kCodeTokens : kFewTokens;
    const PackedView* v = p.weight->view();
    const bool fits_bf16 = fast && fast->multiply_bf16 && v && v->codes != Codes::kF32;
    (x.rows() <= most ? small : fits_bytes ? bytes : fits_bf16 ? rounded : large).push_back(p);
  }
  if (!small.empty()) few(kernels, fast, pool, foresight, small, x);
  if (!bytes.empty()) multiply_bytes(kernels, *fast, pool, bytes, x);
  if (!rounded.empty()) multiply_bf16(kernels, *fast, pool, rounded, x);
  if (!large.empty()) many_tokens(kernels, pool, large, x);
}

}  // namespace lathe::cpu
