# SPDX-License-Identifier: Apache-2.0
# ./dev lint [CHECK…]: each check in tools/lint/, after its own test, which shows that it can fail.
set -euo pipefail
source tools/dev/common.sh

all=(format layers sizes json isa tidy)
[ $# -gt 0 ] || set -- "${all[@]}"
for check in "$@"; do
  [[ " ${all[*]} " == *" $check "* ]] || die "lint: no check '$check' (there are ${all[*]})"
done
bash tools/dev/setup.sh build check

failed=()
run() { # run NAME COMMAND…
  local name="$1" started=$SECONDS
  shift
  if "$@" >&2; then
    say "lint $name: fine ($((SECONDS - started)) s)"
  else
    say "lint $name: FAILED ($((SECONDS - started)) s)"
    failed+=("$name")
  fi
}

for check in "$@"; do
  script=(bash "tools/lint/$check.sh")
  [ -f "tools/lint/$check.py" ] && script=(python3 "tools/lint/$check.py")
  run "$check self-test" "${script[@]}" --self-test
  if [ "$check" = isa ]; then
    build_release lathe_backend
  fi
  run "$check" "${script[@]}"
done

[ ${#failed[@]} -eq 0 ] || die "lint: failed: ${failed[*]}"
