"""A reload while sites are at work: a new one needs another receiving process, which takes the others
over on the same connection, unwalked; roots that are replaced; configurations that are broken."""

import os
import re
import subprocess

from harness import MIRRORD, Env, case, check, check_equal, main, processes, read_text, wait_for, write_text
from pair import Pair, site_text
from trees import check_same, put

HOSTS = ("web1", "web2")


def receiver_parents(env):
    """Of the receivers' processes those that last as long as their session."""
    table, mine = processes(), env.sshd.receivers()
    return [p for p in mine if table[p][0] not in mine]


class Sites:
    """s0 at first, others on demand; web2 has a file of its own."""

    def __init__(self, env, extra_host="", options=""):
        self.env, self.extra_host, self.options = env, extra_host, options
        self.far_config = env.path("web2.conf")
        os.mkdir(env.path("far"))
        state = env.path("state-web2")
        env.far_end("web2", f"exec '{MIRRORD}' receive -c '{self.far_config}' --as web2 --state-dir '{state}'")
        self.remote = read_text(env.path("remote-web2"))
        self.write(1)
        self.daemon = env.daemon(self.config)
        self.sessions, self.parents = env.sshd.sessions(), receiver_parents(env)

    def src(self, i, *names):
        return self.env.path("sites", f"s{i}", *names)

    def far(self, i, *names):
        return self.env.path("far", f"s{i}", *names)

    def write(self, count, broken=""):
        text = ""
        for i in range(count):
            os.makedirs(self.src(i), exist_ok=True)
            if not os.listdir(self.src(i)):
                put(self.src(i, "first"), b"%d" % i)
            text += site_text(f"s{i}", self.src(i), [self.far(i)], self.options)
        self.config = self.env.config(text, HOSTS, self.extra_host)
        write_text(self.env.path("remote-web2"), self.remote, 0o700)
        write_text(self.far_config, broken or read_text(self.config), 0o644)

    def reload(self, code=0):
        return self.daemon.ask("reload", code=code)

    def arrives(self, i, name):
        wait_for(lambda: os.path.exists(self.far(i, name)), lambda: f"s{i}: {name}\n{self.daemon.text()[-3000:]}")

    def same_session(self):
        check_equal(self.env.sshd.sessions(), self.sessions, "connections")
        check_equal(receiver_parents(self.env), self.parents, "receivers")


@case
def test_while_an_upload_is_under_way(env):
    """What has arrived of it by then is not sent again."""
    s = Sites(env, extra_host="bwlimit = 1M")
    size = 3 << 20
    put(s.src(0, "film"), os.urandom(size))
    wait_for(lambda: s.daemon.status()["secondaries"][0]["bytes_sent"] > 100_000, "it is under way")
    s.write(2)
    s.reload()
    s.arrives(1, "first")
    s.daemon.flush()
    check_same(s.src(0), s.far(0))
    check_same(s.src(1), s.far(1))
    s.same_session()
    sent = s.daemon.status()["secondaries"][0]["bytes_sent"]
    check(sent < size * 1.3, f"{sent} bytes sent")
    s.daemon.stop()


@case
def test_a_root_replaced_during_the_session(env):
    """That site is held, as at any opening, and the others notice nothing."""
    s = Sites(env)
    s.write(2)
    s.reload()
    s.arrives(1, "first")
    s.daemon.flush()
    os.rename(s.far(1), s.far(1) + ".away")
    os.mkdir(s.far(1))
    put(s.src(1, "second"), b"x")
    wait_for(lambda: "is another, empty directory" in str(s.daemon.status()), lambda: "s1 is held\n" + s.daemon.text())
    put(s.src(0, "second"), b"x")
    s.daemon.flush("s0")
    check_equal(os.listdir(s.far(1)), [], "nothing is in the other root")
    s.daemon.ask("resync", "--as", "web1", "--force", "s1", "web2")
    check_same(s.src(1), s.far(1))
    check_same(s.src(0), s.far(0))
    s.same_session()
    s.daemon.stop()


@case
def test_a_secondary_with_a_broken_configuration(env):
    """The new site says why it can't be, and is tried again."""
    s = Sites(env)
    s.write(2, broken=read_text(s.config) + "nonsense = 1\n")
    s.reload()
    wait_for(lambda: re.search("there is no site.*nonsense", s.daemon.text()), lambda: "why\n" + s.daemon.text())
    put(s.src(0, "second"), b"x")
    s.daemon.flush("s0")
    check_same(s.src(0), s.far(0))
    write_text(s.far_config, read_text(s.config), 0o644)
    s.daemon.ask("resync", "--as", "web1", "s1", "web2")
    check_same(s.src(1), s.far(1))
    s.same_session()
    s.daemon.stop()


@case
def test_a_host_is_added_and_removed(env):
    """The one that was there keeps its connection; what the new one has equal is not sent."""
    p = Pair(env, secondaries=1)
    p.flushed()
    three = site_text("example.com", p.src, [env.path("dest2"), env.path("dest3")])
    before = env.config(three, ("web1", "web2", "web3"), name="three.conf")
    subprocess.run(["cp", "-a", p.src, env.path("dest3")], check=True)
    inode = os.stat(env.path("dest3", "first")).st_ino
    put(f"{p.src}/second", b"x")
    one = read_text(p.config)
    write_text(p.config, read_text(before), 0o644)
    p.daemon.ask("reload")
    p.daemon.ask("status", "--wait", "60")
    check_same(p.src, env.path("dest3"))
    check_equal(os.stat(env.path("dest3", "first")).st_ino, inode, "an equal file's inode")
    connections = {s["name"]: s["connections"] for s in p.daemon.status()["secondaries"]}
    check_equal(connections, {"web2": 1, "web3": 1}, "connections")
    write_text(p.config, one, 0o644)
    p.daemon.ask("reload")
    put(f"{p.src}/third", b"x")
    p.flushed()
    check_equal([s["name"] for s in p.daemon.status()["secondaries"]], ["web2"], "secondaries")
    check(not os.path.exists(env.path("dest3", "third")), "still mirrored to web3")
    check(os.path.exists(env.path("dest3", "second")), "its copy is to stay")
    p.daemon.stop()


if __name__ == "__main__":
    main()
