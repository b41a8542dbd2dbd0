# SPDX-License-Identifier: Apache-2.0
# ./dev setup [SECTION…]: install what the sections of tools/packages.txt name and the machine lacks.
# Without a section: build. A second run finds all there and needs no network.
set -euo pipefail
source tools/dev/common.sh

[ $# -gt 0 ] || set -- build

packages_of() {
  awk -v want="$1" '
    /^\[/ { inside = (index($0, "[" want "]") == 1); found = found || inside; next }
    /^#/ || NF == 0 { next }
    inside { print $1 }
    END { if (!found) exit 3 }' tools/packages.txt ||
    die "setup: tools/packages.txt has no section '$1'"
}

wanted=()
for section in "$@"; do
  list="$(packages_of "$section")" || exit 1
  mapfile -t -O "${#wanted[@]}" wanted <<<"$list"
done

list_and_stop() {
  echo "./dev setup: $1. Lathe needs these packages (their Debian 12 names):" >&2
  printf '  %s\n' "${missing[@]}" >&2
  echo "On Debian: apt-get install --no-install-recommends ${missing[*]}" >&2
  exit 1
}

missing=("${wanted[@]}")
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
  list_and_stop "this machine has no apt"

missing=()
for package in "${wanted[@]}"; do
  status="$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)"
  # A machine whose node comes from elsewhere has npm within it.
  if [ "$package" = npm ] && command -v npm >/dev/null; then status=installed; fi
  [ "$status" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  say "setup ($*): all ${#wanted[@]} packages are there"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || list_and_stop "installing needs root, and there is no sudo"
  if ! sudo -n true 2>/dev/null && ! [ -t 0 ]; then
    list_and_stop "sudo wants a password, and there is no terminal to ask on"
  fi
  as_root=(sudo)
fi

apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 apt-get -q \
    -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 "$@"
}
log="$(mktemp "${TMPDIR:-/tmp}/lathe-setup.XXXXXX")"
say "setup ($*): installing ${#missing[@]} packages: ${missing[*]}"
quietly "apt-get update" "$log" apt update
quietly "apt-get install" "$log" apt install -y --no-install-recommends "${missing[@]}"
rm -f "$log"
