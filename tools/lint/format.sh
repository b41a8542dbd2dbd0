#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every C++ source is as clang-format leaves it (.clang-format). `./dev fmt` repairs.
#   tools/lint/format.sh      tools/lint/format.sh --self-test
set -euo pipefail
source tools/lint/sources.sh

self_test() {
  local folder
  folder="$(mktemp -d)"
  cp .clang-format "$folder/"
  printf 'int f(int x) { return x; }\n' >"$folder/good.cc"
  printf 'int  f( int x ){return x ;}\n' >"$folder/bad.cc"
  clang-format-14 --dry-run -Werror "$folder/good.cc" ||
    { echo "format self-test: good source was refused"; return 1; }
  if clang-format-14 --dry-run -Werror "$folder/bad.cc" 2>/dev/null; then
    echo "format self-test: bad source passed"
    return 1
  fi
  rm -r "$folder"
  echo "format self-test: 2 of 2 cases right"
}

if [ "${1-}" = --self-test ]; then
  self_test
elif ! complaints="$(cpp_sources | xargs -0 -r clang-format-14 --dry-run -Werror 2>&1)"; then
  sed -n 's/^\([^:]*\):[0-9].*error:.*/\1/p' <<<"$complaints" | LC_ALL=C sort | uniq -c |
    awk '{ print $2 ": " $1 " places are not as .clang-format says; ./dev fmt repairs them" }'
  exit 1
fi
