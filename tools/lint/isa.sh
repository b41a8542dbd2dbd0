#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Object files compiled for an instruction set (*_avx2.cc, *_avx512.cc, *_amx.cc) define no weak symbol: the linker
# keeps one copy of each, and one compiled for a newer CPU would then serve the baseline as well.
#   tools/lint/isa.sh BUILD_FOLDER      tools/lint/isa.sh --self-test
set -euo pipefail

check_objects() { # check_objects FOLDER SOURCES-EXPECTED
  local folder="$1" expected="$2" object found=0 bad=0 weak
  while IFS= read -r -d '' object; do
    found=$((found + 1))
    weak="$(nm -C --defined-only "$object" | awk '$2 ~ /^[WVu]$/')"
    if [ -n "$weak" ]; then
      echo "$object defines weak symbols; what they come from (a template or inline function, mostly of the"
      echo "standard library) must go from the source, or become static:"
      head -n 10 <<<"$weak"
      bad=1
    fi
  done < <(find "$folder" -type f \( -name '*_avx2.cc.o' -o -name '*_avx512.cc.o' -o -name '*_amx.cc.o' \) -print0)
  if [ "$found" -lt "$expected" ]; then
    echo "isa: $folder has $found object files of the $expected sources for an instruction set: build it first"
    bad=1
  fi
  return "$bad"
}

self_test() {
  local folder cxx="${CXX:-g++}"
  folder="$(mktemp -d)"
  echo 'float twice(float x) { return 2 * x; }' >"$folder/good_avx2.cc"
  echo 'inline float add(float a, float b) { return a + b; }
        float (*keep)(float, float) = add;' >"$folder/bad_avx512.cc"
  "$cxx" -mavx2 -c "$folder/good_avx2.cc" -o "$folder/good_avx2.cc.o"
  check_objects "$folder" 1 >/dev/null || { echo "isa self-test: a clean file was refused"; return 1; }
  if check_objects "$folder" 2 >/dev/null; then echo "isa self-test: a missing object passed"; return 1; fi
  "$cxx" -mavx2 -c "$folder/bad_avx512.cc" -o "$folder/bad_avx512.cc.o"
  if check_objects "$folder" 2 >/dev/null; then echo "isa self-test: a weak symbol passed"; return 1; fi
  rm -r "$folder"
  echo "isa self-test: 3 of 3 cases right"
}

if [ "${1-}" = --self-test ]; then
  self_test
else
  sources="$(find src -name '*_avx2.cc' -o -name '*_avx512.cc' -o -name '*_amx.cc' | wc -l)"
  check_objects "${1:-build}" "$sources"
fi
