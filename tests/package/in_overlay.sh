#!/bin/sh
# In a mount namespace of its own: the package's whole life in an overlay over this machine's root.
# Usage: unshare -m in_overlay.sh OLDER.deb NEWER.deb
set -eux
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
root=/mnt/root
cp "$1" $root/older.deb
cp "$2" $root/newer.deb
daemon=
trap 'test -z "$daemon" || kill "$daemon"' EXIT

inside() {
    chroot $root "$@"
}

not() {
    if "$@"; then
        echo "did not expect: $*" >&2
        exit 1
    fi
}

version() {
    inside dpkg-query -W -f '${Version}' mirrord
}

# What everything of the operator's is, to be compared: configuration, state, sites.
theirs() {
    (cd $root && find etc/mirrord var/lib/mirrord/kept srv/site -type f -exec md5sum {} + | sort -k 2)
}

# What this machine has of its own is out of the way.
inside dpkg --purge mirrord || true
rm -rf $root/var/lib/mirrord $root/etc/mirrord $root/srv/site $root/etc/systemd/system/mirrord*
# The package's scripts find a systemd, whose orders are written down instead.
mkdir -p $root/run/systemd/system
for tool in usr/bin/deb-systemd-invoke bin/systemctl; do
    rm -f $root/$tool
    printf '#!/bin/sh\necho "%s $*" >>/orders\n' "${tool##*/}" >$root/$tool
    chmod +x $root/$tool
done
: >$root/orders

# --- install ---
inside dpkg -i --force-depends /older.deb
inside mirrord --version
inside /usr/bin/man -w mirrord mirrord.conf || test ! -x $root/usr/bin/man
for file in lib/sysctl.d/60-mirrord.conf share/bash-completion/completions/mirrord; do
    test -e $root/usr/$file
done
grep -q '^ExecStart=/usr/bin/mirrord run' $root/lib/systemd/system/mirrord.service
grep -q '^ExecStart=/usr/bin/mirrord recover' $root/lib/systemd/system/mirrord-recover.service
for unit in health agent; do
    test -e $root/lib/systemd/system/mirrord-$unit.socket
    grep -q "^ExecStart=/usr/bin/mirrord health --" $root/lib/systemd/system/mirrord-$unit@.service
done
# Nothing runs, nothing will at the next boot, nothing was made outside the package.
not grep -E 'start|enable|preset' $root/orders
test -z "$(find $root/etc/systemd/system -name 'mirrord*')"
not test -e $root/var/lib/mirrord
test "$(inside dpkg-query -W -f '${Conffiles}' mirrord)" = "" # nobody is ever asked about one

# --- upgrade, while the daemon runs ---
mkdir -p $root/srv/site $root/var/lib/mirrord/kept
echo 'of the site' >$root/srv/site/index.php
echo 'of the state' >$root/var/lib/mirrord/kept/something
echo 'a key' >$root/etc/mirrord/id_ed25519
echo '# an operator wrote this' >$root/etc/mirrord/conf.d/site.conf
cat >$root/etc/mirrord/mirrord.conf <<'CONF'
# an operator wrote this
host web1 { address = "127.0.0.1" }
host web2 { address = "127.0.0.1" port = 1 }
site "s" { root = "/srv/site" hosts = {web1, web2} primary = web1 }
CONF
chroot $root mirrord run --as web1 >$root/daemon.log 2>&1 &
daemon=$!
i=0
until inside mirrord status >$root/status 2>&1 || test $? = 4; do # 4: it answers, and web2 is not there
    i=$((i + 1))
    test $i -lt 600 || { cat $root/daemon.log >&2; exit 1; }
    sleep 0.1
done
before=$(theirs)
: >$root/orders
inside dpkg -i --force-depends /newer.deb
test "$(version)" != "$(dpkg-deb -f "$1" Version)"
not grep -E 'stop|start|enable|preset' $root/orders
kill -0 $daemon # the one that was started before, which still answers
inside mirrord status >$root/status 2>&1 || test $? = 4
grep -q web2 $root/status
test "$(theirs)" = "$before"
# And back: a downgrade is an upgrade to the package manager.
inside dpkg -i --force-depends --force-downgrade /older.deb
inside dpkg -i --force-depends /newer.deb
kill -0 $daemon
test "$(theirs)" = "$before"

# --- remove ---
: >$root/orders
inside dpkg --remove mirrord
grep -E 'deb-systemd-invoke .*stop .*mirrord.service' $root/orders
kill $daemon
wait $daemon
daemon=
not test -e $root/usr/bin/mirrord
not test -e $root/lib/systemd/system/mirrord.service
test "$(theirs)" = "$before" # nobody's but the operator's

# --- purge ---
inside dpkg --purge mirrord
test "$(theirs)" = "$before"
not inside dpkg -s mirrord
# What the package made for itself goes with it.
inside dpkg -i --force-depends /newer.deb
rm -r $root/etc/mirrord/*.conf $root/etc/mirrord/id_ed25519 $root/etc/mirrord/conf.d/site.conf $root/var/lib/mirrord
inside dpkg --purge mirrord
not test -e $root/etc/mirrord
not test -e $root/var/lib/mirrord
test -e $root/srv/site/index.php
test -z "$(find $root/usr/share $root/usr/lib $root/lib/systemd -name '*mirrord*' -not -path '*/icons/*')"
