"""The ten lines of the README's quick start, typed on three hosts as they stand there."""

import os
import shutil

from harness import case, check, check_equal, main, wait_for
from netns import Network

SITE = "/srv/www/example.com/htdocs"


def fill(web1, web2, web3):
    """What the hosts have before: web2 an equal copy, as rsync makes it, web3 nothing, not even /srv/www."""
    os.rmdir(f"{web3.files}/srv/www")
    for i in range(40):
        web1.put(f"{SITE}/wp-content/uploads/2025/01/cat{i}.jpg", b"%d" % i * 500)
    web1.put(f"{SITE}/index.php", b"<?php // the front\n")
    web1.put("/srv/www/shop.example/htdocs/index.php", b"<?php // the shop\n")
    shutil.copytree(f"{web1.files}/srv/www", f"{web2.files}/srv/www", dirs_exist_ok=True)


def numbers(host):
    """The inode of each file of the site."""
    out = {}
    for top, _, names in os.walk(host.files + SITE):
        for name in names:
            out[os.path.join(top, name)] = os.lstat(os.path.join(top, name)).st_ino
    return out


def arrives(host, path, data, *others):
    """A host that was away is tried again after at most a minute."""
    wait_for(lambda: host.get(path) == data,
             lambda: f"{host.name} has {path}\n" + "\n".join(
                 f"--- {h.name}\n{h.log('mirrord.log')[-3000:]}" for h in (host, *others)), 180)


def follow(web1, web2, web3):
    fill(web1, web2, web3)
    before = numbers(web2)

    web1.run("mirrord --version").prints("mirrord")  # 1: the package is installed
    web1.run("mirrord init --hosts web1,web2,web3 --sites /srv/www/*/htdocs --preset wordpress", 2).says("in quotes")
    web1.run("mirrord init --hosts web1,web2,web3 --sites '/srv/www/*/htdocs' --preset wordpress")
    this, do = (r"Is it this one\? \[yes/no\]", "yes"), (r"Do this\? \[yes/no\]", "yes")
    r = web1.type("mirrord pair web2 web3", this, this, do)
    for host in (web2, web3):
        check(host.fingerprint() in r.out, f"the fingerprint of {host.name} is shown\n{r}")
    r.prints("web3: /srv/www, where sites are to be, is missing", "web1: reached from web2, web3", "web2: reached from web1, web3",
             "web3: reached from web1, web2")
    web1.run("mirrord check").prints("all well")
    r = web1.run("mirrord resync -n", 4)
    r.prints("example.com web3: would be: 41 created", "2 differ: example.com, shop.example")
    check(" web2:" not in r.out, f"web2 is equal\n{r}")
    for host in (web1, web2, web3):  # 6 and 7: there is no systemd here
        host.start("mirrord run", "mirrord.log")
    wait_for(lambda: web1.run("mirrord status", code=None).code == 0,
             lambda: str(web1.run("mirrord status --all", code=None)) + web1.log("mirrord.log"), 60)
    check_equal(numbers(web2), before, "files that were equal are adopted, not sent")
    arrives(web3, f"{SITE}/index.php", b"<?php // the front\n", web1)
    web1.run("touch /srv/www/example.com/htdocs/x && mirrord flush example.com")
    check(web2.get(f"{SITE}/x") == b"" and web3.get(f"{SITE}/x") == b"", "flush waited for both")

    web2.run("mirrord flush example.com", 2).says("web2 is a secondary of example.com: its primary is web1, type it there")

    web1.die()
    wait_for(lambda: "no primary is connected for 2 sites" in web2.run("mirrord status").out, "status says so on web2")
    web2.run("mirrord promote --all").prints("web2 is the primary")
    web2.run("mirrord promote --all").prints("web2 is the primary of all its sites already")
    web2.put(f"{SITE}/wp-content/uploads/new.jpg", b"uploaded on web2")
    arrives(web3, f"{SITE}/wp-content/uploads/new.jpg", b"uploaded on web2", web2)

    web1.put(f"{SITE}/wp-content/uploads/late.jpg", b"never sent")
    web1.sshd()
    web1.start("mirrord run", "mirrord.log")
    arrives(web1, f"{SITE}/wp-content/uploads/new.jpg", b"uploaded on web2", web2)
    arrives(web1, f"{SITE}/wp-content/uploads/late.jpg", None, web2)
    web1.run("mirrord trash list").prints("late.jpg")
    check_equal(web1.run("mirrord is-primary example.com", code=None).code, 1, "web1 is fenced")
    check(web3.get(f"{SITE}/wp-content/uploads/late.jpg") is None, "web1 sends nothing any more")


@case(sshd=False)
def the_ten_lines(env):
    with Network(env, ["web1", "web2", "web3"]) as network:
        follow(*network.hosts.values())


if __name__ == "__main__":
    main()
