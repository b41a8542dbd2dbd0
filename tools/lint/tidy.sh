#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# clang-tidy (.clang-tidy) on the .cc files of src, tests and fuzz that changed, the latest first, for TIDY_SECONDS at most
# (240; 0 means no limit). What the time did not reach is said.
#   LINT_BASE=COMMIT tools/lint/tidy.sh   since that commit; by default since the merge base with origin/main,
#                                         or where that is this very commit, in the last 30 commits
#   tools/lint/tidy.sh FILE…              these files
#   tools/lint/tidy.sh --self-test
set -euo pipefail
readonly kBuild=build-tidy

self_test() {
  local folder
  folder="$(mktemp -d)"
  cp .clang-tidy "$folder/"
  printf 'namespace lathe {\nint first_of(const int* values) { return values[0]; }\n}  // namespace lathe\n' \
    >"$folder/good.cc"
  printf 'namespace lathe {\nint FirstOf(const int* values) { return values[0]; }\n}  // namespace lathe\n' \
    >"$folder/bad.cc"
  clang-tidy-14 --quiet "$folder/good.cc" -- -std=c++20 >/dev/null 2>&1 ||
    { echo "tidy self-test: good source was refused"; return 1; }
  if clang-tidy-14 --quiet "$folder/bad.cc" -- -std=c++20 >/dev/null 2>&1; then
    echo "tidy self-test: bad source passed"
    return 1
  fi
  rm -r "$folder"
  echo "tidy self-test: 2 of 2 cases right"
}

changed_files() {
  local base="${LINT_BASE-}" head
  head="$(git rev-parse HEAD)"
  if [ -z "$base" ]; then
    base="$(git merge-base HEAD origin/main 2>/dev/null || true)"
    if [ -z "$base" ] || [ "$base" = "$head" ]; then
      base="$(git rev-list --first-parent --max-count=31 HEAD | tail -n 1)"
    fi
  fi
  git rev-parse --quiet --verify "$base^{commit}" >/dev/null ||
    { echo "tidy: LINT_BASE=$base is no commit here" >&2; return 1; }
  # Changes not yet committed first, then by commit from the latest back; each file once.
  {
    git diff --name-only --diff-filter=d HEAD -- 'src/*.cc' 'tests/*.cc' 'fuzz/*.cc'
    git log --format= --name-only --diff-filter=d "$base..HEAD" -- 'src/*.cc' 'tests/*.cc' 'fuzz/*.cc'
  } | awk '!seen[$0]++' | while read -r file; do [ -f "$file" ] && echo "$file"; done
}

run_tidy() {
  local limit="${TIDY_SECONDS:-240}" started=$SECONDS folder file count=0
  quiet_configure
  folder="$(mktemp -d)"
  export folder limit started
  export -f tidy_one
  export kBuild
  # Each worker asks for the time before it starts a file, so the limit is kept to within one file.
  printf '%s\n' "$@" | TIDY_START="$(date +%s)" xargs -P "$(nproc)" -I{} bash -c 'tidy_one "$1"' tidy {} || true
  local done_count failed_count
  done_count="$(find "$folder" -name '*.done' | wc -l)"
  failed_count="$(find "$folder" -name '*.failed' | wc -l)"
  count=$#
  find "$folder" -name '*.failed' -exec cat {} + | awk '!seen[$0]++'
  [ "$done_count" -eq "$count" ] ||
    echo "tidy: time for $done_count of $count changed files in ${limit} s; TIDY_SECONDS=0 takes all"
  echo "tidy: $done_count files, $failed_count with complaints, $((SECONDS - started)) s" >&2
  rm -r "$folder"
  [ "$failed_count" -eq 0 ]
}

tidy_one() {
  local name="${1//\//_}"
  if [ "$limit" -gt 0 ] && [ $(($(date +%s) - TIDY_START)) -ge "$limit" ]; then return 0; fi
  if ! clang-tidy-14 --quiet -p "$kBuild" "$1" >"$folder/$name.out" 2>"$folder/$name.err"; then
    { cat "$folder/$name.out"; grep -E 'error:' "$folder/$name.err" || true; } >"$folder/$name.failed"
  fi
  touch "$folder/$name.done"
}

# The flags come from a configured folder of its own: clang's, and without precompiled headers.
quiet_configure() {
  local log
  log="$(mktemp)"
  if ! cmake -S . -B "$kBuild" -G Ninja -DCMAKE_CXX_COMPILER=clang++-14 -DLATHE_TESTS=ON -DLATHE_FUZZ=ON \
    -DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON >"$log" 2>&1; then
    cat "$log"
    return 1
  fi
  rm -f "$log"
}

if [ "${1-}" = --self-test ]; then
  self_test
elif [ $# -gt 0 ]; then
  run_tidy "$@"
else
  list="$(changed_files)"
  [ -n "$list" ] || { echo "tidy: no .cc file changed" >&2; exit 0; }
  mapfile -t files <<<"$list"
  run_tidy "${files[@]}"
fi
