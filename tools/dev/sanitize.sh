# SPDX-License-Identifier: Apache-2.0
# ./dev test --sanitize: the fast unit tests under clang's address and undefined-behaviour sanitizers.
# Left out: tests with Slow in their name, and the end-to-end cases, which run the optimized program.
set -euo pipefail
source tools/dev/common.sh
bash tools/dev/setup.sh build check

targets=() programs=()
for folder in tests/*/; do
  layer="$(basename "$folder")"
  [ "$layer" = cli ] && continue
  compgen -G "${folder}*_test.cc" >/dev/null || continue
  targets+=("test_$layer")
  programs+=("build-check/test_$layer")
done
build_checked "${targets[@]}"

run_one() {
  local log="$1.log" started=$SECONDS
  if ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1:check_initialization_order=1 \
    UBSAN_OPTIONS=print_stacktrace=1 \
    "$1" --gtest_filter='-*Slow*' --gtest_brief=1 >"$log" 2>&1 </dev/null; then
    say "sanitized ${1##*/}: $(grep -oE '[0-9]+ tests? ran|[0-9]+ tests? from.*ran' "$log" | tail -n 1), \
$((SECONDS - started)) s"
  else
    tail -n 120 "$log" >&2
    say "sanitized ${1##*/}: FAILED, the log is $log"
    return 1
  fi
}
export -f run_one say
printf '%s\n' "${programs[@]}" | xargs -P "$(jobs)" -I{} bash -c 'run_one "$1"' sanitize {} ||
  die "test --sanitize: a test failed"
