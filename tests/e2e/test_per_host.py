"""`at HOST { owner exclude }`: two secondaries of one site that are not to be alike."""

import os
import re

from harness import ROOT, Skip, case, check, check_equal, main, read_text, wait_for, write_text
from hosts import Hosts
from pair import Pair
from trees import put

LOCAL = ("cache", "log.txt", "wp-content/plugins/private")


def is_local(path):
    """And what they lie in: that something was put there changes its times."""
    return os.fsdecode(path).startswith(LOCAL) or path in (b"", b"wp-content/plugins")


def fill(src):
    for i in range(4):
        put(f"{src}/wp-content/plugins/p{i}/p.php", b"<?php // %d" % i)
        put(f"{src}/uploads/f{i}", b"content %d" % i * 1000)
    for name in LOCAL[:1] + LOCAL[2:]:
        put(f"{src}/{name}/of-the-primary", b"p")
    put(f"{src}/log.txt", b"of the primary")


class Differing(Pair):
    """web2 leaves out what is in LOCAL, web3 does not."""

    def __init__(self, env, web2, options="", **more):
        super().__init__(env, fill=fill, start=False, options=options, **more)
        text = read_text(self.config)
        whole = text.replace(f'at web2 {{ root = "{self.dests[0]}" }}',
                             f'at web2 {{ root = "{self.dests[0]}" {web2} }}')
        check(whole != text, "the block is not there")
        write_text(self.config, whole)
        self.daemon = env.daemon(self.config)

    def level(self, *options):
        """web3 has all, web2 all but its own."""
        self.daemon.flush(*options)
        self.leave_out = is_local
        check_equal(self.found(self.dests[:1]), [], "web2")
        self.leave_out = lambda path: False
        check_equal(self.found(self.dests[1:]), [], "web3")


EXCLUDE = 'exclude = {"/cache/", "log.txt", "wp-content/plugins/private/"}'


@case
def test_what_one_host_leaves_out(env):
    """It gets none of it, keeps what it has there itself, and is level all the same."""
    p = Differing(env, EXCLUDE, 'preset = wordpress settle = 100ms max-delete = 100%')
    far = p.dests[0]
    p.level()
    check(not any(os.path.exists(f"{far}/{name}") for name in LOCAL), "it was mirrored")
    put(f"{far}/cache/own", b"local")
    put(f"{far}/log.txt", b"local")
    put(f"{far}/wp-content/plugins/private/own.php", b"local")
    put(f"{p.src}/cache/more", b"m")
    put(f"{p.src}/log.txt", b"changed")
    put(f"{p.src}/wp-content/plugins/private/of-the-primary", b"changed")
    put(f"{p.src}/wp-content/plugins/p0/p.php", b"<?php // changed")
    p.level()
    os.rename(f"{p.src}/uploads/f0", f"{p.src}/cache/f0")
    os.rename(f"{p.src}/cache/more", f"{p.src}/uploads/more")
    os.rename(f"{p.src}/cache", f"{p.src}/was-cache")
    p.level()
    os.rename(f"{p.src}/was-cache", f"{p.src}/cache")
    os.unlink(f"{p.src}/log.txt")
    put(f"{p.src}/wp-content/plugins/private/of-the-primary", b"again")
    p.level()
    check_equal(read_text(f"{far}/cache/own") + read_text(f"{far}/log.txt") +
                read_text(f"{far}/wp-content/plugins/private/own.php"), "local" * 3, "its own")
    p.daemon.stop()
    p.restart()
    p.level()
    env.mirrord("verify", "-c", p.config, "--as", "web1", "example.com", code=0)
    check_equal(sorted(os.listdir(f"{far}/cache")), ["own"], "its own cache")
    p.daemon.stop()


@case
def test_a_host_that_begins_to_leave_something_out(env):
    """By a reload: what it has there stays, and is its own from then on."""
    p = Differing(env, "")
    p.flushed()
    text = read_text(p.config)
    write_text(p.config, text.replace("at web2 {", "at web2 { exclude = {\"/cache/\"}", 1))
    p.daemon.ask("reload")
    put(f"{p.src}/cache/of-the-primary", b"changed")
    p.daemon.flush()
    check_equal(read_text(f"{p.dests[0]}/cache/of-the-primary"), "p", "what it had")
    check_equal(read_text(f"{p.dests[1]}/cache/of-the-primary"), "changed", "web3")
    write_text(p.config, text)
    p.daemon.ask("reload")
    p.flushed()
    write_text(p.config, text.replace("at web2 {", "at web2 { owner = no exclude = {\"/uploads/\"}", 1))
    p.daemon.ask("reload")
    put(f"{p.src}/cache/of-the-primary", b"once more")
    p.daemon.flush()
    check_equal(read_text(f"{p.dests[0]}/cache/of-the-primary"), "once more", "mirrored again")
    p.daemon.stop()


@case
def test_after_a_handover(env):
    """What a host leaves out it leaves out in either role."""
    h = Hosts(env, run=())
    for host, name in (("web1", "secret"), ("web2", "local")):
        for config in h.configs.values():
            text = read_text(config)
            write_text(config, text.replace(f"at {host} {{", f'at {host} {{ exclude = {{"/{name}/"}}'), 0o644)
        put(f"{h.roots['web1']}/{name}/f", b"of web1")
    for host in ("web1", "web2"):
        h.start(host)
    h.daemons["web1"].flush()
    here = {host: sorted(n for n in ("secret", "local") if os.path.exists(f"{h.roots[host]}/{n}")) for host in h.roots}
    check_equal(here, {"web1": ["local", "secret"], "web2": [], "web3": ["local"]}, "who has what")
    h.ask("web1", "handover", "example.com", "web2")
    put(f"{h.roots['web2']}/local/f", b"of web2")
    put(f"{h.roots['web2']}/secret/f", b"of web2")
    put(f"{h.roots['web2']}/last", b"x")
    wait_for(lambda: all(os.path.exists(f"{h.roots[x]}/last") for x in h.roots),
             lambda: "the last is everywhere\n" + h.daemons["web2"].text()[-3000:])
    h.ask("web2", "flush")
    found = {host: [read_text(f"{h.roots[host]}/{n}/f") if os.path.exists(f"{h.roots[host]}/{n}/f") else None
                    for n in ("secret", "local")] for host in h.roots}
    check_equal(found["web1"], ["of web1", "of web1"], "web1")
    check_equal(found["web3"], ["of web2", "of web1"], "web3")
    for d in h.daemons.values():
        d.stop()


@case
def test_an_owner_of_the_secondarys_own(env):
    if not ROOT:
        raise Skip("owners take root")
    p = Differing(env, 'owner = "www-data:adm"')

    def owners(dest):
        return {(s.st_uid, s.st_gid) for s in (os.lstat(f"{dest}/{n}") for n in ("first", "uploads", "uploads/f1"))}
    p.daemon.flush()
    check_equal(owners(p.dests[0]), {(33, 4)}, "on web2")
    check_equal(owners(p.dests[1]), {(0, 0)}, "on web3")
    os.chown(f"{p.src}/first", 1, 1)
    p.daemon.flush()
    check_equal(os.lstat(f"{p.dests[1]}/first").st_uid, 1, "owner on web3")
    check_equal(owners(p.dests[0]), {(33, 4)}, "on web2, later")
    p.daemon.stop()
    r = env.mirrord("resync", "-c", p.config, "--as", "web1", "--json", "example.com", "web2").json()
    check_equal(r[0]["files"]["created"] + r[0]["files"]["updated"], 0, "what is sent for ever")


@case
def test_a_user_that_is_not_known(env):
    p = Differing(env, 'owner = "nobody-is-called-so"', ready=False)
    wait_for(lambda: re.search(r"web2: .*mirrord.conf:\d+: at web2: owner: there is no user nobody-is-called-so",
                               p.daemon.text()), lambda: "an error\n" + p.daemon.text())
    p.daemon.stop()
    r = env.mirrord("check", "-c", p.config, "--as", "web2", "--offline", code=1)
    r.prints("at web2: owner: there is no user nobody-is-called-so")


if __name__ == "__main__":
    main()
