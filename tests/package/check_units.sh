#!/bin/sh
# The systemd units are understood by systemd, and as closed as they say: the daemon, and what is reachable
# over the network. Usage: check_units.sh TOP-OF-THE-TREE
set -eu
command -v systemd-analyze >/dev/null || exit 77 # meson: skipped
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0
mkdir -p "$work/bin"
printf '#!/bin/sh\n' >"$work/bin/mirrord"
chmod +x "$work/bin/mirrord"
for unit in "$1"/examples/*.service "$1"/examples/*.socket; do
    sed "s,/usr/local/bin/,$work/bin/," "$unit" >"$work/${unit##*/}"
done

fail() {
    cat "$work/log"
    echo "FAIL $1"
    echo "$passed passed, 1 failed"
    exit 1
}

# What is only missing on this machine (a web server, a manual page) is no fault of the unit.
verify() { # UNIT…
    systemd-analyze verify --man=no "$@" >"$work/log" 2>&1 && ! grep -F "$work" "$work/log" ||
        fail "systemd understands $*"
    passed=$((passed + 1))
}

verify "$work/mirrord.service" "$work/mirrord-recover.service"

# Its exposure, from 0 (none) to 100: the daemon's was 25 when this was written, 96 without its restrictions.
if systemd-analyze security --help 2>/dev/null | grep -q -e --threshold; then
    for bound in mirrord:30 mirrord-recover:80; do
        systemd-analyze security --no-pager --offline=yes --threshold="${bound#*:}" \
            "$work/${bound%:*}.service" >"$work/log" 2>&1 ||
            fail "$bound: more is open than should be"
        passed=$((passed + 1))
    done
fi

# Each restriction of the daemon's has its reason in front of it.
awk '/^# What it may do/ { on = 1 } /^\[Install\]/ { on = 0 }
    on && /^[A-Z].*=/ { if (!reason) { print "no reason: " $0; bad = 1 } }
    { if ($0 == "") reason = 0; else if (/^#/) reason = 1 }
    END { exit bad }' "$1/examples/mirrord.service" >"$work/log" || fail "each restriction has its reason"
passed=$((passed + 1))

for name in health agent; do
    cp "$work/mirrord-$name@.service" "$work/mirrord-$name@1.service"
    verify "$work/mirrord-$name.socket"
    verify "$work/mirrord-$name@1.service"
    systemd-analyze security --offline=true --threshold=20 "$work/mirrord-$name@1.service" >"$work/log" 2>&1 ||
        fail "$name: more is open than should be"
    passed=$((passed + 1))
done
echo "$passed passed, 0 failed"
