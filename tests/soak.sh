#!/bin/sh
# Random work against random faults for a while: rounds of the random test, in which everything is
# killed, and of the crash sweep, each with a seed of its own, in a build with fault points. Stops at
# the first failure and prints the seed that repeats it. The last line is figures.
# Usage: sh tests/soak.sh MINUTES [SEED]
set -eu
exec </dev/null
minutes=${1:?usage: sh tests/soak.sh MINUTES [SEED]}
seed=${2:-$(od -An -N3 -tu4 /dev/urandom | tr -d ' ')}
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
if [ -z "${MIRRORD:-}" ]; then
    meson setup "$work/build" "$top" -Dfaults=true -Dtests=false >"$work/build.log" 2>&1 &&
        meson compile -C "$work/build" >>"$work/build.log" 2>&1 || {
        tail -n 40 "$work/build.log"
        exit 1
    }
    MIRRORD=$work/build/mirrord/mirrord
fi
export MIRRORD

until=$(($(date +%s) + minutes * 60))
failed=0
touch "$work/log"

# NAME [VARIABLE=VALUE…]: one round of a test with this seed.
round() {
    name=$1
    shift
    echo "== $name, seed $seed"
    if env "$@" SEED="$seed" python3 -B "$top/tests/e2e/test_$name.py" >"$work/round" 2>&1; then
        grep '^#' "$work/round" || true
    else
        failed=$((failed + 1))
        cat "$work/round"
        echo "repeat it with: $* SEED=$seed python3 tests/e2e/test_$name.py"
    fi
    cat "$work/round" >>"$work/log"
}

while [ "$(date +%s)" -lt "$until" ] && [ "$failed" = 0 ]; do
    round random SECONDS_LONG=20
    [ "$failed" = 0 ] && [ "$(date +%s)" -lt "$until" ] && round crash CRASH_POINTS=60
    seed=$((seed + 1))
done
python3 -B "$top/tests/soak_figures.py" "$work/log" "$failed"
[ "$failed" = 0 ]
