#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Files stay readable: a hand-written source over 500 lines is named, one over 800 fails.
#   tools/lint/sizes.sh [ROOT]      tools/lint/sizes.sh --self-test
set -euo pipefail
readonly kWarnLines=500 kFailLines=800

check_sizes() { # check_sizes ROOT
  local root="$1" lines file bad=0
  while read -r lines file; do
    if [ "$lines" -gt "$kFailLines" ]; then
      echo "$file: $lines lines, more than $kFailLines: split it"
      bad=1
    elif [ "$lines" -gt "$kWarnLines" ]; then
      echo "$file: $lines lines, more than $kWarnLines (only a warning)"
    fi
  done < <(
    cd "$root"
    find . \( -path './.git' -o -path './build*' -o -name node_modules -o -path './web/dist' \) -prune -o \
      -type f \( -name '*.cc' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.py' \
      -o -name '*.sh' -o -name '*.ts' -o -name '*.mjs' -o -name '*.css' -o -name dev \) -print0 |
      xargs -0 -r wc -l | awk '$2 != "total" { print $1, $2 }' | LC_ALL=C sort -k2)
  return "$bad"
}

self_test() {
  local folder
  folder="$(mktemp -d)"
  mkdir "$folder/src"
  printf '// line\n%.0s' {1..800} >"$folder/src/long.cc"
  check_sizes "$folder" | grep -q 'long.cc: 800 lines.*only a warning' ||
    { echo "sizes self-test: 800 lines were not named"; return 1; }
  check_sizes "$folder" >/dev/null || { echo "sizes self-test: 800 lines failed"; return 1; }
  echo '// one more' >>"$folder/src/long.cc"
  if check_sizes "$folder" >/dev/null; then echo "sizes self-test: 801 lines passed"; return 1; fi
  rm -r "$folder"
  echo "sizes self-test: 3 of 3 cases right"
}

if [ "${1-}" = --self-test ]; then self_test; else check_sizes "${1:-.}"; fi
