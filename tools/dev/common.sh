# SPDX-License-Identifier: Apache-2.0
# Shared by the scripts of ./dev; sourced, never run. The caller has set LATHE_ROOT and stands in it.

say() { echo "== $*" >&2; }
die() { echo "./dev: $*" >&2; exit 1; }

jobs() { echo "${LATHE_JOBS:-$(nproc)}"; }

# quietly WHAT LOG COMMAND…: one line when it works; the log's end and its place when it does not.
quietly() {
  local what="$1" log="$2" started=$SECONDS
  shift 2
  mkdir -p "$(dirname "$log")"
  if "$@" >"$log" 2>&1 </dev/null; then
    say "$what: done in $((SECONDS - started)) s"
  else
    local code=$?
    grep -n -m 20 -E 'error:|Error |FAILED|undefined reference' "$log" >&2 || true
    echo "-- the last 80 lines of $log:" >&2
    tail -n 80 "$log" >&2
    die "$what failed after $((SECONDS - started)) s (exit $code); the whole log is $log"
  fi
}

# build_in DIR TARGETS -- CMAKE-OPTIONS…: configure and build; no target means all.
build_in() {
  local dir="$1"
  shift
  local targets=()
  while [ $# -gt 0 ] && [ "$1" != "--" ]; do targets+=("$1"); shift; done
  [ $# -gt 0 ] && shift
  quietly "configure $dir" "$dir/configure.log" cmake -S . -B "$dir" -G Ninja "$@"
  quietly "build $dir ${targets[*]:-(all)}" "$dir/build.log" \
    ninja -C "$dir" -j "$(jobs)" "${targets[@]}"
}

# The one optimized build that people use: build/.
build_release() {
  build_in build "$@" -- -DCMAKE_BUILD_TYPE=Release -DLATHE_TESTS=ON -DLATHE_BENCH=OFF \
    -DLATHE_FUZZ=OFF
}

# The instrumented build: build-check/. With LATHE_FUZZ the whole tree is compiled by clang with the address and
# undefined-behaviour sanitizers and the fuzzers' coverage counters, so tests and fuzzers share one set of libraries.
build_checked() {
  build_in build-check "$@" -- -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS="-O1" \
    -DCMAKE_CXX_COMPILER=clang++-14 -DLATHE_TESTS=ON -DLATHE_FUZZ=ON -DLATHE_BENCH=OFF
}
