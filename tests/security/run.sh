#!/bin/sh
# The long form of what tests/run.sh does for security: searches each decoder for inputs that break it
# (libFuzzer, with sanitizers), 100,000 swaps by a local user at each end, thousands of sessions that are
# tampered with, and the lines of the codec and of the message handlers that the tests reach. The last
# line is figures; anything found fails, and its input is kept in the directory that is named.
# Usage: sh tests/security/run.sh [MINUTES-PER-FUZZER [FUZZER…]]       30 minutes and all, unless said
# PARTS="fuzz swaps coverage" says which parts, JOBS how many at once.
set -eu
exec </dev/null
minutes=${1:-30} # 0: the corpora alone
[ $# = 0 ] || shift
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh clang llvm libclang-rt-14-dev libcmocka-dev

parts=" ${PARTS:-fuzz swaps coverage} " jobs=${JOBS:-$(nproc)}
has() { case $parts in *" $1 "*) ;; *) return 1 ;; esac; }

work=$(mktemp -d)
found=$(mktemp -d)
trap 'rm -rf "$work"; rmdir "$found" 2>/dev/null || true' EXIT
trap 'exit 130' HUP INT TERM

# NAME COMPILER OPTION…
build() {
    name=$1 compiler=$2
    shift 2
    if ! CC=$compiler meson setup "$work/$name" "$top" "$@" >"$work/$name.log" 2>&1 ||
        ! meson compile -j "$jobs" -C "$work/$name" >>"$work/$name.log" 2>&1; then
        tail -n 40 "$work/$name.log"
        exit 1
    fi
}

echo "== building"
! has fuzz || build fuzz clang --buildtype debugoptimized -Dfuzz=true -Dc_args=-fsanitize=fuzzer-no-link \
    -Db_sanitize=address,undefined -Db_lundef=false
! has swaps || build sanitized clang -Dtests=false -Db_sanitize=address,undefined -Db_lundef=false
# Counters that a process keeps in its file count, too, when it is killed or leaves by _exit.
export LLVM_PROFILE_FILE="$work/ignored-%p.profraw"
! has coverage || build coverage clang --buildtype debug '-Dc_link_args=-fprofile-instr-generate' \
    '-Dc_args=-fprofile-instr-generate -fcoverage-mapping -mllvm -runtime-counter-relocation'

cat >"$work/one" <<'EOS'
name=$1
mkdir -p "$work/corpus-$name"
limit=-max_total_time=$((minutes * 60))
[ "$minutes" -gt 0 ] || limit=-runs=0 # without a limit it would never end
LSAN_OPTIONS=suppressions="$top/tests/security/leaks.txt" \
    "$work/fuzz/tests/fuzz/search_$name" $limit -max_len=8192 -timeout=20 \
    -rss_limit_mb=2000 -print_final_stats=1 -artifact_prefix="$found/$name-" "$work/corpus-$name" \
    "$top/tests/fuzz/corpus/$name" >"$work/fuzz-$name.log" 2>&1 ||
    echo "FAIL fuzz $name: $(grep -m1 -E 'ERROR|SUMMARY' "$work/fuzz-$name.log")"
times >"$work/cpu-$name"
EOS
export work found minutes top
if has fuzz; then
    if [ $# = 0 ]; then
        set -- $(cd "$work/fuzz/tests/fuzz" && ls -d search_* | sed -n 's/^search_\([a-z]*\)$/\1/p')
    fi
    echo "== fuzzing $minutes minutes each: $*"
    printf '%s\n' "$@" | xargs -P "$jobs" -I NAME sh "$work/one" NAME
else
    set --
fi

has swaps && echo "== swaps and sessions" && for test in races hostile; do
    LONG=1 MIRRORD_SANITIZED=1 MIRRORD="$work/sanitized/mirrord/mirrord" \
        python3 -B "$top/tests/e2e/test_$test.py" >"$work/e2e-$test.log" 2>&1 ||
        { echo "FAIL test_$test.py"; tail -n 40 "$work/e2e-$test.log"; }
done

if has coverage; then
    echo "== coverage by unit tests and corpora"
    LLVM_PROFILE_FILE="$work/profile-%p%c.profraw" meson test -C "$work/coverage" --no-rebuild \
        --num-processes "$jobs" --suite unit --suite fuzz >"$work/coverage-tests.log" 2>&1 ||
        tail -n 20 "$work/coverage-tests.log"
    llvm-profdata merge -o "$work/profile" "$work"/profile-*.profraw
fi

PARTS=$parts python3 -B "$top/tests/security/figures.py" "$top" "$work" "$found" "$@"
