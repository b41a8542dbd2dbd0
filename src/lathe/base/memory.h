// What this process has taken of the machine's memory, and may still take.
#pragma once

#include <cstdint>

namespace lathe {

// Bytes of memory that the process may still take, by the system's own word: what is free or can
// be freed, the limits of its control groups (versions 1 and 2) and of its address space.
// LATHE_MEMORY_LIMIT_BYTES lowers it further, for tests and for people who want to leave room.
int64_t available_memory_bytes();

// Peak resident memory of this process, 0 where the system does not tell; reset_peak_rss() starts
// anew where the system allows it.
int64_t peak_rss_bytes();
void reset_peak_rss();

}  // namespace lathe
