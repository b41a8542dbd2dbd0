// CpuPacked: a weight matrix as the CPU kernels want it. Either packed panels (kernels.h), or the
// stored bytes themselves, decoded row by row when they are used ("decode").
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lathe/backend/cpu/kernels.h"
#include "lathe/backend/ops.h"

namespace lathe::cpu {

// A zeroed block of memory aligned to 64 bytes; large ones ask for huge pages, since a decode step
// walks through all of them.
class Block {
 public:
  Block() = default;
  explicit Block(int64_t bytes);
  Block(Block&& other) noexcept;
  Block& operator=(Block&& other) noexcept;
  ~Block();
  uint8_t* data() const { return data_; }
  int64_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  int64_t size_ = 0;
};

// The pieces that a PackedView points to.
struct PackedStorage {
  PackedView view{};
  Block data, high, scales, super_scales, zeros, offsets, mins, super_mins;
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
