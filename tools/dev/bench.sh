# SPDX-License-Identifier: Apache-2.0
# ./dev bench [ARGS]: build and run the benchmark programs, one after the other; ARGS go to each of them.
set -euo pipefail
source tools/dev/common.sh
bash tools/dev/setup.sh build bench
build_in build -- -DCMAKE_BUILD_TYPE=Release -DLATHE_TESTS=ON -DLATHE_FUZZ=OFF -DLATHE_BENCH=ON
mapfile -t programs < <(find build -type f -name 'bench_*' -perm -u+x | LC_ALL=C sort)
[ ${#programs[@]} -gt 0 ] || die "bench: the build made no bench_* program"
for program in "${programs[@]}"; do
  say "$program"
  "$program" "$@"
done
