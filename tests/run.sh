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
    dpkg-dev debhelper lintian systemd sudo

# The interpreter itself, where what is found first only chooses it, and takes longer than many a test.
PATH=$(dirname "$(python3 -c 'import sys; print(sys.executable)')"):$PATH
export PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'kill $others 2>/dev/null; exit 130' HUP INT TERM
broken='' others=''

# What only tests need, while the first build is made: services, none of which is started. Where WordPress cannot
# be had its test is skipped, as is what needs promtool, whose package is 100 MB and a service: of that its one
# program is taken.
install_more() {
    # shellcheck disable=SC2086 # lists
    packages_need_stopped $packages_php haproxy $packages_wordpress ||
        packages_need_stopped $packages_php haproxy ||
        echo "PHP and HAProxy cannot be had: what needs them is skipped, or fails"
    command -v promtool >/dev/null || ! command -v apt-get >/dev/null || {
        mkdir "$work/prometheus" && cd "$work/prometheus" && apt-get -qq download prometheus &&
            dpkg-deb -x ./*.deb . && rm ./*.deb
    } 2>/dev/null || echo "promtool cannot be had: the metrics are not looked at with it"
}

# NAME COMPILER TARGET [MESON OPTIONS…]: builds in $work/NAME, the target or all.
build() {
    name=$1 compiler=$2 target=$3
    shift 3
    # shellcheck disable=SC2086 # a target, or none
    CC=$compiler meson setup "$work/$name" "$top" -Dwerror=true "$@" >"$work/$name.log" 2>&1 &&
        meson compile -C "$work/$name" $target >>"$work/$name.log" 2>&1 && touch "$work/$name/is-built"
}

# NAME PROCESSES [SUITE]: runs the tests of a suite, or all. What does not build counts as one failure.
run() {
    echo "== $1"
    if [ ! -e "$work/$1/is-built" ]; then
        tail -n 60 "$work/$1.log" || true
        return
    fi
    # The limits of time are for what hangs; a machine may be slow.
    meson test -C "$work/$1" --num-processes "$2" --no-rebuild --print-errorlogs --timeout-multiplier 4 \
        ${3:+--suite "$3"} || true
}

# Twice as many as there are cores: much of what an end-to-end test does is wait.
many=$((2 * $(nproc)))

# The other builds are made with what the first one's tests leave idle.
build_others() {
    renice -n 19 -p "$(exec sh -c 'echo $PPID')" >/dev/null
    # Neither is what is shipped: as is done soonest.
    build clang-sanitizers clang "" -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=0 \
        -Dc_args=-gline-tables-only || true
    build faults gcc mirrord -Dfaults=true -Doptimization=0
}

install_more &
more=$!
build gcc gcc "" || true
wait $more || true
if [ -x "$work/prometheus/usr/bin/promtool" ]; then export PROMTOOL="$work/prometheus/usr/bin/promtool"; fi
build_others &
others=$!
run gcc "$many"
wait $others || true
# Few and long, each waiting for the one before: what the others leave at their end is theirs.
run faults 1 faults >"$work/faults.out" 2>&1 &
others=$!
run clang-sanitizers "$((many - 1))"
wait $others || true
cat "$work/faults.out"
for name in gcc clang-sanitizers faults; do
    [ -e "$work/$name/is-built" ] || broken="$broken $name"
done

# shellcheck disable=SC2086 # a list
python3 -B "$top/tests/summary.py" "$work" $broken
