# SPDX-License-Identifier: Apache-2.0
# ./dev demo [ARGS]: packages, build, then `lathe demo`, which names the files it wrote.
set -euo pipefail
source tools/dev/common.sh
bash tools/dev/setup.sh build
build_release lathe
exec build/lathe demo "$@"
