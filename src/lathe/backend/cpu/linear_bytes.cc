#include "lathe/backend/cpu/linear_bytes.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "lathe/backend/cpu/expanded.h"

namespace lathe::cpu {
namespace {

// Bytes of codes in one task: they stay in the second-level cache, together with a block of x,
// while all tokens pass.
constexpr int64_t kTaskBytes = 256 << 10;

int64_t panels_of(const CpuPacked& w) { return (w.rows() + kPanel - 1) / kPanel; }

// Columns of x that share a scale. Where the weights' own error is as large as that of one 4-bit
// scale per row, more of x's costs quality that can be measured: bundled model, int4:row, +0.14 %
// of perplexity with 128 columns. 8-bit weights lose next to nothing themselves: Gemma-3-270M,
// int8:row, +0.73 % with 128 columns, +0.33 % with 32 (docs/performance.md).
int64_t block_of(const PackedView& v) {
  const bool fine = v.codes == Codes::kInt8 || (v.codes == Codes::kInt4 && v.groups == 1);
  const int64_t most = fine ? 32 : kByteBlock;
  return std::min(v.group, most);
}

bool signed_codes(const PackedView& v) { return v.codes == Codes::kInt8 || v.by_book; }

// x as bytes for weights with one size of group and one constant zero.
struct Input {
  BytesView view;
  Tensor memory;  // which is kept from call to call
};

bool fits(const BytesView& q, const PackedView& v) {
  return q.group == v.group && q.block == block_of(v) && q.signed_codes == signed_codes(v) &&
         (q.signed_codes || q.code_zero == v.code_zero);
}

std::unique_ptr<Input> round(const FastKernels& fast, ThreadPool& pool, const PackedView& v,
                             const Tensor& x) {
  auto input = std::make_unique<Input>();
  BytesView& q = input->view;
  q.tokens = x.rows();
  q.cols = x.cols();
  q.columns = (q.cols + 63) / 64 * 64;
  q.group = v.group;
  q.groups = v.groups;
  q.block = block_of(v);
  q.blocks = (q.group + q.block - 1) / q.block;
  q.signed_codes = signed_codes(v);
  q.code_zero = v.code_zero;
  const int64_t token_blocks = (q.tokens + kByteTokens - 1) / kByteTokens;
  const int64_t rows = token_blocks * kByteTokens;
  const int64_t codes = rows * q.columns, scales = rows * q.groups * q.blocks;
  const int64_t bytes = codes + 8 * scales + 4 * rows * q.groups;
  input->memory = Tensor(1, bytes / 4);
  auto* p = reinterpret_cast<uint8_t*>(input->memory.mutable_data());
  q.codes = reinterpret_cast<int8_t*>(p);
  q.scales = reinterpret_cast<float*>(p + codes);
  q.starts = reinterpret_cast<int32_t*>(p + codes + 4 * scales);
  q.sums = reinterpret_cast<float*>(p + codes + 8 * scales);
  // What lies behind K and T, and blocks that a short last group does not have.
  std::memset(p, 0, static_cast<size_t>(bytes));
  pool.parallel_for(token_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      const int64_t t = b * kByteTokens;
      fast.round_bytes(x.row(t), x.cols(), std::min<int64_t>(kByteTokens, x.rows() - t), b, &q);
    }
  });
  return input;
}

}  // namespace

void multiply_bytes(const Kernels& kernels, const FastKernels& fast, ThreadPool& pool,
                    std::span<const Product> products, const Tensor& x) {
  struct Task {
    const Product* product;
    const BytesView* x;
    int64_t begin, end;
  };
  std::vector<std::unique_ptr<Input>> inputs;
  std::vector<Task> tasks;
  int64_t all_panels = 0;
  for (const Product& p : products) all_panels += panels_of(*p.weight);
  for (const Product& p : products) {
    const PackedView& v = *p.weight->view();
    auto input =
        std::find_if(inputs.begin(), inputs.end(), [&](const auto& i) { return fits(i->view, v); });
    if (input == inputs.end()) input = inputs.insert(input, round(fast, pool, v, x));
    const int64_t panels = panels_of(*p.weight);
    // Even, since kernels take panels by two; at least four tasks per thread.
    const int64_t most = std::max<int64_t>(2, all_panels / (4 * pool.size()) / 2 * 2);
    const int64_t step =
        std::clamp<int64_t>(kTaskBytes / (v.panel_bytes + v.high_panel_bytes) / 2 * 2, 2, most);
    for (int64_t i = 0; i < panels; i += step) {
      tasks.push_back({&p, &(*input)->view, i, std::min(panels, i + step)});
    }
  }
  pool.parallel_for(static_cast<int64_t>(tasks.size()), 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Task& t = tasks[static_cast<size_t>(i)];
      const CpuPacked& w = *t.product->weight;
      Expanded expanded(kernels, *w.view());
      const int64_t step = expanded.at_once(t.end - t.begin);
      for (int64_t panel = t.begin; panel < t.end; panel += step) {
        fast.multiply_bytes(expanded.of(panel, 0, w.cols()), panel, panel + step, t.x,
                            t.product->bias, t.product->out, w.rows());
      }
    }
  });
}

}  // namespace lathe::cpu
