"""What examples/docs/ tells a person to type, typed on hosts of namespaces: hosts with IPv6 only, a third secondary that
is a clone of the second and is behind a jump host, the primary moved and moved back, a secondary removed."""

import os
import re
import shutil

from harness import case, check, check_equal, main, wait_for
from netns import Network

SITE = "/srv/www/example.com/htdocs"
CONFIG = "/etc/mirrord/mirrord.conf"
THIS, DO = (r"Is it this one\? \[yes/no\]", "yes"), (r"Do this\? \[yes/no\]", "yes")
REPLACE = (r"Replace what differs by the configuration of this host\? \[yes/no\]", "yes")


def text(host, path):
    return (host.get(path) or b"").decode()


def runs(host):
    host.start("mirrord run", "mirrord.log")


def is_level(host):
    """The documents' `mirrord status --wait 600`, and what was said where it is not."""
    r = host.run("mirrord status --wait 60", code=None)
    check(r.code == 0, r, host.log("mirrord.log")[-3000:])
    return r


def ipv6_only(web1, web2):
    """ipv6-only.md: addresses without brackets in the configuration, with them on the command line."""
    for i in range(20):
        web1.put(f"{SITE}/wp-content/uploads/cat{i}.jpg", b"%d" % i * 500)
    web1.run(f"mirrord init --hosts web1={web1.address},web2={web2.address} --sites '/srv/www/*/htdocs' "
             "--preset wordpress")
    check(f'host web2 {{ address = "{web2.address}"  user = "root" }}' in text(web1, CONFIG), text(web1, CONFIG))
    web1.type("mirrord pair", THIS, DO).prints("web1: reached from web2", "web2: reached from web1")
    web1.run("mirrord check").prints("all well")
    web1.put("/srv/other/file", b"copied once")
    web1.run(f"ssh-keyscan -t ed25519 {web2.address} >> ~/.ssh/known_hosts")
    web1.run(f"mirrord resync /srv/other root@[{web2.address}]:/srv/other")
    check_equal(web2.get("/srv/other/file"), b"copied once")
    for host in (web1, web2):
        runs(host)
    is_level(web1)


def cloned(web2, web3):
    """restored-and-cloned.md: web3 is a copy of web2 with a machine-id, a host name and host keys of its own."""
    for place in ("etc/mirrord", "var/lib/mirrord", "srv/www"):
        shutil.copytree(f"{web2.files}/{place}", f"{web3.files}/{place}", dirs_exist_ok=True, symlinks=True,
                        ignore=lambda _, names: [n for n in names if n.startswith(".mirrord-")])
    web3.run("mirrord run --as web2", 5).says("the state in /var/lib/mirrord is another machine's: nothing is sent",
                                              "mirrord identity --new")
    web3.run("mirrord identity --new --as web2")
    web3.run("rm /etc/mirrord/id_ed25519 /etc/mirrord/id_ed25519.pub")


def behind_a_jump_host(bastion, hosts):
    """jump-host.md: web1 and web3 reach each other by the bastion only, which gives nothing but that."""
    opens = ",".join(f'permitopen="[{h.address}]:22"' for h in hosts)
    keys = ""
    for here, there in (hosts, reversed(hosts)):
        here.run("ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_jump && ssh-keyscan bastion >>/root/.ssh/known_hosts")
        keys += f"restrict,port-forwarding,{opens} " + text(here, "/root/.ssh/id_jump.pub")
        here.put("/root/.ssh/config", f"""Host {there.name}
    HostName {there.address}
    ProxyJump jump@bastion

Host bastion
    IdentityFile /root/.ssh/id_jump
""".encode())
        here.run(f"ip -6 route add blackhole {there.address}/128")
    bastion.put("/etc/passwd", bastion.get("/etc/passwd") + b"jump:x:1501:1501::/srv/home/jump:/usr/sbin/nologin\n")
    bastion.put("/etc/shadow", bastion.get("/etc/shadow") + b"jump:*:19000:0:99999:7:::\n")
    bastion.put("/srv/home/jump/.ssh/authorized_keys", keys.encode())
    bastion.run("chmod 755 /srv /srv/home; chown -R 1501:1501 /srv/home/jump; chmod -R go= /srv/home/jump")
    for here, there in (hosts, reversed(hosts)):
        r = here.run("ssh -o BatchMode=yes jump@bastion true", code=None)
        check("not available" in r.out + r.err, "the jump host lets it in, and has no shell for it", r)
        here.run(f"ssh -o BatchMode=yes {there.name} true", code=None)


def third_secondary(web1, web2, web3):
    """more-secondaries.md, "Adding one"."""
    before = os.stat(f"{web3.files}{SITE}/wp-content/uploads/cat1.jpg").st_ino
    config = text(web1, CONFIG)
    config = config.replace("hosts   = {web1, web2}", "hosts   = {web1, web2, web3}")
    config = config.replace("\nhost web2 ", '\nhost web3 { address = "web3"  user = root }\nhost web2 ')
    config = config.replace(f'"{web1.address}"', '"web1"')
    web1.put(CONFIG, config.encode())
    r = web1.type("mirrord pair", THIS, REPLACE, DO)
    check(text(web3, "/etc/mirrord/id_ed25519.pub") != text(web2, "/etc/mirrord/id_ed25519.pub"), "a key of its own")
    r.prints("web1: reached from web3, web2", "web2: reached from web1, web3", "web3: reached from web1, web2")
    web1.run("mirrord check").prints("all well", "host web3: reached over openssh")
    web1.run("mirrord resync -n").prints("1 of 1 site equal by size and time")
    runs(web3)
    for host in (web1, web2):
        host.run("mirrord reload")
    held = "web3: held.*is another directory now.*mirrord resync --force example.com web3"
    wait_for(lambda: re.search(held, web1.run("mirrord status", code=None).out, re.S), "a copy is no clone of the disk")
    web1.run("mirrord resync --force example.com web3")
    is_level(web1).prints(r"web3 +up +1 of 1 sites level +openssh")
    check_equal(os.stat(f"{web3.files}{SITE}/wp-content/uploads/cat1.jpg").st_ino, before, "it was taken over")
    web1.run(f"touch {SITE}/x && mirrord flush --all example.com")
    check(web2.get(f"{SITE}/x") == b"" and web3.get(f"{SITE}/x") == b"", "flush --all waited for both")


def moved(web1, web2, web3):
    """moving-the-primary.md: handed over, and back."""
    for old, new in ((web1, web3), (web3, web1)):
        old.run(f"mirrord handover example.com {new.name}").prints(f"{new.name} is the primary")
        check_equal((old.run("mirrord is-primary example.com", code=None).code,
                     new.run("mirrord is-primary example.com", code=None).code), (1, 0), "who is the primary")
        new.put(f"{SITE}/wp-content/uploads/on-{new.name}.jpg", b"x")
        wait_for(lambda new=new: all(h.get(f"{SITE}/wp-content/uploads/on-{new.name}.jpg") for h in (web1, web2, web3)),
                 lambda new=new: f"what is written on {new.name} is everywhere\n{new.log('mirrord.log')[-3000:]}", 180)
        is_level(new)


def removed(web1, web2, web3):
    """more-secondaries.md, "Removing one"."""
    config = text(web1, CONFIG).replace(", web3}", "}")
    config = re.sub(r"\nhost web3 .*", "", config)
    for host in (web1, web2, web3):
        host.put(CONFIG, config.encode())
    web1.run("mirrord reload")
    web1.put(f"{SITE}/later", b"x")
    web1.run("mirrord flush --all example.com")
    check_equal((web2.get(f"{SITE}/later"), web3.get(f"{SITE}/later")), (b"x", None), "what is sent to whom")
    check("web3" not in is_level(web1).out, "what status says of web3")


@case(sshd=False)
def the_pages(env):
    with Network(env, ["web1", "web2", "web3", "bastion"], ipv6=True) as network:
        web1, web2, web3, bastion = network.hosts.values()
        ipv6_only(web1, web2)
        cloned(web2, web3)
        behind_a_jump_host(bastion, (web1, web3))
        third_secondary(web1, web2, web3)
        moved(web1, web2, web3)
        removed(web1, web2, web3)


if __name__ == "__main__":
    main()
