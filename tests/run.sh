#!/bin/sh
# Builds mirrord with gcc and with clang and its sanitizers, warnings being errors, and runs every test
# with both; then the program alone with fault points, and the crash tests with that. Installs what is
# missing, works in a temporary directory, and ends with one line: how many tests passed and failed.
# Usage: sh tests/run.sh
set -eu
exec </dev/null
export CI=true
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh clang llvm libclang-rt-14-dev libcmocka-dev rsync acl mandoc \
    dpkg-dev debhelper lintian systemd
# shellcheck disable=SC2086 # a list
packages_need_stopped $packages_php haproxy

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
broken=

# The package is 100 MB and a service; its one program that the tests need is not.
if ! command -v promtool >/dev/null && command -v apt-get >/dev/null; then
    mkdir "$work/prometheus"
    (cd "$work/prometheus" && apt-get -qq download prometheus && dpkg-deb -x ./*.deb . && rm ./*.deb) 2>/dev/null ||
        echo "promtool cannot be had: the metrics are not looked at with it"
    PROMTOOL=$work/prometheus/usr/bin/promtool
    if [ -x "$PROMTOOL" ]; then export PROMTOOL; else unset PROMTOOL; fi
fi

# NAME COMPILER TARGET SUITE [MESON OPTIONS…]: builds in $work/NAME and runs the tests of a suite; "" is
# all of either. What does not build counts as one failure.
suite() {
    name=$1 compiler=$2 target=$3 tests=$4
    shift 4
    echo "== $name"
    # shellcheck disable=SC2086 # a target, or none
    if ! CC=$compiler meson setup "$work/$name" "$top" -Dwerror=true "$@" >"$work/$name.log" 2>&1 ||
        ! meson compile -C "$work/$name" $target >>"$work/$name.log" 2>&1; then
        tail -n 60 "$work/$name.log"
        broken="$broken $name"
        return
    fi
    # One more than there are cores: much of what an end-to-end test does is wait.
    meson test -C "$work/$name" --num-processes $(($(nproc) + 1)) --no-rebuild --print-errorlogs ${tests:+--suite "$tests"} || true
}

suite gcc gcc "" ""
suite clang-sanitizers clang "" "" -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1
suite faults gcc mirrord faults -Dfaults=true

# shellcheck disable=SC2086 # a list
python3 -B "$top/tests/summary.py" "$work" $broken
