#!/bin/sh
# The units under a systemd that runs: in namespaces of its own, over an overlay of this machine's root, with
# nothing of the machine in it but what is read. READY, the health socket, a reload, the watchdog, the journal's
# priorities, a stop. Needs root, overlayfs, a cgroup2 that can be written, systemd.
# Usage: systemd.sh MIRRORD|PACKAGE.deb        by hand: sh tests/package/systemd.sh build/mirrord/mirrord
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
what=$(realpath "$1")

skip() {
    echo "skipped: $*"
    exit 77 # meson: skipped
}

# --- in the namespaces: the root is made, and systemd is what runs there ---
if [ "${2-}" = boot ]; then
    at=$3
    trap 'exit 77' EXIT # what may be refused
    mount -t tmpfs tmpfs "$at"
    mkdir "$at/upper" "$at/work" "$at/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$at/upper,workdir=$at/work" "$at/root"
    cd "$at/root"
    mount -t proc proc proc
    mount -t sysfs -o ro sysfs sys
    mount -t tmpfs tmpfs sys/fs/cgroup
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    for dir in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $dir; done
    chmod 1777 tmp
    for node in null zero full random urandom tty; do
        : >dev/$node
        mount --bind /dev/$node dev/$node
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    trap - EXIT
    # Nothing of this machine's is started, and nothing of its kernel set.
    rm -rf etc/systemd/system etc/systemd/system-generators var/log/journal var/lib/mirrord etc/mirrord etc/fstab
    mkdir -p etc/systemd/system etc/systemd/system-generators var/log/journal etc/mirrord srv/www/shop
    for unit in systemd-sysctl systemd-modules-load systemd-remount-fs systemd-udevd systemd-udev-trigger systemd-logind \
        systemd-binfmt systemd-random-seed systemd-hwdb-update systemd-networkd systemd-timesyncd getty@ console-getty; do
        ln -s /dev/null etc/systemd/system/$unit.service
    done
    for unit in dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount \
        sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount kmod-static-nodes.service; do
        ln -s /dev/null etc/systemd/system/$unit
    done
    for generator in lib/systemd/system-generators/* usr/lib/systemd/system-generators/*; do
        ln -sf /dev/null "etc/systemd/system-generators/${generator##*/}"
    done
    od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >etc/machine-id
    hostname web1
    echo web1 >etc/hostname
    printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/up.target
    case $what in
    *.deb) dpkg-deb --fsys-tarfile "$what" | tar -x --keep-directory-symlink ;;
    *)
        cp "$what" usr/local/bin/mirrord
        cp "$top"/examples/*.service "$top"/examples/*.socket etc/systemd/system/
        ;;
    esac
    cat >etc/mirrord/mirrord.conf <<'CONF'
host web1 { address = "127.0.0.1" }
host web2 { address = "127.0.0.1" port = 1 }
site "shop" { root = "/srv/www/shop" hosts = {web1, web2} primary = web1 }
CONF
    mkdir old
    pivot_root . old
    umount -l /old
    exec env -i container=other PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=up.target --log-target=journal </dev/null
fi

# --- outside ---
[ "$(id -u)" = 0 ] || skip "needs root"
[ -x /lib/systemd/systemd ] || skip "systemd is not installed"
tree=$(findmnt -n -o TARGET -t cgroup2 | head -n 1)
[ -n "$tree" ] || skip "there is no cgroup2"
group=$tree/mirrord-test-$$
mkdir "$group" 2>/dev/null || skip "no cgroup can be made in $tree"
work=$(mktemp -d)
holder=

clean() {
    [ -z "$holder" ] || kill -9 "$holder" 2>/dev/null || true
    [ -z "$holder" ] || wait "$holder" 2>/dev/null || true
    tries=0
    until find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || [ $tries = 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    rm -rf "$work" "$work.log" "$work.out"
}
trap clean EXIT
trap 'exit 130' HUP INT TERM

# shellcheck disable=SC2016 # for the other shell
sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' sh "$group" \
    unshare -m -p -u -i -n -C -f --kill-child=KILL --propagation private sh "$0" "$what" boot "$work" \
    >"$work.log" 2>&1 &
holder=$!

passed=0
fail() {
    echo "FAIL $*"
    cat "$work.log"
    [ -n "$holder" ] || exit 1
    in_it journalctl --no-pager -n 40 2>/dev/null || true
    exit 1
}

in_it() {
    nsenter -t "$init" -m -p -u -i -n -C -- env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

check() { # NAME COMMAND…
    name=$1
    shift
    "$@" >"$work.out" 2>&1 || { cat "$work.out"; fail "$name"; }
    echo "ok $name"
    passed=$((passed + 1))
}

until_true() { # SECONDS COMMAND…
    left=$(($1 * 10))
    shift
    until "$@"; do
        left=$((left - 1))
        [ $left -gt 0 ] || return 1
        sleep 0.1
    done
}

# The one child of unshare's is systemd, once it has been exec'ed.
is_booted() {
    kill -0 "$holder" 2>/dev/null || return 0
    init=$(pgrep -P "$holder" 2>/dev/null | head -n 1)
    [ -n "$init" ] && [ "$(cat /proc/"$init"/comm 2>/dev/null)" = systemd ] &&
        [ "$(in_it systemctl is-active up.target 2>/dev/null)" = active ]
}
until_true 60 is_booted || fail "systemd is up"
if ! kill -0 "$holder" 2>/dev/null; then
    result=0
    wait "$holder" || result=$?
    holder=
    [ $result = 77 ] || grep -q '^unshare: ' "$work.log" || fail "systemd is started"
    tail -n 1 "$work.log"
    skip "systemd cannot be started in namespaces here"
fi

prop() { in_it systemctl show -P "$2" "$1"; }
is() { [ "$(prop "$1" "$2")" = "$3" ]; }
journal() { in_it journalctl --no-pager -q -o json -u "$1"; }
said() { # UNIT PATTERN PRIORITY
    journal "$1" | grep -E "\"MESSAGE\":\"$2" | grep -qE "\"PRIORITY\":\"$3\""
}

check "the daemon is enabled" in_it systemctl enable mirrord
check "and recover at boot with it" in_it systemctl is-enabled mirrord-recover
check "recover at boot" in_it systemctl start mirrord-recover
check "it has done its work" is mirrord-recover.service Result success

# A first copy is no start time-out: READY although web2 does not answer.
check "start waits for READY" in_it systemctl start mirrord
check "active" is mirrord.service ActiveState active
check "ready behind the control socket" in_it sh -c 'mirrord status; test $? = 4'
check "errors and notes have their priorities" until_true 20 said mirrord.service 'web2: [^"]*(refused|connect)' '[34]'
check "notes too" said mirrord.service '[^"]*(ready|started|mirrord 0)' '[56]'
has_no_mark() { ! journal mirrord.service | grep -q '"MESSAGE":"<[0-7]>'; }
check "the mark of a priority is not in the text" has_no_mark

# shellcheck disable=SC2317 # called by check
{
    refused() { ! in_it systemctl reload mirrord; }
    same() { [ "$(prop mirrord.service MainPID)" = "$main" ]; }
    another() { [ "$(prop mirrord.service MainPID)" -gt 0 ] && ! same && is mirrord.service ActiveState active; }
    asks() { in_it python3 -c 'import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9180/").read().decode())' | grep '"healthy":true'; }
    not_started() { ! in_it systemctl start mirrord; }
    watchdog_said() { journal mirrord.service | grep -q 'Watchdog timeout'; }
    no_socket() { ! in_it test -e /run/mirrord/control; }
}

main=$(prop mirrord.service MainPID)
in_it sh -c 'cp /etc/mirrord/mirrord.conf /root/good; echo nonsense >>/etc/mirrord/mirrord.conf'
check "a bad configuration is refused at a reload" refused
check "with its line" until_true 10 said mirrord.service '[^"]*mirrord.conf:[0-9]+[^"]*nonsense' '[34]'
check "and the daemon goes on" same
in_it cp /root/good /etc/mirrord/mirrord.conf
check "a reload" in_it systemctl reload mirrord
check "is no new process" same

in_it ip link set lo up
check "the health socket" in_it systemctl start mirrord-health.socket
check "answers" asks

in_it sh -c 'mkdir -p /run/systemd/system/mirrord.service.d
printf "[Service]\nWatchdogSec=2\n" >/run/systemd/system/mirrord.service.d/soon.conf; systemctl daemon-reload; systemctl restart mirrord'
main=$(prop mirrord.service MainPID)
sleep 5 # the watchdog's own time, twice
check "the watchdog leaves a daemon alone that works" same
in_it kill -STOP "$main"
check "one that hangs is ended and started again" until_true 30 another
check "for that reason" until_true 5 watchdog_said

check "a stop" in_it systemctl stop mirrord
check "is a clean one" is mirrord.service Result success
check "and leaves no socket" no_socket
in_it sh -c 'echo nonsense >>/etc/mirrord/mirrord.conf'
check "a start with a bad configuration fails" not_started
check "at once" is mirrord.service NRestarts 0
echo "$passed passed, 0 failed"
