# SPDX-License-Identifier: Apache-2.0
# ./dev fuzz [NAME…]: each fuzzer (or those named) for FUZZ_SECONDS (20), from the corpus kept in
# fuzz/corpus/NAME, as many at a time as there are cores. fuzz/run says where findings go (in build-check/).
set -euo pipefail
source tools/dev/common.sh
bash tools/dev/setup.sh build check

names=()
for source in fuzz/*_fuzz.cc; do
  name="${source##*/}"
  names+=("${name%_fuzz.cc}")
done
[ -f "fuzz/${names[0]}_fuzz.cc" ] || die "fuzz: there is no fuzzer in fuzz/"
for name in "$@"; do
  [[ " ${names[*]} " == *" $name "* ]] || die "fuzz: no fuzzer '$name' (there are ${names[*]})"
done
[ $# -eq 0 ] || names=("$@")

build_checked fuzzers
fuzz_one() {
  local said code=0
  said="$(sh fuzz/run build-check "${FUZZ_SECONDS:-20}" "$1" 2>&1)" || code=1
  if ! grep -qE '(^|: )[1-9][0-9]* inputs' <<<"$said"; then code=1; fi
  [ "$code" -eq 0 ] && say "fuzz $said" || say "fuzz $1: FAILED or ran no input. $said"
  return "$code"
}
export -f fuzz_one say
printf '%s\n' "${names[@]}" | xargs -P "$(jobs)" -I{} bash -c 'fuzz_one "$1"' fuzz {} ||
  die "fuzz: a fuzzer failed"
