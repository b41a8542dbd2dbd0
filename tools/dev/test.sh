# SPDX-License-Identifier: Apache-2.0
# ./dev test [-R REGEX] [-E REGEX] [--oracles] [--no-setup]: build all, run all tests.
# ./dev test --sanitize runs the fast unit tests in the instrumented build instead.
# The last line counts them: "N passed, N failed, N skipped". Exit 1 if any failed or none ran.
set -euo pipefail
source tools/dev/common.sh

oracles=no setup=yes ctest_args=()
while [ $# -gt 0 ]; do
  case "$1" in
    --oracles) oracles=yes ;;
    --no-setup) setup=no ;;
    --sanitize) exec bash tools/dev/sanitize.sh ;;
    -R | -E)
      [ $# -gt 1 ] || die "test: $1 needs a regular expression"
      ctest_args+=("$1" "$2")
      shift ;;
    *) die "test: unknown option '$1' (there are -R REGEX, -E REGEX, --oracles, --sanitize, --no-setup)" ;;
  esac
  shift
done

[ "$setup" = no ] || bash tools/dev/setup.sh build
build_release

passed=0 failed=0 skipped=0
add() { # add WHAT "PASSED FAILED SKIPPED"
  local ran bad left_out
  read -r ran bad left_out <<<"$2"
  say "$1: $ran passed, $bad failed, $left_out skipped"
  passed=$((passed + ran)) failed=$((failed + bad)) skipped=$((skipped + left_out))
}

results="$PWD/build/ctest.xml"
rm -f "$results"
status=0
ctest --test-dir build -j "$(jobs)" --output-on-failure --output-junit "$results" \
  "${ctest_args[@]}" </dev/null >build/ctest.log 2>&1 || status=$?
[ -f "$results" ] || { tail -n 40 build/ctest.log >&2; die "test: ctest wrote no results"; }
before=$failed
add "C++ tests" "$(python3 tools/dev/tests.py ctest "$results")"
if [ "$status" -ne 0 ] && [ "$failed" -eq "$before" ]; then
  tail -n 40 build/ctest.log >&2
  die "test: ctest ended with $status although it names no failed test"
fi

# Before the Python tests: some of them ask the tools that this installs.
if [ "$oracles" = yes ]; then
  bash tools/dev/setup.sh oracles
  add "golden files against the oracles" "$(bash tools/oracles/check.sh)"
fi

if [ ${#ctest_args[@]} -eq 0 ]; then
  folders=()
  for file in tests/*/test_*.py; do
    [ -f "$file" ] && [[ " ${folders[*]-} " != *" ${file%/*} "* ]] && folders+=("${file%/*}")
  done
  [ ${#folders[@]} -eq 0 ] || add "Python tests" "$(python3 tools/dev/tests.py unittest "${folders[@]}")"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
