#!/bin/sh
# In a mount namespace of its own: the package's whole life in an overlay over this machine's root.
# Usage: unshare -m in_overlay.sh FILE.deb
set -eux
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work /mnt/root
mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work /mnt/root
mount -t proc proc /mnt/root/proc
mount --rbind /dev /mnt/root/dev
cp "$1" /mnt/root/mirrord.deb
inside() {
    chroot /mnt/root "$@"
}
not() {
    if "$@"; then
        echo "did not expect: $*" >&2
        exit 1
    fi
}

# What this machine has of its own is out of the way.
inside dpkg --purge mirrord || true
rm -rf /mnt/root/var/lib/mirrord /mnt/root/etc/mirrord

inside dpkg -i --force-depends /mirrord.deb
inside mirrord --version
inside /usr/bin/man -w mirrord mirrord.conf || test ! -x /mnt/root/usr/bin/man
grep -q '^ExecStart=/usr/bin/mirrord run' /mnt/root/lib/systemd/system/mirrord.service
grep -q '^ExecStart=/usr/bin/mirrord recover' /mnt/root/lib/systemd/system/mirrord-recover.service
for unit in health agent; do
    test -e /mnt/root/lib/systemd/system/mirrord-$unit.socket
    grep -q "^ExecStart=/usr/bin/mirrord health --" /mnt/root/lib/systemd/system/mirrord-$unit@.service
done
# Nothing runs, nothing will at the next boot, nothing was made outside the package.
test -z "$(find /mnt/root/etc/systemd/system -name 'mirrord*')"
not test -e /mnt/root/var/lib/mirrord

echo '# an operator wrote this' >/mnt/root/etc/mirrord/mirrord.conf
inside dpkg -i --force-depends /mirrord.deb # the same again is an upgrade to the package manager
grep -q 'operator' /mnt/root/etc/mirrord/mirrord.conf

inside dpkg --remove mirrord
not test -e /mnt/root/usr/bin/mirrord
grep -q 'operator' /mnt/root/etc/mirrord/mirrord.conf # nobody's but the operator's
inside dpkg --purge mirrord
grep -q 'operator' /mnt/root/etc/mirrord/mirrord.conf
not inside dpkg -s mirrord
