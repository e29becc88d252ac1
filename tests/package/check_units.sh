#!/bin/sh
# The systemd units are understood by systemd, and what is reachable over the network is fenced in.
# Usage: check_units.sh TOP-OF-THE-TREE
set -eu
command -v systemd-analyze >/dev/null || exit 77 # meson: skipped
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin"
printf '#!/bin/sh\n' >"$work/bin/mirrord"
chmod +x "$work/bin/mirrord"
for unit in "$1"/examples/*.service "$1"/examples/*.socket; do
    sed "s,/usr/local/bin/,$work/bin/," "$unit" >"$work/${unit##*/}"
done
passed=0

verify() { # UNIT…
    # What is only missing on this machine (a web server, a manual page) is no fault of the unit.
    if systemd-analyze verify --man=no "$@" >"$work/log" 2>&1 && ! grep -F "$work" "$work/log"; then
        passed=$((passed + 1))
        return
    fi
    cat "$work/log"
    echo "$passed passed, 1 failed"
    exit 1
}

verify "$work/mirrord.service" "$work/mirrord-recover.service"
for name in health agent; do
    cp "$work/mirrord-$name@.service" "$work/mirrord-$name@1.service"
    verify "$work/mirrord-$name.socket"
    verify "$work/mirrord-$name@1.service"
    systemd-analyze security --offline=true --threshold=20 "$work/mirrord-$name@1.service" >"$work/log" 2>&1 || {
        cat "$work/log"
        echo "$passed passed, 1 failed"
        exit 1
    }
    passed=$((passed + 1))
done
echo "$passed passed, 0 failed"
