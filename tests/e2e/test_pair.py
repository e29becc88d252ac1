"""mirrord pair between two hosts: what it asks, writes and refuses, as scripts use it; new keys; and a
host that was installed anew."""

import os
import re
import shutil
import stat

from harness import Skip, case, check, check_equal, main
from netns import Network

CONFIG = "/etc/mirrord/mirrord.conf"
KEY = "/etc/mirrord/id_ed25519"
KEYS = "/root/.ssh/authorized_keys"


def text(host, path):
    return (host.get(path) or b"").decode()


def mode(host, path):
    return stat.S_IMODE(os.lstat(host.files + path).st_mode)


def public(host):
    return " ".join(text(host, KEY + ".pub").split()[:2])


def reaches(host, other, code=0):
    """With the key of pairing, and nothing but a receiver at the other end."""
    r = host.run(f"ssh -o BatchMode=yes -o IdentitiesOnly=yes -i {KEY} "
                 f"-o UserKnownHostsFile=/etc/mirrord/known_hosts -p {other.port} {other.name} id </dev/null", code)
    check("uid=" not in r.out, "the key starts what it wants to\n", r)
    return r


def asked_and_accepted(web1, web2):
    before = text(web2, KEYS)
    accept = f"--accept-fingerprint {web2.fingerprint()}"
    web1.run("mirrord pair web2 --accept-fingerprint SHA256:" + 43 * "A", 2).says(
        "web2: .*no terminal.*" + re.escape(accept), "nothing was changed")
    web1.run(f"mirrord pair web2 {accept}", 2).prints(
        rf"web2: {CONFIG}, which is new", "mirrord@web1").says("--yes")
    check_equal(text(web2, KEYS), before, "nothing is done without a yes")
    check(web2.get(CONFIG) is None, "nor is the configuration there")
    web1.type(f"mirrord pair web2 {accept}", (r"Do this\?", "perhaps"), (r"Do this\?", "no"), code=5)
    check_equal(text(web2, KEYS), before, "nor after a no")
    web1.run(f"mirrord pair web2 {accept} --yes").prints("web1: reached from web2",
                                                        "web2: reached from web1")
    for host, other in ((web1, web2), (web2, web1)):
        line = (f'restrict,command="mirrord receive -c {CONFIG} --as {host.name}" {public(other)} '
                f"mirrord@{other.name}\n")
        check_equal(text(host, KEYS), before + line, host.name)
        known = text(host, "/etc/mirrord/known_hosts")
        check(known.startswith("|1|") and known.count("\n") == 1, "hashed:", known)
        check_equal(mode(host, KEY), 0o600, "the mode of the key")
        reaches(host, other)
    check_equal(text(web2, CONFIG), text(web1, CONFIG), "the configuration")


def copied(web1, web2):
    """A site of the pattern, of which web2 has not even the directory that its root is in."""
    web1.put("/srv/www/shop/htdocs/index.php", b"<?php")
    web1.run("mirrord resync").prints("shop web2: 1 created")
    check_equal(web2.get("/srv/www/shop/htdocs/index.php"), b"<?php", "the site on web2")
    check_equal(mode(web2, "/srv/www/shop"), 0o755, "the directory above")


def repeated(web1, web2):
    state = [text(h, p) for h in (web1, web2) for p in (KEYS, CONFIG, "/etc/mirrord/known_hosts", KEY)]
    web2.run("mirrord pair").prints("all is in its place", "web2: reached from web1")
    check_equal([text(h, p) for h in (web1, web2)
                 for p in (KEYS, CONFIG, "/etc/mirrord/known_hosts", KEY)], state, "nothing changes")


def changed_files(web1, web2):
    good = text(web2, KEYS)
    web2.put(KEYS, good.replace("restrict,", "").encode())
    web2.put(CONFIG, (text(web1, CONFIG) + "# another hand\n").encode())
    web1.run("mirrord pair web2 --yes", 2).says("--replace-config").prints(r"-# another hand")
    web1.run("mirrord pair web2 --yes --replace-config").prints(r"  - command=", r"  \+ restrict")
    check_equal(text(web2, KEYS), good, "a changed line is replaced")
    check_equal(text(web2, CONFIG), text(web1, CONFIG), "a changed configuration is replaced")


def rotated(web1, web2):
    old = {h: public(h) for h in (web1, web2)}
    elsewhere = "/root/.ssh/not_read_by_sshd"
    web1.run(f"mirrord pair --rotate --yes --authorized-keys {elsewhere}", 1).says("old ones stay")
    check_equal({h: public(h) for h in (web1, web2)}, old, "the old keys stay")
    check_equal(text(web2, elsewhere), "", "the new ones are taken back")
    web1.run(f"cp {KEY} /root/old")
    web1.run("mirrord pair --rotate --yes").prints("web1: reached from web2", "web2: reached from web1")
    for host, other in ((web1, web2), (web2, web1)):
        check(public(host) != old[host] and public(host) in text(other, KEYS), "a new key")
        check(old[host] not in text(other, KEYS), "the old one is let in no more")
        check(host.get(KEY + ".new") is None and host.get(KEY + ".new.pub") is None, "no rest")
        reaches(host, other)
    web1.run(f"cp {KEY} /root/new; cp /root/old {KEY}; rm {KEY}.pub")
    reaches(web1, web2, 255)
    web1.run(f"cp /root/new {KEY}")


def rehosted(web1, web2):
    """web2 comes back empty, with another host key."""
    old, stale = web2.fingerprint(), public(web2)
    web2.die()
    web2.run("rm -rf /etc/mirrord")
    web2.put(KEYS, web2.get(KEYS).splitlines(True)[0])
    web2.new_host_key()
    web2.sshd()
    new = web2.fingerprint()
    web1.run("mirrord pair web2 --yes", 5).says("changed", re.escape(old), "--rehost web2")
    web1.type("mirrord pair --rehost web2 --yes",
              (f"it was {re.escape(old)}.*is {re.escape(new)}.*yes/no", "yes")).prints(
                  "web1: reached from web2", "web2: reached from web1")
    check(stale not in text(web1, KEYS), "the key that it had before is let in no more")
    check_equal(text(web1, "/etc/mirrord/known_hosts").count("\n"), 1, "one host key")


def not_installed(web1, web2):
    web2.run("mv /usr/local/bin/mirrord /usr/local/bin/away")
    web1.run("mirrord pair web2", 1).says("web2: mirrord is not installed there")
    web2.die()
    web1.run("mirrord pair web2", 6).says("web2: it does not show its host key: .*refused")


@case(sshd=False)
def pairing(env):
    with Network(env, ["web1", "web2"], {"web2": 2222}) as network:
        web1, web2 = network.hosts.values()
        web1.run("mirrord init --hosts web1,web2=web2:2222 --sites '/srv/www/*/htdocs'")
        for step in (asked_and_accepted, copied, repeated, changed_files, rotated, rehosted, not_installed):
            step(web1, web2)


SUDOERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/sudoers")
USERS = {"mirrord": "1501", "alice": "1502"}


def sudoers(host, alice=True):
    """The shipped lines, for this host: the receiver's user, and (or not) the person who pairs."""
    with open(SUDOERS, encoding="utf-8") as f:
        lines = f.read().replace("/usr/bin/", "/usr/local/bin/").replace("web2", host.name)
    if alice:
        lines = lines.replace("# alice ALL=", "alice ALL=")
    host.put("/etc/sudoers", (lines + "root ALL=(ALL:ALL) ALL\n").encode())
    host.run("chmod 440 /etc/sudoers && visudo -cqf /etc/sudoers")


def populate(host):
    """Two users without any right but what sudoers gives; nobody logs in as root any more."""
    passwd, shadow, group = (text(host, f"/etc/{name}") for name in ("passwd", "shadow", "group"))
    for name, number in USERS.items():
        passwd += f"{name}:x:{number}:{number}::/srv/home/{name}:/bin/sh\n"
        shadow += f"{name}:*:19000:0:99999:7:::\n"
        group += f"{name}:x:{number}:\n"
        host.put(f"/srv/home/{name}/.ssh/authorized_keys", host.get(KEYS) if name == "alice" else b"")
    for name, data in (("passwd", passwd), ("shadow", shadow), ("group", group)):
        host.put(f"/etc/{name}", data.encode())
    host.run("cd /srv/home; for u in *; do chown -R $u:$u $u; chmod -R go= $u; done; "
             f"chmod 755 /srv /srv/home; sudo -V >/dev/null; : > {KEYS}")


def a_user_of_the_site(web1, web2, accept):
    """The keys log in as the user whose site it is, and start the receiver as that one."""
    web1.run("mirrord init --hosts web1,web2 --sites '/srv/hers/*/htdocs' && "
             f"sed -i 's/user = \"root\"/user = \"alice\"/' {CONFIG}")
    for host in (web1, web2):
        host.run("mkdir -p /srv/hers/shop/htdocs && chown -R alice:alice /srv/hers")
    web1.run(f"mirrord pair web2 {accept}").prints("web1: reached from web2", "web2: reached from web1")
    keys = text(web2, "/srv/home/alice/.ssh/authorized_keys")
    check(f'restrict,command="mirrord receive -c {CONFIG} --as web2" {public(web1)} mirrord@web1\n' in keys, keys)
    web1.put("/srv/hers/shop/htdocs/index.php", b"<?php")
    web1.run("mirrord resync").prints("shop web2: 1 created")
    check_equal(os.lstat(web2.files + "/srv/hers/shop/htdocs/index.php").st_uid, 1502, "the owner: who receives")


@case(sshd=False)
def pairing_with_sudo(env):
    """The real sudo, with a sudoers file of the host's own (the shipped one): neither who pairs nor the keys are root's."""
    if not shutil.which("sudo") or not shutil.which("visudo"):
        raise Skip("sudo is not installed")
    with Network(env, ["web1", "web2"]) as network:
        web1, web2 = network.hosts.values()
        for host in (web1, web2):
            populate(host)
            sudoers(host, alice=False)
        web1.run("mirrord init --hosts web1,web2 --sites '/srv/www/*/htdocs'")
        accept = f"--login alice --sudo --accept-fingerprint {web2.fingerprint()} --yes"
        web1.run(f"mirrord pair web2 {accept}", 1).says(
            "web2: sudo does not let alice start mirrord there", "alice ALL=.root. NOPASSWD: /usr/bin/mirrord pair --agent")
        check(web2.get(CONFIG) is None, "nothing is there without the right to it")
        sudoers(web2)
        web1.run(f"mirrord pair web2 {accept}").prints("web1: reached from web2", "web2: reached from web1")
        check(f"{public(web1)} mirrord@web1" in text(web2, KEYS), "root's keys, written by alice with sudo")
        for host in (web1, web2):
            host.run(f"rm -r /etc/mirrord; : > {KEYS}")

        web1.run("mirrord init --hosts web1,web2 --user mirrord --sites '/srv/www/*/htdocs'")
        web1.run(f"mirrord pair web2 {accept.replace('--sudo ', '')}").prints("web1: reached from web2",
                                                                              "web2: reached from web1")
        key = "/srv/home/mirrord/.ssh/authorized_keys"
        check_equal(text(web2, KEYS), "", "root's own keys")
        check_equal(text(web2, key), f'restrict,command="sudo -n mirrord receive -c {CONFIG} --as web2" {public(web1)} '
                                     "mirrord@web1\n", "the user's")
        web1.put("/srv/www/shop/htdocs/index.php", b"<?php")
        web1.run("chown 1502:1502 /srv/www/shop/htdocs/index.php; mirrord resync").prints("shop web2: 1 created")
        there = os.lstat(web2.files + "/srv/www/shop/htdocs/index.php")
        check_equal((there.st_uid, there.st_gid), (1502, 1502), "the owner: the receiver is root")
        for host in (web1, web2):
            host.run(f"rm -r /etc/mirrord; : > {key}")
        a_user_of_the_site(web1, web2, accept)


if __name__ == "__main__":
    main()
