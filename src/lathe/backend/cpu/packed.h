// CpuPacked: a weight matrix as the CPU kernels want it. Either packed panels (kernels.h), or the
// stored bytes themselves, decoded row by row when they are used ("decode").
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lathe/backend/cpu/block.h"
#include "lathe/backend/cpu/kernels.h"
#include "lathe/backend/ops.h"

namespace lathe::cpu {

// The pieces that a PackedView points to.
struct PackedStorage {
  PackedView view{};
  Block data, high, scales, super_scales, zeros, offsets, mins, super_mins, masks, starts;
  // Allocates what `view` (codes, shape, group, scale kind …) needs and points it there.
  void allocate(bool zeros, bool offsets, bool mins);
  int64_t bytes() const;
};

class CpuPacked final : public PackedMatrix {
 public:
  CpuPacked(const WeightMatrix& source, PackedStorage storage, std::string kernel);
  explicit CpuPacked(WeightMatrix source, std::string kernel);  // decoded when used

  int64_t bytes() const override;
  std::string kernel() const override { return kernel_; }
  const PackedView* view() const { return packed_ ? &storage_.view : nullptr; }
  const WeightMatrix& source() const { return source_; }  // empty if packed

 private:
  bool packed_;
  PackedStorage storage_;
  WeightMatrix source_;
  std::string kernel_;
};

// One way to pack a matrix. Listed best first; the last one takes everything.
struct Packer {
  const char* name;
  // Why it cannot take this matrix, or nothing.
  std::optional<std::string> (*declines)(const WeightMatrix& weights);
  PackedStorage (*pack)(const WeightMatrix& weights, ThreadPool& pool);
};
const std::vector<Packer>& packers();

// `isa` goes into the kernel's name.
std::shared_ptr<const CpuPacked> pack(WeightMatrix weights, ThreadPool& pool,
                                      const std::string& isa);

}  // namespace lathe::cpu
