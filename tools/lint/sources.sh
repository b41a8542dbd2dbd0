# SPDX-License-Identifier: Apache-2.0
# Which files are C++ sources of ours; sourced by ./dev fmt and lint. Paths end in NUL.

cpp_sources() {
  find src tests bench fuzz -type f \( -name '*.cc' -o -name '*.h' \) -print0 | LC_ALL=C sort -z
}
