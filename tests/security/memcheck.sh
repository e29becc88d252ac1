#!/bin/sh
# Runs end-to-end tests with every mirrord beneath valgrind: what depends on memory that was never written, which
# the sanitizers of tests/run.sh do not see. (What is lost they do; here a child that ends without an exec would
# have lost whatever other threads had.) The last line is figures; whatever is reported fails. About an hour of one
# processor.
# Usage: sh tests/security/memcheck.sh [E2E-FILE[:CASE,CASE…]…]       all that can be, unless said
# BUILD=DIR keeps the build there and takes it up again; JOBS=N: tests at once.
#
# Valgrind (3.19, of Debian 12) knows neither openat2 nor Landlock. calls.c does openat2's work with openat, beneath
# the root and without links as far as a test can tell; receivers are not confined by Landlock, nor by a list of
# system calls, which would end valgrind's own. So what is about confinement cannot be run here: sandbox, races,
# service, hostile (which has the sanitizers), per_host's users. It does not know pidfd_open either, without which
# there are no sessions over OpenSSH's client: most of links. Nor can what copies the program elsewhere (network,
# quickstart, pair), what loads a library of its own into it (disk, crash), what measures time or memory (many,
# bounded, opcache), and random, which has its own long form. On a busy machine logins fail, which have 20 seconds:
# libssh2's key exchange takes several of them beneath valgrind.
set -eu
exec </dev/null
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh valgrind

[ $# -gt 0 ] || set -- resync daemon delta bad_input units unit_rest unit_places watcher reload barrier sites held \
    adoption resume trash verify drift gate hook fencing upload metrics \
    links:rekeying_under_a_daemon,neither_keys_nor_content_are_logged,hashed_known_hosts,a_name_instead_of_an_address
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
build=${BUILD:-$work/build} jobs=${JOBS:-$(nproc)}

echo "== building"
if ! { [ -e "$build/build.ninja" ] || meson setup "$build" "$top" --buildtype debugoptimized -Dseccomp=disabled \
    -Dtests=false; } >"$work/log" 2>&1 || ! meson compile -j "$jobs" -C "$build" >>"$work/log" 2>&1 ||
    ! cc -shared -fPIC -O1 -Wall -o "$work/calls.so" "$top/tests/security/calls.c" >>"$work/log" 2>&1; then
    tail -n 40 "$work/log"
    exit 1
fi

# Beside each environment's home, where the harness looks. What a child starts is not mirrord.
cat >"$work/mirrord" <<EOS
#!/bin/sh
LD_PRELOAD='$work/calls.so' exec valgrind -q --error-exitcode=99 --log-file="\${HOME%/home}/valgrind.%p" \\
    --leak-check=no --num-callers=20 --fair-sched=yes '$build/mirrord/mirrord' "\$@"
EOS
chmod 755 "$work/mirrord" "$work"

echo "== end to end"
MIRRORD_E2E_SLOW=${MIRRORD_E2E_SLOW:-10} MIRRORD_E2E_COMM=memcheck-amd64-linux MIRRORD="$work/mirrord" \
    python3 -B "$top/tests/security/watched.py" memcheck "$work" "$@"
