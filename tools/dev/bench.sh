# SPDX-License-Identifier: Apache-2.0
# ./dev bench [ARGS]: build and run the benchmark programs, one after the other; ARGS go to each of them.
# ./dev bench --peer PATH [ARGS] MODEL.gguf…: build Lathe and time it against llama.cpp's llama-bench (tools/bench/peer.py).
set -euo pipefail
source tools/dev/common.sh
if [ "${1:-}" = "--peer" ]; then
  bash tools/dev/setup.sh build
  build_release lathe
  exec python3 tools/bench/peer.py "$@"
fi
bash tools/dev/setup.sh build bench
build_in build -- -DCMAKE_BUILD_TYPE=Release -DLATHE_TESTS=ON -DLATHE_FUZZ=OFF -DLATHE_BENCH=ON
mapfile -t programs < <(find build -type f -name 'bench_*' -perm -u+x | LC_ALL=C sort)
[ ${#programs[@]} -gt 0 ] || die "bench: the build made no bench_* program"
for program in "${programs[@]}"; do
  say "$program"
  "$program" "$@"
done
