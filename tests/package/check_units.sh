#!/bin/sh
# The systemd units are understood by systemd. Usage: check_units.sh TOP-OF-THE-TREE
set -eu
command -v systemd-analyze >/dev/null || exit 77 # meson: skipped
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin"
printf '#!/bin/sh\n' >"$work/bin/mirrord"
chmod +x "$work/bin/mirrord"
for unit in mirrord mirrord-recover; do
    sed "s,/usr/local/bin/,$work/bin/," "$1/examples/$unit.service" >"$work/$unit.service"
done
# What is only missing on this machine (a web server, a manual page) is no fault of the unit.
if systemd-analyze verify --man=no "$work/mirrord.service" "$work/mirrord-recover.service" >"$work/log" 2>&1 &&
    ! grep -F "$work" "$work/log"; then
    echo "1 passed, 0 failed"
else
    cat "$work/log"
    echo "0 passed, 1 failed"
    exit 1
fi
