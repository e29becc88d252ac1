#!/bin/sh
# Runs mirrord under a real WordPress: installs what is missing (WordPress, MariaDB, PHP-FPM, nginx; no
# service of them is started), builds mirrord, and runs test_wordpress.py, by default in its long form.
# Usage: sh tests/wordpress/run.sh [CASE…]      LONG= sh tests/wordpress/run.sh for the short form
set -eu
exec </dev/null
top=$(cd "$(dirname "$0")/../.." && pwd)
. "$top/tests/packages.sh"

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh
# shellcheck disable=SC2086 # a list
packages_need_stopped $packages_wordpress

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' HUP INT TERM
meson setup "$work" "$top" --buildtype release -Dtests=false >"$work.log"
meson compile -C "$work" >>"$work.log"
rm -f "$work.log"
LONG=${LONG-1} MIRRORD=$work/mirrord/mirrord python3 -B "$top/tests/wordpress/test_wordpress.py" "$@"
