#!/bin/sh
# Proves that dist/report.html is what the source gives, byte for byte, and that the sources type-check.
#   web/check.sh          install, type-check, rebuild, compare
#   web/check.sh --test   and run the page's tests (needs Chromium; CHROMIUM names it, /usr/bin/chromium if unset)
# After a change of the page: npm ci && npm run build, and commit dist/report.html with it.
set -eu
cd "$(dirname "$0")"
case "${1-}" in
  '' | --test) ;;
  *) echo "check.sh: unknown option $1; the only one is --test" >&2; exit 2 ;;
esac
command -v npm >/dev/null || { echo 'check.sh: npm not found; install Node.js 18 or later' >&2; exit 2; }

if grep -q '"resolved"' package-lock.json; then
  echo 'check.sh: package-lock.json names a registry; run npm install here, where .npmrc leaves that out' >&2
  exit 1
fi
npm ci --no-audit --no-fund --loglevel=error
npx --no-install tsc --noEmit
built=$(mktemp -d)
trap 'rm -rf "$built"' EXIT
node build.mjs "$built/report.html"
if ! cmp dist/report.html "$built/report.html"; then
  echo 'check.sh: dist/report.html is not what the source gives; run npm run build and commit the result' >&2
  exit 1
fi
echo 'dist/report.html is what the source gives'
if [ "${1-}" = --test ]; then npm test; fi
