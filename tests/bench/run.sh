#!/bin/sh
# Measures mirrord against rsync and lsyncd on this machine and prints a table. Installs what is missing,
# builds mirrord in a temporary directory (or takes the one that MIRRORD names), and works on tmpfs.
# Usage: sh tests/bench/run.sh [--quick] [--rounds N] [SCENARIO…]; --list names the scenarios.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh rsync lsyncd

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
if [ -z "${MIRRORD:-}" ]; then
    if ! meson setup "$work/build" "$top" --buildtype release -Dtests=false >"$work/log" 2>&1 ||
        ! meson compile -C "$work/build" >>"$work/log" 2>&1; then
        tail -n 60 "$work/log" >&2
        exit 1
    fi
    export MIRRORD="$work/build/mirrord/mirrord"
fi
python3 -B "$top/tests/bench/bench.py" "$@"
