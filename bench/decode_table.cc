// One token through the matrices of a model of every format, as a share of the read bandwidth: one
// table for all formats. After every step the bandwidth is measured once, since it changes with
// what else the memory has to do; both columns are medians.
//
// usage: decode_table [--shape 1.1b|0.5b] [--isa NAME] [--threads N] [--seconds S] [FORMAT …]
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "lathe/backend/ceilings.h"
#include "lathe/backend/cpu/cpu_backend.h"
#include "lathe/base/rng.h"

namespace {

using namespace lathe;

struct Shape {
  std::string name;
  int64_t layers, hidden, kv, ffn, vocabulary;
};
// TinyLlama-1.1B and Qwen2.5-0.5B.
const std::vector<Shape> kShapes = {{"1.1b", 22, 2048, 256, 5632, 32000},
                                    {"0.5b", 24, 896, 128, 4864, 151936}};

struct Arguments {
  std::vector<std::string> shapes, formats;
  std::string isa;
  int threads = 0;
  double seconds = 1.0;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

[[noreturn]] void refuse(const std::string& why) {
  fmt::print(stderr, "decode_table: {}\n", why);
  std::exit(2);
}

Arguments arguments(int argc, char** argv) {
  Arguments a;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (!word.starts_with("--")) {
      a.formats.push_back(word);
      continue;
    }
    if (i + 1 == argc) refuse(word + " wants a value");
    const std::string value = argv[++i];
    if (word == "--shape") {
      a.shapes.push_back(value);
    } else if (word == "--isa") {
      a.isa = value;
    } else if (word == "--threads") {
      a.threads = std::atoi(value.c_str());
    } else if (word == "--seconds") {
      a.seconds = std::atof(value.c_str());
    } else {
      refuse("no option " + word);
    }
  }
  if (a.formats.empty()) a.formats = example_formats();
  return a;
}

// Zeros where a format takes them, which are as fast as any other weights; else random ones.
WeightMatrix weights(const FormatPtr& format, int64_t rows, int64_t cols) {
  std::vector<Bytes> parts;
  for (const PartSpec& part : format->parts(rows, cols)) {
    int64_t size = size_of(part.dtype);
    for (const int64_t n : part.shape) size *= n;
    uint8_t* bytes = nullptr;
    parts.push_back(Bytes::allocate(static_cast<size_t>(size), &bytes));
    std::fill(bytes, bytes + size, uint8_t{0});
  }
  auto zeros = WeightMatrix::create(format, rows, cols, std::move(parts), "bench");
  if (zeros.ok()) return std::move(zeros).value();
  Rng rng(1);
  std::vector<float> w(static_cast<size_t>(rows * cols));
  for (float& v : w) v = static_cast<float>(rng.uniform() - 0.5);
  return WeightMatrix::encode(format, w.data(), rows, cols, "bench").value();
}

Tensor input(int64_t cols) {
  Rng rng(2);
  Tensor x(1, cols);
  for (int64_t i = 0; i < cols; ++i) {
    x.mutable_data()[i] = static_cast<float>(rng.uniform() - 0.5);
  }
  return x;
}

struct Model {
  std::vector<std::array<Linear, 7>> layers;
  Linear head;
  int64_t bytes = 0, weights = 0;
};

Model packed(Ops& ops, const Shape& s, const FormatPtr& format) {
  Model model;
  const auto pack = [&](const WeightMatrix& source) {
    Linear l;
    l.weight = ops.pack(source);
    model.bytes += l.weight->bytes();
    model.weights += source.rows() * source.cols();
    return l;
  };
  const WeightMatrix square = weights(format, s.hidden, s.hidden);
  const WeightMatrix narrow = weights(format, s.kv, s.hidden);
  const WeightMatrix wide = weights(format, s.ffn, s.hidden);
  const WeightMatrix back = weights(format, s.hidden, s.ffn);
  for (int64_t i = 0; i < s.layers; ++i) {
    model.layers.push_back({pack(square), pack(narrow), pack(narrow), pack(square), pack(wide),
                            pack(wide), pack(back)});
  }
  model.head = pack(weights(format, s.vocabulary, s.hidden));
  return model;
}

void step(Ops& ops, const Model& model, const Tensor& x, const Tensor& f) {
  for (const auto& layer : model.layers) {
    const Linear* qkv[] = {&layer[0], &layer[1], &layer[2]};
    ops.linears(qkv, x);
    ops.linear(layer[3], x);
    const Linear* up[] = {&layer[4], &layer[5]};
    ops.linears(up, x);
    ops.linear(layer[6], f);
  }
  ops.linear(model.head, x);
}

void measure(const Arguments& a, Isa isa, const std::shared_ptr<ThreadPool>& pool, ReadMeter& meter,
             const Shape& s, const std::string& spec) {
  const FormatPtr format = parse_format(spec).value();
  if (!format->supports(s.hidden, s.ffn).ok() || !format->supports(s.ffn, s.hidden).ok()) return;
  const auto ops = make_cpu_ops(isa, pool);
  const Model model = packed(*ops, s, format);
  const Tensor x = input(s.hidden), f = input(s.ffn);
  std::vector<double> times, reads;
  step(*ops, model, x, f);
  for (const double end = now() + a.seconds; now() < end || times.size() < 5;) {
    const double start = now();
    step(*ops, model, x, f);
    times.push_back(now() - start);
    reads.push_back(meter.pass());
  }
  std::sort(times.begin(), times.end());
  std::sort(reads.begin(), reads.end());
  const double seconds = times[times.size() / 2], read = reads[reads.size() / 2];
  const auto bytes = static_cast<double>(model.bytes);
  fmt::print("| {} | {} | {:.3f} | {:.0f} | {:.1f} | {:.1f} | {:.1f} | {:.0f} % |\n", s.name, spec,
             8 * bytes / static_cast<double>(model.weights), bytes * 1e-6, 1 / seconds,
             bytes / seconds * 1e-9, read * 1e-9, 100 * bytes / seconds / read);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments a = arguments(argc, argv);
  std::vector<Isa> isas = available_isas();
  if (!a.isa.empty()) {
    std::erase_if(isas, [&](Isa isa) { return name_of(isa) != a.isa; });
    if (isas.empty()) refuse("this CPU has no instruction set " + a.isa);
  }
  const auto pool = std::make_shared<ThreadPool>(a.threads);
  for (const std::string& spec : a.formats) {
    if (!parse_format(spec).ok()) refuse("no format " + spec);
  }
  fmt::print("{} threads, {}\n\n", pool->size(), name_of(isas.front()));
  fmt::print("| shape | format | bits per weight | MB | tok/s | GB/s | read, GB/s | share |\n");
  fmt::print("|---|---|---:|---:|---:|---:|---:|---:|\n");
  ReadMeter meter(*pool);
  for (const Shape& s : kShapes) {
    if (!a.shapes.empty() && std::find(a.shapes.begin(), a.shapes.end(), s.name) == a.shapes.end())
      continue;
    for (const std::string& spec : a.formats) measure(a, isas.front(), pool, meter, s, spec);
  }
}
