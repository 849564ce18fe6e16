#!/bin/sh
# What the benchmarks need besides the project's own environment: wrk (proves the stub's speed) and GNU parallel from
# Debian, newman from npm. Packages come from whatever registries this machine is set up with.
#   benchmarks/setup.sh [FOLDER]     newman goes to FOLDER, default build/bench/tools
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
tools=${1:-$here/build/bench/tools}

missing=
for program in wrk parallel curl; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    $as_root apt-get update -qq
    # shellcheck disable=SC2086 -- a list of words
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $missing
fi
if ! [ -x "$tools/node_modules/.bin/newman" ]; then
    command -v npm >/dev/null || { echo "npm is needed for newman; install Node.js" >&2; exit 1; }
    mkdir -p "$tools"
    npm install --prefix "$tools" --no-audit --no-fund --silent newman@6
fi
wrk -v 2>&1 | sed -n 1p || true
parallel --version | sed -n 1p
printf 'newman '
"$tools/node_modules/.bin/newman" --version
