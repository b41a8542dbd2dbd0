#include "lathe/backend/cpu/attention.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "lathe/backend/cpu/kv_products.h"
#include "lathe/backend/cpu/scratch.h"

namespace lathe::cpu {
namespace {

constexpr int64_t kKeyBlock = 128;  // keys of one step of the softmax
// The same for few rows, whose step costs as much as many's.
constexpr int64_t kLongBlock = KvProducts::kMost;
constexpr int64_t kFewRows = 16;
// Query rows (tokens × heads of a group) of a task, about. Tiles take 32 at once.
constexpr int64_t kQueryRows = 64;
constexpr int64_t kKeyRun = 1024;  // keys of a task, when there are few queries
// Multiply-adds of a task below which another thread is not worth waking: about 2 µs.
constexpr int64_t kTaskWork = 1 << 16;
constexpr float kNothing = -3.0e38f;  // maximum of no scores

struct Task {
  const SequenceSpan* span;
  int64_t head;         // key head
  int64_t first, last;  // tokens of the span
  int64_t begin, end;   // key positions
  // Where the maximum, the sum and the weighted values of its rows go, [rows][2 + D]; −1: the
  // result is whole and goes to the output.
  int64_t partial;
};

struct Context {
  const Kernels& kernels;
  const FastKernels* fast;
  const AttentionSpec& spec;
  int64_t layer;
  const Tensor& q;
  Tensor& out;
  int64_t group() const { return spec.heads / spec.kv_heads; }
};

// The rows of a task: row r is token first + r / group, head r % group of the group.
struct Rows {
  int64_t count;
  float* queries;                 // [count][D]
  int64_t *lowest, *highest;      // positions [lowest, highest) are visible
  float *maxima, *totals, *sums;  // [count], [count], [count][Dv]
};

Rows rows_of(const Context& c, const Task& task) {
  const int64_t size = c.spec.head_size, group = c.group();
  const int64_t padded = task.span->cache->shape().value_stride();
  Rows rows{};
  rows.count = (task.last - task.first) * group;
  rows.queries = scratch(Slot::kInput, rows.count * size);
  rows.sums = scratch(Slot::kOutput, rows.count * padded);
  rows.maxima = scratch(Slot::kStatistics, 6 * rows.count);
  rows.totals = rows.maxima + rows.count;
  rows.lowest = reinterpret_cast<int64_t*>(rows.totals + rows.count);
  rows.highest = rows.lowest + rows.count;
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t token = task.first + r / group, position = task.span->start + token;
    const float* query = c.q.row(task.span->first_row + token);
    std::memcpy(rows.queries + r * size, query + (task.head * group + r % group) * size,
                static_cast<size_t>(size) * 4);
    rows.lowest[r] = c.spec.window > 0 ? std::max<int64_t>(0, position - c.spec.window + 1) : 0;
    rows.highest[r] = c.spec.causal ? position + 1 : task.span->start + task.span->rows;
    rows.maxima[r] = kNothing;
    rows.totals[r] = 0;
  }
  std::fill(rows.sums, rows.sums + rows.count * padded, 0.0f);
  return rows;
}

// Queries as integers (codes, sums, scales) for attend_int8().
int64_t kv_attention_floats(int64_t slices, int64_t size) {
  return slices * kKvQueries * (2 * ((size + 63) / 64 * 64) / 4 + 2 + 1);
}

// In integers. Tiles read 64 components of a key even where it has fewer: behind the last key of a
// head lie its values, a run of which is larger than a tile.
static_assert(kKvRun == KvCache::kValueRun);
void attend_int8(const Context& c, const Task& task, const Task* next, const Rows& rows) {
  const KvCache& cache = *task.span->cache;
  const KvShape& shape = cache.shape();
  KvAttention a{};
  a.size = shape.head_size;
  a.key_stride = shape.key_stride();
  a.value_stride = shape.value_stride();
  const auto at = [&](KvCache::Part part) {
    return cache.part(c.layer, task.head, part, task.begin);
  };
  a.keys = reinterpret_cast<const int8_t*>(at(KvCache::kKeys));
  a.values = reinterpret_cast<const int8_t*>(at(KvCache::kValues));
  a.key_scales = reinterpret_cast<const float*>(at(KvCache::kKeyScales));
  a.value_scales = reinterpret_cast<const float*>(at(KvCache::kValueScales));
  a.begin = task.begin;
  a.end = task.end;
  if (next && next->span->cache->shape().type == KvType::kInt8) {
    const auto next_at = [&](KvCache::Part part) {
      return reinterpret_cast<const int8_t*>(
          next->span->cache->part(c.layer, next->head, part, next->begin));
    };
    a.next_keys = next_at(KvCache::kKeys);
    a.next_values = next_at(KvCache::kValues);
    a.next_positions = std::min(next->end - next->begin, kKvBlock);
  }
  a.rows = rows.count;
  a.queries = rows.queries;
  a.lowest = rows.lowest;
  a.highest = rows.highest;
  a.scale = c.spec.scale;
  a.cap = c.spec.soft_cap;
  a.maxima = rows.maxima;
  a.totals = rows.totals;
  a.sums = rows.sums;
  const int64_t slices = (rows.count + kKvQueries - 1) / kKvQueries;
  a.memory = scratch(Slot::kCodes, kv_attention_floats(slices, shape.head_size));
  c.fast->attend_int8(&a);
}

void attend_floats(const Context& c, const Task& task, const Rows& rows) {
  const KvCache& cache = *task.span->cache;
  const int64_t padded = cache.shape().value_stride();
  const int64_t block = rows.count <= kFewRows ? kLongBlock : kKeyBlock;
  float* scores = scratch(Slot::kScores, rows.count * block);
  const KvProducts products(c.kernels, c.fast, cache, c.layer, task.head, rows.queries, rows.count);
  for (int64_t begin = task.begin; begin < task.end; begin += block) {
    const int64_t count = std::min(block, task.end - begin);
    const int64_t columns = (count + kPanel - 1) / kPanel * kPanel;
    products.scores(begin, count, scores, block);
    for (int64_t r = 0; r < rows.count; ++r) {
      const int64_t lo = std::clamp<int64_t>(rows.lowest[r] - begin, 0, count);
      const int64_t hi = std::clamp<int64_t>(rows.highest[r] - begin, 0, count);
      const float shrink =
          c.kernels.softmax_step(scores + r * block, columns, lo, hi, c.spec.scale, c.spec.soft_cap,
                                 &rows.maxima[r], &rows.totals[r]);
      if (shrink != 1.0f) c.kernels.scale(rows.sums + r * padded, shrink, padded);
    }
    products.add_values(begin, count, scores, block, rows.sums);
  }
}

// `next` is what this thread will most likely do then, or null.
void run(const Context& c, const Task& task, const Task* next, float* partial) {
  const int64_t size = c.spec.head_size, group = c.group();
  const KvShape& shape = task.span->cache->shape();
  const Rows rows = rows_of(c, task);
  if (c.fast && shape.type == KvType::kInt8) {
    attend_int8(c, task, next, rows);
  } else {
    attend_floats(c, task, rows);
  }
  for (int64_t r = 0; r < rows.count; ++r) {
    const float* row = rows.sums + r * shape.value_stride();
    if (partial) {
      float* to = partial + r * (size + 2);
      to[0] = rows.maxima[r];
      to[1] = rows.totals[r];
      std::memcpy(to + 2, row, static_cast<size_t>(size) * 4);
      continue;
    }
    const int64_t token = task.span->first_row + task.first + r / group;
    float* out = c.out.mutable_row(token) + (task.head * group + r % group) * size;
    const float inverse = 1.0f / rows.totals[r];
    for (int64_t d = 0; d < size; ++d) out[d] = row[d] * inverse;
  }
}

// Joins the partial results of consecutive runs of keys, in order.
void join(const Context& c, std::span<const Task> runs, const std::vector<float>& partials) {
  const int64_t size = c.spec.head_size, group = c.group();
  const Task& first = runs.front();
  const int64_t rows = (first.last - first.first) * group;
  for (int64_t r = 0; r < rows; ++r) {
    const auto part = [&](const Task& t) { return partials.data() + t.partial + r * (size + 2); };
    float most = kNothing;
    for (const Task& t : runs) most = std::max(most, part(t)[0]);
    const int64_t token = first.span->first_row + first.first + r / group;
    float* out = c.out.mutable_row(token) + (first.head * group + r % group) * size;
    std::fill(out, out + size, 0.0f);
    float total = 0;
    for (const Task& t : runs) {
      const float* p = part(t);
      if (p[1] == 0) continue;  // no key of this run is visible to the row
      const float weight = std::exp(p[0] - most);
      total += weight * p[1];
      for (int64_t d = 0; d < size; ++d) out[d] += weight * p[2 + d];
    }
    for (int64_t d = 0; d < size; ++d) out[d] /= total;
  }
}

void write_cache(ThreadPool& pool, const AttentionSpec& spec, int64_t layer,
                 std::span<const SequenceSpan> spans, const Tensor& k, const Tensor& v) {
  for (const SequenceSpan& span : spans) {
    pool.parallel_for(span.rows, 16, [&](int64_t begin, int64_t end) {
      for (int64_t h = 0; h < spec.kv_heads; ++h) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t row = span.first_row + r;
          span.cache->write(layer, h, span.start + r, k.row(row) + h * spec.head_size,
                            v.row(row) + h * spec.head_size);
        }
      }
    });
  }
}

}  // namespace

Tensor attend(const Kernels& kernels, const FastKernels* fast, ThreadPool& pool,
              const AttentionSpec& spec, int64_t layer, std::span<const SequenceSpan> spans,
              const Tensor& q, const Tensor& k, const Tensor& v) {
  LATHE_CHECK(spec.heads % spec.kv_heads == 0);
  LATHE_CHECK(q.cols() == spec.heads * spec.head_size);
  LATHE_CHECK(k.cols() == spec.kv_heads * spec.head_size && v.cols() == k.cols());
  LATHE_CHECK(spec.causal || spec.window == 0);
  write_cache(pool, spec, layer, spans, k, v);

  Tensor out(q.rows(), q.cols());
  const Context context{kernels, fast, spec, layer, q, out};
  const int64_t group = context.group();
  const int64_t tokens = std::max<int64_t>(1, kQueryRows / group);
  std::vector<Task> tasks;
  std::vector<std::pair<size_t, size_t>> joined;  // runs of tasks to be joined
  int64_t partial_floats = 0, longest = 1;
  // Late queries see more keys: long tasks come first, so that the threads end together. Runs of
  // keys go forward, as they lie in memory.
  bool late_first = false;
  for (const SequenceSpan& span : spans) {
    LATHE_CHECK(span.start >= 0 && span.start + span.rows <= span.cache->capacity());
    LATHE_CHECK(span.first_row >= 0 && span.first_row + span.rows <= q.rows());
    late_first = late_first || span.rows > tokens;
    for (int64_t head = 0; head < spec.kv_heads; ++head) {
      for (int64_t first = 0; first < span.rows; first += tokens) {
        const int64_t last = std::min(span.rows, first + tokens);
        const int64_t end = span.start + (spec.causal ? last : span.rows);
        // From the beginning of a block: what the window hides there gets no weight.
        const int64_t lowest = span.start + first - spec.window + 1;
        const int64_t begin =
            spec.window > 0 ? std::max<int64_t>(0, lowest) / kKeyBlock * kKeyBlock : 0;
        longest = std::max(longest, (last - first) * group * std::min(end - begin, kKeyRun));
        if (span.rows > tokens || end - begin <= kKeyRun) {
          tasks.push_back({&span, head, first, last, begin, end, -1});
          continue;
        }
        const size_t start = tasks.size();
        for (int64_t from = begin; from < end; from += kKeyRun) {
          tasks.push_back(
              {&span, head, first, last, from, std::min(end, from + kKeyRun), partial_floats});
          partial_floats += (last - first) * group * (spec.head_size + 2);
        }
        joined.emplace_back(start, tasks.size());
      }
    }
  }
  std::vector<float> partials(static_cast<size_t>(partial_floats));
  const auto count = static_cast<int64_t>(tasks.size());
  const int64_t grain = std::max<int64_t>(1, kTaskWork / (longest * spec.head_size));
  const auto task_at = [&](int64_t i) -> const Task* {
    if (i >= count) return nullptr;
    return &tasks[static_cast<size_t>(late_first ? count - 1 - i : i)];
  };
  pool.parallel_for(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const Task* task = task_at(i);
      float* partial = task->partial < 0 ? nullptr : partials.data() + task->partial;
      run(context, *task, task_at(i + 1), partial);
    }
  });
  for_each_task(pool, static_cast<int64_t>(joined.size()), [&](int64_t i) {
    const auto [from, to] = joined[static_cast<size_t>(i)];
    join(context, std::span(tasks).subspan(from, to - from), partials);
  });
  return out;
}

}  // namespace lathe::cpu
