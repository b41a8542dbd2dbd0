#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Json::value(key, otherwise) throws at a member of another kind and converts numbers unchecked, so
# the sources use member_or (base/parse_json.h) or a reader that names the key.
#   tools/lint/json.sh [ROOT]      tools/lint/json.sh --self-test
set -euo pipefail

check_json() { # check_json ROOT
  local root="$1" found
  found="$(cd "$root" && grep -rnE --include='*.cc' --include='*.h' '(\.|->)value\([^()]+, ' src)" ||
    return 0
  echo "$found"
  echo "Json::value() throws at a member of another kind: use member_or (base/parse_json.h)"
  return 1
}

self_test() {
  local folder
  folder="$(mktemp -d)"
  mkdir "$folder/src"
  echo 'const auto x = *found.value() + grid.value(code);' >"$folder/src/good.cc"
  check_json "$folder" >/dev/null || { echo "json self-test: other values failed"; return 1; }
  echo 'return parameters->value("factor", 1.0);' >"$folder/src/bad.h"
  if check_json "$folder" >/dev/null; then echo "json self-test: a conversion passed"; return 1; fi
  rm -r "$folder"
  echo "json self-test: 2 of 2 cases right"
}

if [ "${1-}" = --self-test ]; then self_test; else check_json "${1:-.}"; fi
