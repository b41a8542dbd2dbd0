// Memory whose large blocks lie in huge pages: the system hands out and clears those faster than
// it takes to fill small ones, and a kernel that goes through them does not wait for page tables.
#pragma once

#include <cstddef>

namespace lathe {

// Uninitialised, aligned to 64 bytes at least. Throws std::bad_alloc.
void* allocate_block(size_t bytes);
// `bytes` as when it was allocated.
void free_block(void* block, size_t bytes) noexcept;

}  // namespace lathe
