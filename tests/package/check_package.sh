#!/bin/sh
# The Debian package: builds, is clean under lintian, and can be installed, upgraded, removed and purged
# without starting or leaving anything. It is installed into an overlay over this machine's files that
# nobody else sees. Usage: check_package.sh TOP-OF-THE-TREE
set -eu
top=$1
for tool in dpkg-buildpackage dh lintian; do
    command -v $tool >/dev/null || exit 77 # meson: skipped
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
passed=0

ok() {
    passed=$((passed + 1))
    echo "ok $1"
}

fail() {
    echo "FAIL $1"
    sed 's/^/    /' "$2" | tail -n 40
    echo "$passed passed, 1 failed"
    exit 1
}

# How the program is compiled (-O2, hardened, every warning an error) is seen in the build that this is a test of; here
# it is what is packed, and compiled as is done soonest.
export DEB_CFLAGS_APPEND='-O0 -g0' DEB_CPPFLAGS_APPEND=-U_FORTIFY_SOURCE DEB_BUILD_OPTIONS=noautodbgsym

mkdir "$work/src"
(cd "$top" && tar -cf - --exclude=.git --exclude='build*' .) | tar -xf - -C "$work/src"
(cd "$work/src" && dpkg-buildpackage -us -uc -b) >"$work/log" 2>&1 || fail "the package builds" "$work/log"
deb=$(ls "$work"/mirrord_*.deb)
ok "the package builds"

lintian --fail-on error,warning --allow-root "$work"/mirrord_*.changes >"$work/log" 2>&1 ||
    fail "lintian finds no errors and no warnings" "$work/log"
ok "lintian finds no errors and no warnings"

# The same under a lower version, to be upgraded from.
dpkg-deb -R "$deb" "$work/older"
sed -i 's/^Version: .*/&~older/' "$work/older/DEBIAN/control"
dpkg-deb --root-owner-group -Znone -b "$work/older" "$work/older.deb" >"$work/log" 2>&1 ||
    fail "a lower version" "$work/log"

skipped=0
if [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
    unshare -m sh "$top/tests/package/in_overlay.sh" "$work/older.deb" "$deb" >"$work/log" 2>&1 ||
        fail "install, upgrade, remove, purge" "$work/log"
    ok "install, upgrade, remove, purge"
else
    skipped=1
fi

result=0
sh "$top/tests/package/systemd.sh" "$deb" >"$work/log" 2>&1 || result=$?
[ $result = 0 ] || [ $result = 77 ] || fail "its units under a systemd that runs" "$work/log"
if [ $result = 0 ]; then ok "its units under a systemd that runs"; else
    tail -n 1 "$work/log"
    skipped=$((skipped + 1))
fi
echo "$passed passed, 0 failed, $skipped skipped"
