"""When a unit is sent and how: rest, brackets, hot paths, deletion, what needs no switch, what is not
sent at all, and the one-shot."""

import os
import shutil
import signal
import threading
import time

from harness import case, check, check_equal, main, read_text, wait_for, write_text
from pair import Pair
from trees import check_same, inodes, put, remove, set_mtime
from updates import PLUGIN, Reader, arrives_whole, names, start, version_at, write_version


@case
def test_deleted_and_installed_again(env):
    p = start(env)
    reader = Reader(f"{p.dests[0]}/{PLUGIN}")
    shutil.rmtree(f"{p.src}/{PLUGIN}")
    time.sleep(0.3)
    write_version(f"{p.src}/{PLUGIN}", 1)
    arrives_whole(p, 1)
    reader.end()
    shutil.rmtree(f"{p.src}/{PLUGIN}")
    p.flushed()
    p.daemon.stop()


@case
def test_what_became_a_unit_leaves_nothing_behind(env):
    """A directory is renamed to be a unit, and another one of its old name is there at once: the
    secondary has what was in the first one there."""
    def fill(src):
        for i in range(3):
            put(f"{src}/unpacked/in/f{i}", b"%d" % i)
        os.mkdir(f"{src}/plugins")

    p = Pair(env, 1, options='unit = {"plugins/*"} settle = 100ms', fill=fill)
    p.daemon.process.send_signal(signal.SIGSTOP)
    os.rename(f"{p.src}/unpacked", f"{p.src}/plugins/shop")
    put(f"{p.src}/unpacked/other", b"x")
    p.daemon.process.send_signal(signal.SIGCONT)
    p.flushed()
    p.daemon.stop()


@case
def test_bracket(env):
    """A unit waits for .maintenance, says so, and goes as soon as that is gone."""
    p = start(env, options="preset = wordpress settle = 400ms")
    put(f"{p.src}/.maintenance", b"<?php $upgrading = 0; ?>")
    write_version(f"{p.src}/{PLUGIN}", 1)
    r = p.daemon.ask("flush", "--timeout", "2", code=4)
    check("shop" in r.out and ".maintenance" in r.out, r)
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 0)
    units = p.daemon.status()["sites"][0]["units"]
    check_equal([u["unit"] for u in units], [PLUGIN])
    check(".maintenance" in units[0]["waits"], units)
    put(f"{p.src}/wp-content/uploads/y.jpg", b"goes all the same")
    wait_for(lambda: os.path.exists(f"{p.dests[0]}/wp-content/uploads/y.jpg"), "the upload")
    remove(f"{p.src}/.maintenance")
    p.flushed()
    p.daemon.stop()


@case
def test_a_bracket_ends_before_all_was_looked_at(env):
    """The update is over when the bracket goes, though it takes a while to look through what came with a rename."""
    p = start(env, options="preset = wordpress settle = 100ms")
    write_text(p.config, read_text(p.config).replace("settle = 100ms", "settle = 590s"))
    p.daemon.ask("reload")
    put(f"{p.src}/.maintenance", b"<?php $upgrading = 0; ?>")
    write_version(f"{p.src}/wp-content/upgrade/shop/shop", 1, 4000)
    put(f"{p.src}/{PLUGIN}/file0.php", b"0\nedited")
    wait_for(lambda: [u for u in p.daemon.status()["sites"][0]["units"] if "bracket" in u["waits"]], "the bracket counts")
    p.daemon.process.send_signal(signal.SIGSTOP)
    os.rename(f"{p.src}/{PLUGIN}", f"{p.src}/wp-content/upgrade/former")
    os.rename(f"{p.src}/wp-content/upgrade/shop/shop", f"{p.src}/{PLUGIN}")
    remove(f"{p.src}/wp-content/upgrade")
    remove(f"{p.src}/.maintenance")
    p.daemon.process.send_signal(signal.SIGCONT)
    p.flushed()
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 1)
    p.daemon.stop()


@case
def test_a_checkout_is_a_bracket(env):
    """git has its index locked while it works: what is below .git/ is not sent, but watched."""
    p = start(env, options="preset = wordpress settle = 400ms", leave_out=lambda path: path.startswith(b".git"))
    put(f"{p.src}/.git/index", b"x")
    put(f"{p.src}/.git/index.lock", b"")
    write_version(f"{p.src}/{PLUGIN}", 1)
    p.daemon.ask("flush", "--timeout", "2", code=4).prints(r"shop.*\.git/index\.lock")
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 0)
    os.rename(f"{p.src}/.git/index.lock", f"{p.src}/.git/index")
    p.daemon.flush(seconds=10)
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 1)
    check(not os.path.exists(f"{p.dests[0]}/.git"), ".git was sent")
    p.daemon.stop()


@case
def test_bracket_that_was_left_behind(env):
    """By an install that failed: nothing moves in it, so it holds nobody up. A .maintenance is
    obeyed no longer than settle-max."""
    p = start(env, options="preset = wordpress settle = 400ms settle-max = 20s")
    put(f"{p.src}/wp-content/upgrade/failed/plugin/x.php", b"x")
    put(f"{p.src}/.maintenance", b"<?php")
    long_ago = (time.time_ns() // 10**9 - 3600) * 10**9
    for name in ("wp-content/upgrade/failed/plugin", "wp-content/upgrade/failed",
                 "wp-content/upgrade", ".maintenance"):
        set_mtime(f"{p.src}/{name}", long_ago)
    write_version(f"{p.src}/{PLUGIN}", 1)
    p.daemon.flush(seconds=10)
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 1)
    check("come to rest" not in p.daemon.text(), "it was forced")
    p.daemon.stop()


@case
def test_never_at_rest(env):
    """Several files that never keep still: it is sent after settle-max, and said."""
    p = start(env, 20, options="preset = wordpress settle = 500ms settle-max = 2s")
    over = threading.Event()

    def churn():
        n = 0
        while not over.wait(0.02):
            n += 1
            put(f"{p.src}/{PLUGIN}/file{n % 20 // 7 * 7}.php", b"%d\n" % n)
            put(f"{p.src}/{PLUGIN}/new{n % 9}", b"%d" % n)
    thread = threading.Thread(target=churn)
    thread.start()
    try:
        wait_for(lambda: version_at(f"{p.dests[0]}/{PLUGIN}/file0.php") > 0, "it is sent", 20)
        check("has not come to rest" in p.daemon.text(), "it does not say so")
    finally:
        over.set()
        thread.join()
    p.flushed()
    p.daemon.stop()


@case
def test_hot_path(env):
    """A log in a plugin does not keep the plugin back for ever, and arrives itself."""
    p = start(env, 20, options="preset = wordpress settle = 700ms")
    over = threading.Event()

    def log():
        while not over.wait(0.1):
            with open(f"{p.src}/{PLUGIN}/debug.log", "ab") as f:
                f.write(b"a line\n")
    thread = threading.Thread(target=log)
    thread.start()
    try:
        wait_for(lambda: os.path.exists(f"{p.dests[0]}/{PLUGIN}/debug.log"), "the log", 20)
        write_version(f"{p.src}/{PLUGIN}", 1, 20)
        wait_for(lambda: version_at(f"{p.dests[0]}/{PLUGIN}/file0.php") == 1, "the update", 20)
    finally:
        over.set()
        thread.join()
    p.flushed()
    p.daemon.stop()


@case
def test_what_needs_no_switch(env):
    """One file, and files beside units: renamed into place, the directory stays the same."""
    p = start(env)
    before = inodes(p.dests[0])[PLUGIN.encode()]
    put(f"{p.src}/{PLUGIN}/file7.php", b"5\nedited")
    put(f"{p.src}/wp-content/plugins/hello.php", b"no unit")
    p.flushed()
    check_equal(inodes(p.dests[0])[PLUGIN.encode()], before, "the directory")
    os.unlink(f"{p.src}/{PLUGIN}/file7.php")
    p.flushed()
    check_equal(inodes(p.dests[0])[PLUGIN.encode()], before, "the directory")
    p.daemon.stop()


@case
def test_unchanged_content_is_not_sent(env):
    """New inodes and times everywhere, one file changed: links there, and next to no bytes."""
    data = os.urandom(20000)
    p = start(env, 40)
    top = f"{p.src}/{PLUGIN}"
    write_version(top, 1, 40, data)
    p.flushed()
    files = inodes(p.dests[0])
    sent = p.daemon.status()["secondaries"][0]["bytes_sent"]
    shutil.copytree(top, f"{p.src}/wp-content/upgrade/shop")
    shutil.rmtree(top)
    os.rename(f"{p.src}/wp-content/upgrade/shop", top)
    for name in names(40):
        os.utime(f"{top}/{name}")
    put(f"{top}/file0.php", b"2\n")
    p.daemon.flush()
    check_same(p.src, p.dests[0], leave_out=lambda path: b"/upgrade" in path)
    sent = p.daemon.status()["secondaries"][0]["bytes_sent"] - sent
    check(sent < 100000, f"{sent} bytes were sent")
    after = inodes(p.dests[0])
    same = [n for n in names(40) if files[f"{PLUGIN}/{n}".encode()] ==
            after[f"{PLUGIN}/{n}".encode()]]
    check_equal(len(same), 39, "files that are the same inode")
    p.daemon.stop()


class Visitor(threading.Thread):
    """Goes through `current` on the secondary all the time: what it leads to must be all there."""

    def __init__(self, top):
        super().__init__(daemon=True)
        self.top, self.over, self.wrong, self.seen = top, threading.Event(), [], set()

    def look(self):
        link = os.readlink(f"{self.top}/current")
        try:
            found = sorted(os.listdir(f"{self.top}/{link}"))
        except FileNotFoundError:
            found = []
        if os.readlink(f"{self.top}/current") == link:
            self.seen.add(link)
            if found != RELEASE:
                self.wrong.append((link, found[:3], len(found)))

    def run(self):
        while not self.over.is_set():
            self.look()

    def end(self):
        self.over.set()
        self.join()
        check(not self.wrong, "not all there:", self.wrong[:3])


RELEASE = sorted([f"f{i}.php" for i in range(40)] + ["large.bin"])


def deploy(top, number):
    """A new release, `current` switched to it by a rename, the one before deleted at once."""
    for name in RELEASE:
        put(f"{top}/releases/{number}/{name}",
            os.urandom(4_000_000 if name == "large.bin" else 200))
    os.symlink(f"releases/{number}", f"{top}/current.new")
    os.rename(f"{top}/current.new", f"{top}/current")
    shutil.rmtree(f"{top}/releases/{number - 1}", ignore_errors=True)


@case
def test_a_link_is_switched_after_what_it_leads_to(env):
    p = Pair(env, 1, options="preset = releases settle = 300ms", fill=lambda top: deploy(top, 1))
    visitor = Visitor(p.dests[0])
    visitor.start()
    for number in range(2, 5):
        deploy(p.src, number)
        p.flushed()
    visitor.end()
    check(len(visitor.seen) >= 3, "releases seen:", visitor.seen)
    os.symlink("..", f"{p.src}/releases/4/up")
    for a, b in (("one", "two"), ("two", "one")):  # links into each other's directories
        put(f"{p.src}/{a}/f", b"x")
        os.symlink(f"../{b}", f"{p.src}/{a}/other")
    p.flushed()
    p.daemon.stop()


@case
def test_one_shot(env):
    src, dest = env.path("src"), env.path("dest")
    write_version(f"{src}/{PLUGIN}", 0)
    put(f"{src}/wp-admin/x.php", b"0")
    put(f"{src}/index.php", b"0")
    env.resync(src, dest, "--preset", "wordpress")
    check_same(src, dest)
    reader = Reader(f"{dest}/{PLUGIN}")
    for version in range(1, 4):
        write_version(f"{src}/{PLUGIN}", version)
        put(f"{src}/wp-admin/y{version}.php", b"1")
        env.resync(src, dest, "--preset", "wordpress")
        check_same(src, dest)
    reader.end()
    out = env.resync(src, dest, "--preset", "wordpress", "-n", "--itemize").out
    check("0 created, 0 updated" in out, out)


@case
def test_an_update_while_a_one_shot_sends(env):
    """Nobody tells it of changes, so it looks through what it has sent, and sends all of it again."""
    src, dest, files = env.path("src"), env.path("dest"), 60
    top = f"{src}/{PLUGIN}"

    def write(version):
        for name in names(files):  # more than goes at once, and does not shrink
            put(f"{top}/{name}", b"%d\n" % version + os.urandom(16000))

    def staged():
        stages = [d for d in os.listdir(env.dir) if d.startswith(".mirrord-")]
        return sum(len(f) for d in stages for _, _, f in os.walk(env.path(d)))

    def caught(version):
        """Updates between its first files and its commit; false: it was too quick."""
        before = staged()
        p = env.spawn([os.environ["MIRRORD"], "resync", *env.link_options(), "--preset", "wordpress",
                       "--bwlimit", "1M", src, env.at(dest)])
        wait_for(lambda: staged() > before + files // 4 or p.poll() is not None, "the first are on their way")
        p.send_signal(signal.SIGSTOP)
        early = p.poll() is None and version_at(f"{dest}/{PLUGIN}/file0.php") < version
        if early:
            write(version + 1)
        p.send_signal(signal.SIGCONT)
        check_equal(p.wait(), 0, "the resync")
        if {version_at(f"{dest}/{PLUGIN}/{n}") for n in names(files)} == {version}:
            return False  # what was sent was committed whole, and the update came behind it
        check_same(src, dest)
        return early
    write_version(top, 0, files)
    env.resync(src, dest, "--preset", "wordpress")
    reader = Reader(f"{dest}/{PLUGIN}", files)
    for version in range(1, 40, 2):
        write(version)
        if caught(version):
            break
    else:
        raise AssertionError("it was always too quick")
    reader.end()


if __name__ == "__main__":
    main()
