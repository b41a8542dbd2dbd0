# SPDX-License-Identifier: Apache-2.0
# ./dev build: build/lathe, optimized, on all cores.
set -euo pipefail
source tools/dev/common.sh
build_release lathe
say "build/lathe is ready"
