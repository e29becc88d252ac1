# shellcheck shell=sh disable=SC2034
# Sourced by tests/run.sh and examples/demo.sh: what mirrord is built from, and how it gets here.

packages_build="gcc libc6-dev meson ninja-build pkg-config python3 librsync-dev libssh2-1-dev libssl-dev
 libxxhash-dev liblmdb-dev libzstd-dev libconfuse-dev libcjson-dev libseccomp-dev libsystemd-dev"
packages_ssh="openssh-server openssh-client procps"
packages_php="php-fpm php-cli"
# PHP-FPM first: WordPress is content with any PHP, and would take Apache's.
packages_wordpress="php-fpm php-mysql php-gd nginx-light mariadb-server wordpress"

# Installs those of the named packages that are missing. On another system than Debian they are taken
# for granted: meson says what is not there.
packages_need() {
    command -v dpkg-query >/dev/null || return 0
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *" installed") ;;
        *) missing="$missing $package" ;;
        esac
    done
    [ -n "$missing" ] || return 0
    echo "installing:$missing"
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get -qq update
    # shellcheck disable=SC2086 # a list
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        $missing >/dev/null
}

# The same for packages that would start services: those stay as they are.
packages_need_stopped() {
    policy=/usr/sbin/policy-rc.d
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    if [ -e $policy ]; then
        packages_need "$@"
        return
    fi
    printf '#!/bin/sh\nexit 101\n' | $as_root tee $policy >/dev/null
    $as_root chmod 755 $policy
    packages_need "$@" || { $as_root rm -f $policy; return 1; }
    $as_root rm -f $policy
}
