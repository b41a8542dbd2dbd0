#include "lathe/backend/cpu/packed.h"

#include <algorithm>
#include <utility>

namespace lathe::cpu {
namespace {

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

int64_t bits_of(Codes codes) {
  switch (codes) {
    case Codes::kF32:
      return 32;
    case Codes::kF16:
    case Codes::kBf16:
      return 16;
    case Codes::kInt8:
      return 8;
    case Codes::kInt4:
      return 4;
    case Codes::kInt2:
      return 2;
  }
  return 0;
}

}  // namespace

void PackedStorage::allocate(bool with_zeros, bool with_offsets, bool with_mins) {
  PackedView& v = view;
  const int64_t panels = (v.rows + kPanel - 1) / kPanel;
  const int64_t columns = round_up(v.cols, v.codes == Codes::kInt2 ? 16 : 8);
  v.panel_bytes = columns * kPanel * bits_of(v.codes) / 8;
  data = Block(panels * v.panel_bytes);
  v.data = data.data();
  if (v.high_bits > 0) {
    v.high_panel_bytes = round_up(v.cols, 32 / v.high_bits) * kPanel * v.high_bits / 8;
    high = Block(panels * v.high_panel_bytes);
    v.high = high.data();
  }
  const int64_t groups = panels * v.groups * kPanel;
  if (v.scale_kind == Scales::kF32) scales = Block(groups * 4);
  if (v.scale_kind == Scales::kF16) scales = Block(groups * 2);
  const bool nested = v.scale_kind == Scales::kNested;
  if (v.scale_kind == Scales::kE8M0 || v.scale_kind == Scales::kE4M3) scales = Block(groups);
  if (nested || v.scale_kind == Scales::kSuper) {
    v.supers = (v.groups + v.groups_per_super - 1) / v.groups_per_super;
    scales = Block(groups);
    super_scales = Block(panels * v.supers * kPanel * (nested ? 4 : 2));
    if (nested) {
      v.super_floats = reinterpret_cast<const float*>(super_scales.data());
    } else {
      v.super_scales = reinterpret_cast<const uint16_t*>(super_scales.data());
    }
  }
  v.scales = scales.data();
  if (with_zeros) zeros = Block(groups);
  v.zeros = zeros.data();
  if (with_offsets) offsets = Block(groups * 2);
  v.offsets = reinterpret_cast<const uint16_t*>(offsets.data());
  if (with_mins) {
    mins = Block(groups);
    super_mins = Block(panels * v.supers * kPanel * 2);
  }
  v.mins = mins.data();
  v.super_mins = reinterpret_cast<const uint16_t*>(super_mins.data());
}

int64_t PackedStorage::bytes() const {
  return data.size() + high.size() + scales.size() + super_scales.size() + zeros.size() +
         offsets.size() + mins.size() + super_mins.size() + masks.size() + starts.size();
}

CpuPacked::CpuPacked(const WeightMatrix& source, PackedStorage storage, std::string kernel)
    : PackedMatrix(source.rows(), source.cols(), source.format().spec()),
      packed_(true),
      storage_(std::move(storage)),
      kernel_(std::move(kernel)) {}

CpuPacked::CpuPacked(WeightMatrix source, std::string kernel)
    : PackedMatrix(source.rows(), source.cols(), source.format().spec()),
      packed_(false),
      source_(std::move(source)),
      kernel_(std::move(kernel)) {}

int64_t CpuPacked::bytes() const { return packed_ ? storage_.bytes() : source_.bytes(); }

std::shared_ptr<const CpuPacked> pack(WeightMatrix weights, ThreadPool& pool,
                                      const std::string& isa) {
  for (const Packer& packer : packers()) {
    if (packer.declines(weights)) continue;
    return std::make_shared<CpuPacked>(weights, packer.pack(weights, pool),
                                       fmt::format("{} {}", packer.name, isa));
  }
  return std::make_shared<CpuPacked>(std::move(weights), fmt::format("decode {}", isa));
}

}  // namespace lathe::cpu
