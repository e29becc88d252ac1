#!/bin/sh
# Three programs that read the code for faults: cppcheck, clang-tidy, and gcc's -fanalyzer. What they find
# and what is right all the same stands in lint.txt with its reason; anything else fails. The last line is
# figures. About 20 minutes of one processor.
# Usage: sh tests/security/lint.sh [cppcheck|clang-tidy|analyzer…]       all, unless said
# JOBS=N: how many at once.
set -eu
exec </dev/null
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build clang clang-tidy cppcheck

[ $# -gt 0 ] || set -- cppcheck clang-tidy analyzer
jobs=${JOBS:-$(nproc)}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
cd "$top"

# Each finding becomes "TOOL FILE KIND", without its line, so that lint.txt need not follow every change.
tidy_up() {
    sed -n "s|^.*\(mirrord/[a-z0-9_/]*\.[ch]\):[0-9]*:[0-9]*: warning: .*\[\(-W\)\{0,1\}\([a-zA-Z0-9.,-]*\).*\]\$|$1 \1 \3|p
        s|^.*\(protocol/[a-z0-9_/]*\.[ch]\):[0-9]*:[0-9]*: warning: .*\[\(-W\)\{0,1\}\([a-zA-Z0-9.,-]*\).*\]\$|$1 \1 \3|p"
}

run_cppcheck() {
    # Of sys/queue.h it needs the macros. The cleanup attribute closes and frees what it believes to be
    # leaked (valgrind and the sanitizers look for that), readdir_r is not to be used any more, and
    # getpwnam and getgrnam are called by commands and processes of one thread.
    cppcheck -q --enable=warning,portability,performance --std=c11 --library=posix,gnu \
        --include=/usr/include/"$(gcc -dumpmachine)"/sys/queue.h -I. -Imirrord -D_GNU_SOURCE \
        -DMIRRORD_SECCOMP '-DMIRRORD_VERSION="lint"' --suppress=resourceLeak --suppress=memleak \
        --suppress=readdirCalled --suppress=getpwnamCalled --suppress=getpwuidCalled \
        --suppress=getgrnamCalled --template='cppcheck {file} {id}' mirrord protocol 2>&1 |
        grep '^cppcheck ' || true
}

run_clang_tidy() {
    CC=clang meson setup "$work/tidy" -Dtests=false >"$work/tidy.log" 2>&1
    # Left out are kinds that ask for another style, and those that want Annex K. A file at a time: of several,
    # its checker of va_list mistakes the second and later ones.
    find mirrord protocol -name '*.c' -print0 | xargs -0 -n 1 -P "$jobs" \
        clang-tidy -p "$work/tidy" --quiet '--checks=-*,clang-analyzer-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-reserved-identifier,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-bugprone-branch-clone,-bugprone-assignment-in-if-condition,-bugprone-sizeof-expression,-clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling,-clang-analyzer-security.insecureAPI.strcpy' \
        2>/dev/null | tidy_up clang-tidy
}

run_analyzer() {
    CC=gcc meson setup "$work/analyzer" -Dtests=false --buildtype debugoptimized -Dc_args=-fanalyzer \
        >"$work/analyzer.log" 2>&1
    ninja -k 0 -j "$jobs" -C "$work/analyzer" 2>&1 | tidy_up analyzer
}

for tool; do
    "run_$(echo "$tool" | tr - _)"
done | sort -u >"$work/found"

sed 's/#.*//; s/ *$//; /^$/d' tests/security/lint.txt | sort -u >"$work/known"
comm -23 "$work/found" "$work/known" >"$work/new"
sed 's/^/FAIL /' "$work/new"
echo "$*: $(grep -c . "$work/found") kinds of findings in files, $(grep -c . "$work/new") of them without a reason"
[ ! -s "$work/new" ]
