# SPDX-License-Identifier: Apache-2.0
# ./dev new [KIND]: print the section of docs/development.md that says how to add one.
set -euo pipefail
source tools/dev/common.sh
readonly kPage=docs/development.md

mapfile -t kinds < <(sed -n 's/^### A new \([a-z]*\)$/\1/p' "$kPage")
if [ $# -eq 0 ]; then
  echo "./dev new KIND, where KIND is one of: ${kinds[*]}"
  exit 0
fi
[[ " ${kinds[*]} " == *" $1 "* ]] || die "new: no kind '$1' (there are ${kinds[*]})"
awk -v start="### A new $1" '$0 == start { on = 1 } on && /^##/ && $0 != start { exit } on' "$kPage"
