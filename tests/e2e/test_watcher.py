"""Where inotify fails or shows too little: its queue overflows, its watches are used up, directories
cannot be read, files change under the reader, without an event, or faster than anybody looks."""

import mmap
import os
import random
import shutil
import signal
import subprocess
import tempfile

from harness import ROOT, Env, Skip, case, check, check_equal, main, wait_for
from pair import Pair
from trees import check_same, inodes, open_file, put, set_mtime

LONG = os.environ.get("MIRRORD_LONG") == "1"


class Stopped:
    """The daemon stands still while things happen: what it has not read waits in the kernel."""

    def __init__(self, daemon):
        self.process = daemon.process

    def __enter__(self):
        self.process.send_signal(signal.SIGSTOP)

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGCONT)


def bytes_sent(p):
    return p.daemon.status()["secondaries"][0]["bytes_sent"]


def site(p):
    return p.daemon.status()["sites"][0]


@case
def test_queue_overflow(env):
    """More events than the kernel keeps: all arrives, by the same daemon in the same session, and
    what nobody touched is not sent again."""
    count = 120_000 if LONG else 7_000

    def fill(src):
        for i in range(400):
            put(f"{src}/still/d{i % 20}/f{i}", os.urandom(20_000))
        for i in range(100):
            os.makedirs(f"{src}/many/{i}")

    p = Pair(env, 1, fill=fill)
    before, sent = inodes(p.dests[0]), bytes_sent(p)
    with Stopped(p.daemon):
        for i in range(count):
            with open_file(f"{p.src}/many/{i % 100}/{i}", os.O_WRONLY | os.O_CREAT) as f:
                f.write(b"%d" % i)
        os.rename(f"{p.src}/still/d0/f0", f"{p.src}/still/d0/renamed")
        os.unlink(f"{p.src}/still/d1/f1")
    p.daemon.flush(seconds=120)
    check_same(p.src, p.dests[0])
    check("overflowed" in p.daemon.text(), "no overflow:", p.daemon.text()[-2000:])
    check_equal(p.daemon.text().count("connected"), 1, "connections")
    after = inodes(p.dests[0])
    changed = [path for path, number in before.items() if path.startswith(b"still/") and
               path in after and after[path] != number]
    check(not changed, "sent again:", changed[:5])
    check(bytes_sent(p) - sent < 4_000_000 + 200 * count, "bytes:", bytes_sent(p) - sent)
    put(f"{p.src}/many/0/later", b"x")
    p.arrives()
    p.daemon.stop()


@case
def test_two_overflows_in_a_row(env):
    """The second one comes while the first is being looked through."""
    p = Pair(env, 1)
    for turn in range(2):
        with Stopped(p.daemon):
            for i in range(20):
                put(f"{p.src}/t{turn}/{i}/f", b"%d" % i)
            for i in range(12_000):
                os.utime(f"{p.src}/t{turn}/{i % 20}/f", ns=(i, i))
                os.utime(f"{p.src}/first", ns=(i, i))
    p.daemon.flush()
    check_same(p.src, p.dests[0])
    p.daemon.stop()


def namespace(**limits):
    """A command that runs its arguments in a user namespace where files of others than root are
    nobody's, with so many `watches` or `instances`."""
    limit = "".join(f"echo {n} > /proc/sys/user/max_inotify_{what} && "
                    for what, n in limits.items())
    wrap = ["unshare", "-Ur", "sh", "-c", limit + 'exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*wrap, "true"], check=False,
                                                     capture_output=True).returncode:
        raise Skip("no user namespaces")
    return wrap


def raise_limit(p, what):
    """Of the daemon's namespace, to what holds outside it."""
    name = f"/proc/sys/user/max_inotify_{what}"
    with open(name, encoding="ascii") as f:
        raised = f.read().strip()
    subprocess.run(["nsenter", "-t", str(p.daemon.process.pid), "-U", "--preserve-credentials", "sh",
                    "-c", f"echo {raised} > {name}"], check=True)


def start(env, p, wrap, settings="", ready=True):
    with open(p.config, encoding="utf-8") as f:
        text = f.read()
    with open(p.config, "w", encoding="utf-8") as f:
        f.write(settings + text)
    p.daemon = env.daemon(p.config, wrap=wrap, ready=ready)


@case
def test_watches_used_up(env):
    wrap = namespace(watches=30)
    p = Pair(env, 1, start=False, options="owner = no",
             fill=lambda s: [put(f"{s}/d{i}/f", b"%d" % i) for i in range(50)])
    start(env, p, wrap, "rescan = 1\n")
    p.arrives()
    text = p.daemon.text()
    check("fs.inotify.max_user_watches by at least" in text, "said:", text)
    unwatched = site(p)["unwatched"]
    check(unwatched >= 20, "unwatched:", unwatched)
    shown = p.daemon.ask("status", code=None).out
    check("not watched" in shown and "fs.inotify.max_user_watches" in shown, shown)
    for i in range(50):
        put(f"{p.src}/d{i}/f", b"changed %d" % i)
    put(f"{p.src}/new/in/new", b"x")
    shutil.rmtree(f"{p.src}/d49")
    p.arrives()
    os.rename(f"{p.src}/d48", f"{p.src}/renamed")
    put(f"{p.src}/renamed/f", b"again")
    p.flushed()
    raise_limit(p, "watches")
    wait_for(lambda: site(p)["unwatched"] == 0, "all is watched once the limit is raised")
    p.daemon.stop()


@case
def test_instances_used_up(env):
    """By other programs of the user: the site is looked through, and watched once they are gone."""
    p = Pair(env, 1, start=False, options="owner = no")
    start(env, p, namespace(instances=0), "rescan = 1\n")
    p.arrives()
    check("fs.inotify.max_user_instances" in p.daemon.text(), "said:", p.daemon.text())
    put(f"{p.src}/in/new", b"x")
    p.arrives()
    raise_limit(p, "instances")
    wait_for(lambda: site(p)["watches"], "it is watched")
    wait_for(lambda: "it is watched now" in p.daemon.text(), "said")
    put(f"{p.src}/in/newer", b"x")
    p.flushed()
    p.daemon.stop()


@case
def test_a_directory_that_cannot_be_read(env):
    """What is beneath it stays on the secondary, whether the primary remembers it or not."""
    if not ROOT:
        raise Skip("needs root to give a directory away")
    wrap = namespace()
    p = Pair(env, 1, start=False, options='owner = no max-delete = "100%"',
             fill=lambda s: [put(f"{s}/d/sub/f{i}", b"%d" % i) for i in range(10)])
    start(env, p, wrap, "rescan = 1\n")
    closed, dest = f"{p.src}/d/sub", p.dests[0]
    mode = os.stat(closed).st_mode

    def close_it():
        os.chown(closed, 1, 1)
        os.chmod(closed, 0o700)

    def is_named():
        return "d/sub" in site(p)["unreadable_paths"]

    def check_kept(what):
        put(f"{p.src}/{what}", b"x")
        wait_for(lambda: os.path.exists(f"{dest}/{what}"), "another path goes on")
        check_equal(len(os.listdir(f"{dest}/d/sub")), 10, f"files kept {what}")

    close_it()
    wait_for(is_named, lambda: f"status names it: {site(p)}", 5)
    put(f"{closed}/f0", b"changed while it is closed")
    os.unlink(f"{closed}/f1")
    check_kept("while it runs")
    looks = p.daemon.text().count("looked through")
    wait_for(lambda: p.daemon.text().count("looked through") >= looks + 2, "it is looked through")
    check_kept("after a rescan")
    shown = p.daemon.ask("status", code=None).out
    check("cannot be read: d/sub" in shown, shown)

    p.daemon.stop()
    start(env, p, wrap)
    wait_for(is_named, "status names it after a restart", 5)
    check_kept("after a restart")

    p.daemon.stop()
    env.run("rm", "-rf", env.state)
    os.mkdir(env.state, 0o700)
    start(env, p, wrap, ready=False)
    wait_for(lambda: os.path.exists(env.path("control")) and is_named(),
             "status names it when nothing is remembered", 5)
    check_kept("when nothing is remembered")

    os.chown(closed, 0, 0)
    os.chmod(closed, mode & 0o777)
    p.arrives()
    wait_for(lambda: not site(p)["unreadable_paths"], "it is named no longer")
    p.daemon.stop()


@case
def test_written_while_it_is_read(env):
    """A file of one byte value, rewritten over and over in place: the secondary only ever has it
    whole."""
    p = Pair(env, 1, fill=lambda s: put(f"{s}/f", b"\0" * 3_000_000))
    values = set()
    for turn in range(1, 60):
        with open_file(f"{p.src}/f", os.O_RDWR) as f:
            for _ in range(12):
                f.write(bytes([turn]) * 250_000)
        with open(f"{p.dests[0]}/f", "rb") as f:
            content = f.read()
        check_equal(len(content), 3_000_000, "size")
        check_equal(content.count(content[:1]), 3_000_000, "bytes of one version")
        values.add(content[0])
    p.arrives()
    p.daemon.stop()


@case
def test_same_size_and_time(env):
    """What rsync's quick check does not see, with a daemon and without one."""
    def change(path, data):
        old = os.stat(path)
        with open_file(path, os.O_RDWR) as f:
            f.write(data)
        set_mtime(path, old.st_mtime_ns)
        check_equal(os.stat(path).st_mtime_ns, old.st_mtime_ns, "mtime")

    p = Pair(env, 1, fill=lambda s: [put(f"{s}/{n}", b"aaaa") for n in ("f", "g")])
    change(f"{p.src}/f", b"bbbb")
    p.arrives()
    p.daemon.stop()
    change(f"{p.src}/g", b"cccc")
    p.restart()
    check(not p.found(), *p.found())
    p.daemon.stop()


@case(env=False)
def test_written_through_a_mapping(env=None):
    """No event tells of it: the look through the tree does. (On tmpfs nothing would.)"""
    base = tempfile.mkdtemp(prefix="mirrord-e2e-", dir="/var/tmp")
    env = Env()
    try:
        if subprocess.run(["stat", "-f", "-c", "%T", base], check=True, capture_output=True,
                          text=True).stdout.strip() in ("tmpfs", "overlayfs"):
            raise Skip("no filesystem that notes such writes")
        os.symlink(base, env.path("place"))
        p = Pair(env, 1, start=False)
        shutil.rmtree(p.src)
        put(f"{base}/f", b"a" * 8192)
        put(f"{base}/g", b"g")
        p.src = base
        p.config = env.config(f'rescan = 1\nsite "m" {{ root = "{base}" primary = web1 '
                              f'hosts = {{web1, web2}} at web2 {{ root = "{p.dests[0]}" }} }}\n')
        p.restart()
        with open(f"{base}/f", "r+b") as f, mmap.mmap(f.fileno(), 0) as m:
            f.close()
            m[:8192] = b"b" * 8192
            m.flush()
            wait_for(lambda: open(f"{p.dests[0]}/f", "rb").read() == b"b" * 8192,
                     "what was written through the mapping is there")
        p.arrives()
        p.daemon.stop()
        env.settle()
    finally:
        env.close()
        shutil.rmtree(base)


@case
def test_renamed_back_and_forth(env):
    """10,000 renames of one directory. It is so small that a few moves may be given up, and done as
    deletion and creation, before a site is held."""
    p = Pair(env, 1, fill=lambda s: [put(f"{s}/a/f{i}", os.urandom(9000)) for i in range(33)])
    sent = bytes_sent(p)
    for _ in range(5000):
        os.rename(f"{p.src}/a", f"{p.src}/b")
        os.rename(f"{p.src}/b", f"{p.src}/a")
    os.rename(f"{p.src}/a", f"{p.src}/b")
    p.flushed()
    check(bytes_sent(p) - sent < 30_000_000, "bytes sent:", bytes_sent(p) - sent)
    p.daemon.stop()


@case
def test_a_chain_of_renames_with_changes(env):
    """Directories renamed into each other's names while files in them change, seeded."""
    rng = random.Random(7)
    p = Pair(env, 1, fill=lambda s: [put(f"{s}/d{i}/f{j}", b"%d %d" % (i, j))
                                     for i in range(6) for j in range(5)])
    for turn in range(150):
        names = sorted(os.listdir(p.src))
        directories = [n for n in names if os.path.isdir(f"{p.src}/{n}")]
        a, b = rng.sample(directories, 2)
        os.rename(f"{p.src}/{a}", f"{p.src}/spare")
        put(f"{p.src}/spare/f{rng.randrange(5)}", b"%d" % turn)
        os.rename(f"{p.src}/{b}", f"{p.src}/{a}")
        put(f"{p.src}/{a}/new{turn % 9}", b"%d" % turn)
        os.rename(f"{p.src}/spare", f"{p.src}/{b}")
        if turn % 50 == 49:
            p.flushed()
    p.daemon.stop()


if __name__ == "__main__":
    main()
