# SPDX-License-Identifier: Apache-2.0
# ./dev fmt: format the C++ sources in place, as .clang-format says.
set -euo pipefail
source tools/dev/common.sh
bash tools/dev/setup.sh check
source tools/lint/sources.sh
cpp_sources | xargs -0 -r -n 20 -P "$(jobs)" clang-format-14 -i
