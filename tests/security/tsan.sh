#!/bin/sh
# Looks for data races and circles of locks: builds mirrord and its tests with clang's thread sanitizer, runs
# the unit tests, then the end-to-end tests that have a daemon (its threads are the scanner, a pusher for each
# secondary, workers, the control socket, walks). A receiver's child has threads, too. The last line is figures;
# whatever is reported fails. About 40 minutes of one processor.
# Usage: sh tests/security/tsan.sh [unit] [E2E-FILE[:CASE,CASE…]…]       all, unless said; e.g.: unit daemon
# BUILD=DIR keeps the build there and takes it up again; JOBS=N: tests at once.
set -eu
exec </dev/null
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh clang llvm libclang-rt-14-dev libcmocka-dev

# Not: those that start the program elsewhere or under other users, count what it allocates, or have no daemon.
[ $# -gt 0 ] || set -- unit daemon watcher reload barrier sites fencing held adoption stall resume units unit_rest \
    upload bounded many metrics per_host links drift gate hook random resync delta trash verify
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
build=${BUILD:-$work/build}
jobs=${JOBS:-$(nproc)}
[ "$1" = unit ] && target='' || target=mirrord

echo "== building"
# shellcheck disable=SC2086 # a target, or all
if ! { [ -e "$build/build.ninja" ] || CC=clang meson setup "$build" "$top" -Db_sanitize=thread \
    -Db_lundef=false -Doptimization=1; } >"$work/log" 2>&1 ||
    ! meson compile -j "$jobs" -C "$build" $target >>"$work/log" 2>&1; then
    tail -n 40 "$work/log"
    exit 1
fi

failed=0 unit='no unit tests'
if [ "$1" = unit ]; then
    shift
    echo "== unit tests"
    TSAN_OPTIONS=second_deadlock_stack=1:die_after_fork=0 meson test -C "$build" --no-rebuild --suite unit \
        --num-processes "$jobs" --timeout-multiplier 4 >"$work/unit.log" 2>&1 || failed=1
    grep -E '^ *[0-9]+/[0-9]+ .*(FAIL|TIMEOUT|ERROR)' "$work/unit.log" || true
    grep -h 'SUMMARY: ' "$build/meson-logs/testlog.txt" | sort | uniq -c || true
    unit=$(sed -n 's/^Ok: *\([0-9]*\)/\1 unit tests passed/p; s/^Fail: *\([0-9]*\)/\1 failed/p
        s/^Timeout: *\([0-9]*\)/\1 not in time/p' "$work/unit.log" | paste -sd, | sed 's/,/, /g')
fi

echo "== end to end"
if [ $# -gt 0 ]; then
    JOBS=$jobs MIRRORD_SANITIZED=1 MIRRORD="$build/mirrord/mirrord" \
        python3 -B "$top/tests/security/watched.py" "thread sanitizer: $unit" "$work" "$@" || failed=1
else
    echo "thread sanitizer: $unit"
fi
exit $failed
