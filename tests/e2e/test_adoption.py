"""Servers that rsync or lsyncd kept equal are taken over: nothing that is equal is sent or touched,
sites are live at once, and content is proven in the background."""

import os
import subprocess

from harness import MIRRORD, case, check, check_equal, main, wait_for
from pair import site_text
from trees import WordPress, check_same, put, snapshot

PLUGIN = "wp-content/plugins/shop"


def touched(root):
    """What nobody can change without leaving a trace: {path: (inode, ctime)}."""
    out = {}
    for top, dirs, names in os.walk(root):
        for name in names:
            st = os.lstat(os.path.join(top, name))
            out[os.path.relpath(os.path.join(top, name), root)] = (st.st_ino, st.st_ctime_ns)
    return out


class Servers:
    """web1 with sites, and a web2 that has them already."""

    def __init__(self, env, sites=1, files=60, options="", every=None):
        self.env = env
        self.names = [f"s{i}" for i in range(1, sites + 1)]
        self.src = {n: env.path("web1", n) for n in self.names}
        self.dest = {n: env.path("web2", n) for n in self.names}
        for n in self.names:
            os.makedirs(os.path.dirname(self.dest[n]), exist_ok=True)
            WordPress(self.src[n], files)
            put(f"{self.src[n]}/{PLUGIN}/a.php", b"<?php // a")
            put(f"{self.src[n]}/{PLUGIN}/b.php", b"<?php // b")
            subprocess.run(["cp", "-a", self.src[n], self.dest[n]], check=True)
        self.config = env.config("".join(
            site_text(n, self.src[n], [self.dest[n]], options) for n in self.names),
            hosts=("web1", "web2"))
        if every:
            state = env.path("state-web2")
            env.far_end("web2",
                        f"exec '{MIRRORD}' \"$@\" --reread-every {every} --state-dir '{state}'")

    def daemon(self, *options):
        return self.env.daemon(self.config, options=("-v", *options))

    def mirrord(self, *argv, **more):
        command, *rest = argv
        return self.env.mirrord(command, "-c", self.config, "--as", "web1", *rest, **more)


def site(daemon, name="s1"):
    return next(s for s in daemon.status()["sites"] if s["name"] == name)


@case
def test_equal_trees_are_taken_over(env):
    """Without --adopt, without sending, without touching; and live from then on."""
    s = Servers(env)
    before = touched(s.dest["s1"])
    daemon = s.daemon()
    daemon.ask("status", "--wait", "30")
    check_equal(touched(s.dest["s1"]), before, "what is equal is left as it is")
    peer = daemon.status()["secondaries"][0]
    check(peer["bytes_sent"] < 100_000, "bytes sent for nothing:", peer)
    check_equal(site(daemon)["secondaries"][0]["trash"]["foreign"], 0, "foreign")
    put(f"{s.src['s1']}/wp-content/uploads/new.jpg", b"new")
    os.unlink(f"{s.src['s1']}/{PLUGIN}/a.php")
    daemon.flush()
    check_same(s.src["s1"], s.dest["s1"])
    after = touched(s.dest["s1"])
    same = {p: v for p, v in before.items() if not p.startswith(PLUGIN)}
    check_equal({p: after.get(p) for p in same}, same, "the rest")
    daemon.stop()


@case
def test_content_is_proven_in_the_background(env):
    """Files with the size and time of ours but other content are found, and sent."""
    s = Servers(env, every="1s")
    other = f"{s.dest['s1']}/{PLUGIN}/b.php"
    before = os.stat(other)
    with open(other, "r+b") as f:
        f.write(b"<?PHP // X")
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    marks = touched(s.dest["s1"])
    daemon = s.daemon("--reread-every", "1s")
    said = daemon.ask("status", "--wait", "30").out

    def proven():
        now = site(daemon)
        return now["unproven"] == 0 and now["secondaries"][0]["unproven"] == 0

    wait_for(lambda: proven() and "proven by content" in daemon.text(),
             lambda: f"proven\n{site(daemon)}\n{daemon.text()}", 60)
    daemon.flush()
    check_same(s.src["s1"], s.dest["s1"])
    check("other content" in daemon.text() and "b.php" in daemon.text(), daemon.text())
    marks.pop(f"{PLUGIN}/b.php")
    after = touched(s.dest["s1"])
    after.pop(f"{PLUGIN}/b.php")
    check_equal(after, marks, "what is equal is left as it is")
    check("still to be read" not in daemon.ask("status").out, said)
    daemon.stop()


@case
def test_a_dry_run_over_all_sites(env):
    """Without a daemon and beside one: what differs is named, nothing is changed or disturbed."""
    s = Servers(env, sites=3, files=20)
    put(f"{s.src['s2']}/{PLUGIN}/a.php", b"<?php // changed")
    put(f"{s.dest['s3']}/theirs", b"precious")
    before = {n: snapshot(s.dest[n]) for n in s.names}
    r = s.mirrord("resync", "-n", code=4)
    r.prints("1 of 3 sites equal by size and time; 2 differ: s2, s3\n", "s2 web2: would be: .*1 updated")
    r.says("s3: without --dry-run this is refused: .*theirs.*--adopt")
    check("s1 web2" not in r.out, r)
    check_equal({n: snapshot(s.dest[n]) for n in s.names}, before, "after the dry run")
    daemon = s.daemon()
    wait_for(lambda: site(daemon, "s3")["secondaries"][0]["state"] == "held",
             lambda: site(daemon, "s3"))
    for name in ("s1", "s2"):
        daemon.flush(name)
    connections = daemon.status()["secondaries"][0]["connections"]
    r = s.mirrord("resync", "-n", code=4)
    r.prints("2 of 3 sites equal by size and time; 1 differs: s3\n")
    check_equal(daemon.status()["secondaries"][0]["connections"], connections,
                "connections: the daemon's was to be left alone")
    check_equal(snapshot(s.dest["s3"]), before["s3"], "held and left alone")
    daemon.stop()
    s.mirrord("resync", "-n", "s1").prints("1 of 1 site equal by size and time\n")


@case
def test_what_would_be_lost_is_held(env):
    """By the running daemon: with counts, an example and the flag, which then lets it."""
    s = Servers(env, files=20)
    put(f"{s.dest['s1']}/theirs", b"precious")
    daemon = s.daemon()

    def there():
        return site(daemon)["secondaries"][0]

    wait_for(lambda: there()["state"] == "held", there)
    check("1 of its " in there()["error"] and "theirs" in there()["error"] and
          "--adopt" in there()["error"], there())
    daemon.ask("status", code=4).prints("held", "--adopt", "theirs")
    check(os.path.exists(f"{s.dest['s1']}/theirs"), "held, and yet gone")
    s.mirrord("resync", "--adopt", "s1", "web2")
    check_same(s.src["s1"], s.dest["s1"])
    wait_for(lambda: there()["trash"]["foreign"] == 1, there)
    daemon.stop()


if __name__ == "__main__":
    main()
