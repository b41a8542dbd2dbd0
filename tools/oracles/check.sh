# SPDX-License-Identifier: Apache-2.0
# Called by ./dev test --oracles: sets up the reference implementations outside of the tree, once for each
# requirements.txt, and runs check.py with them. LATHE_ORACLES names an environment that is there already.
set -euo pipefail
source tools/dev/common.sh

requirements=tools/oracles/requirements.txt
venv="${LATHE_ORACLES:-}"
if [ -z "$venv" ]; then
  venv="${XDG_CACHE_HOME:-$HOME/.cache}/lathe/oracles"
  stamp="$venv/requirements.txt"
  if ! cmp -s "$requirements" "$stamp"; then
    mkdir -p "$venv"
    quietly "python environment $venv" "$venv/create.log" python3 -m venv "$venv"
    quietly "oracle packages" "$venv/install.log" \
      "$venv/bin/pip" install --disable-pip-version-check --no-input -r "$requirements"
    cp "$requirements" "$stamp"
  fi
fi
[ -x "$venv/bin/python" ] || die "LATHE_ORACLES=$venv has no bin/python"

# SQuAD's reference lies in a release of transformers that the other oracles are too new for; only this file is taken.
old="$venv/squad_metrics.py"
options=()
if [ ! -f "$old" ] && [ -z "${LATHE_ORACLES:-}" ]; then
  download="$(mktemp -d)"
  quietly "SQuAD reference" "$venv/squad.log" \
    "$venv/bin/pip" download --disable-pip-version-check --no-deps -d "$download" transformers==4.57.1
  "$venv/bin/python" -m zipfile -e "$download"/transformers-*.whl "$download/x"
  cp "$download/x/transformers/data/metrics/squad_metrics.py" "$old"
  rm -rf "$download"
fi
[ ! -f "$old" ] || options=(--squad-metrics "$old")
CUDA_VISIBLE_DEVICES="" "$venv/bin/python" tools/oracles/check.py "${options[@]}"
