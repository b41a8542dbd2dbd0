# SPDX-License-Identifier: Apache-2.0
# ./dev bench [ARGS]: build and run the benchmark programs, one after the other; ARGS go to each of them.
# ./dev bench --peer PATH [ARGS] MODEL.gguf…: build Lathe and time it against llama.cpp's llama-bench, or with
# --peer-command against any program (tools/bench/peer.py).
# ./dev bench --decode [ARGS] [FORMAT…]: one token through the matrices of a model in every format, as a table
# (bench/decode_table.cc).
set -euo pipefail
source tools/dev/common.sh
if [[ "${1:-}" == --peer* ]]; then
  bash tools/dev/setup.sh build
  build_release lathe
  exec python3 tools/bench/peer.py "$@"
fi
bash tools/dev/setup.sh build bench
build_in build -- -DCMAKE_BUILD_TYPE=Release -DLATHE_TESTS=ON -DLATHE_FUZZ=OFF -DLATHE_BENCH=ON
if [ "${1:-}" = "--decode" ]; then
  exec build/bench/decode_table "${@:2}"
fi
mapfile -t programs < <(find build -type f -name 'bench_*' -perm -u+x | LC_ALL=C sort)
[ ${#programs[@]} -gt 0 ] || die "bench: the build made no bench_* program"
for program in "${programs[@]}"; do
  say "$program"
  "$program" "$@"
done
