"""Four writers do whatever can be done to a tree while daemon, connections, receivers and sshd are
killed; after a flush the trees are equal.

SEED=N repeats a run's operations (their interleaving is the machine's), SECONDS_LONG=600 makes the
long run."""

import os
import random
import shutil
import signal
import threading
import time

from harness import SANITIZED, case, check, main, send
from pair import Pair
from trees import open_file, put, set_mtime

SECONDS = int(os.environ.get("SECONDS_LONG", 15))
SEED = int(os.environ.get("SEED", 20240229))
WRITERS = 4


class Writer(threading.Thread):
    """Operations on one shared tree. What fails because another writer was faster is left."""

    def __init__(self, root, outside, number, until):
        super().__init__()
        self.root, self.outside, self.until = os.fsencode(root), os.fsencode(outside), until
        self.rng = random.Random(SEED * 100 + number)
        self.number, self.done = number, 0

    def run(self):
        verbs = [self.create, self.create, self.write, self.append, self.truncate, self.edit,
                 self.chmod, self.chown, self.touch, self.rename, self.rename_dir, self.link,
                 self.symlink, self.delete, self.rm_rf, self.mkdirs, self.replace, self.move_in,
                 self.move_out, self.type_change, self.exchange, self.burst, self.hold_open]
        weights = [8, 8, 6, 6, 3, 4, 3, 2, 3, 6, 3, 2, 3, 5, 1, 4, 5, 2, 1, 2, 1, 1, 1]
        while time.monotonic() < self.until:
            try:
                self.rng.choices(verbs, weights)[0]()
                self.done += 1
            except OSError:
                pass
            time.sleep(self.rng.random() * 0.02)

    # Names are few, so that the writers meet.
    def directory(self, depths=(0, 0, 1, 1, 2, 3)):
        depth = self.rng.choice(depths)
        return os.path.join(self.root, *(b"d%d" % self.rng.randrange(4) for _ in range(depth)))

    def file(self):
        return os.path.join(self.directory(), b"f%d" % self.rng.randrange(12))

    def bytes(self):
        return self.rng.randbytes(self.rng.choice((0, 1, 100, 5000, 70000, 300000)))

    # Files are opened without following links: what a writer breaks must be its own tree.
    def create(self):
        with open_file(self.file(), os.O_WRONLY | os.O_CREAT | os.O_EXCL) as f:
            f.write(self.bytes())

    def write(self):
        with open_file(self.file(), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as f:
            for _ in range(self.rng.randrange(1, 4)):
                f.write(self.bytes())
                f.flush()

    def append(self):
        with open_file(self.file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND) as f:
            f.write(self.bytes())

    def edit(self):
        with open_file(self.file(), os.O_RDWR) as f:
            f.seek(self.rng.randrange(5000))
            f.write(b"edited %d" % self.done)

    def truncate(self):
        with open_file(self.file(), os.O_WRONLY) as f:
            f.truncate(self.rng.randrange(100000))

    def chmod(self):
        fd = os.open(self.rng.choice((self.file, self.directory))(),
                     os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        try:
            os.fchmod(fd, self.rng.choice((0o644, 0o600, 0o755, 0o775, 0o700)))
        finally:
            os.close(fd)

    def chown(self):
        os.chown(self.file(), *self.rng.choice(((0, 0), (33, 33), (1, 33))), follow_symlinks=False)

    def touch(self):
        set_mtime(self.rng.choice((self.file, self.directory))(), self.rng.randrange(17 * 10**17))

    def rename(self):
        os.rename(self.file(), self.file())

    def rename_dir(self):
        os.rename(os.path.join(self.directory(), b"d%d" % self.rng.randrange(4)),
                  os.path.join(self.directory(), b"d%d" % self.rng.randrange(4)))

    def link(self):
        os.link(self.file(), self.file(), follow_symlinks=False)

    def symlink(self):
        os.symlink(self.rng.choice((b"f1", b"../d1", b"/no/where/at all", b"no where")), self.file())

    def delete(self):
        os.unlink(self.file())

    def rm_rf(self):
        shutil.rmtree(os.path.join(self.directory(), b"d%d" % self.rng.randrange(4)))

    def mkdirs(self):
        path = os.path.join(self.directory(), *(b"d%d" % self.rng.randrange(4) for _ in range(3)))
        put(os.path.join(path, b"f%d" % self.rng.randrange(12)), self.bytes())

    def replace(self):
        path = self.file()
        temporary = path + b".%d.tmp" % self.number
        put(temporary, self.bytes())
        os.rename(temporary, path)

    def make_outside(self):
        path = os.path.join(self.outside, b"w%d-%d" % (self.number, self.done))
        for i in range(self.rng.randrange(1, 8)):
            put(os.path.join(path, b"d%d" % (i % 2), b"f%d" % i), self.bytes())
        return path

    def move_in(self):
        os.rename(self.make_outside(),
                  os.path.join(self.directory(), b"d%d" % self.rng.randrange(4)))

    def move_out(self):
        os.rename(os.path.join(self.directory(), b"d%d" % self.rng.randrange(4)),
                  os.path.join(self.outside, b"out%d-%d" % (self.number, self.done)))

    def type_change(self):
        path = self.file()
        os.unlink(path)
        if self.rng.random() < 0.5:
            os.mkdir(path)
            put(os.path.join(path, b"inner"), self.bytes())
        else:
            os.symlink(b"changed", path)

    def exchange(self):
        a, b = self.directory((1, 2)), self.directory((1, 2))
        os.rename(a, os.path.join(self.outside, b"x%d-%d" % (self.number, self.done)))
        os.rename(b, a)

    def burst(self):
        directory = self.directory()
        for i in range(60):
            put(os.path.join(directory, b"burst", b"b%d" % i), self.bytes()[:3000])

    def hold_open(self):
        with open_file(self.file(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, buffering=0) as f:
            for _ in range(10):
                f.write(b"line\n")
                time.sleep(0.02)


class Reader(threading.Thread):
    """Reads the secondaries' files all the time. What is opened there is whole and stays as it is:
    its size is what was read, and reading it again gives the same."""

    def __init__(self, dests, until):
        super().__init__()
        self.dests, self.until, self.reads, self.torn = dests, until, 0, []

    def run(self):
        while time.monotonic() < self.until:
            for dest in self.dests:
                for top, _, files in os.walk(dest):
                    for name in files:
                        try:
                            self.look(os.path.join(top, name))
                        except OSError:
                            pass  # it is gone, or no file any more
            time.sleep(0.05)

    def look(self, path):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            size = os.fstat(fd).st_size
            first, second = os.pread(fd, size + 1, 0), os.pread(fd, size + 1, 0)
            self.reads += 1
            if len(first) != size or first != second:
                self.torn.append(f"{path}: {size} bytes, read {len(first)} and {len(second)}")
        finally:
            os.close(fd)


class Killer(threading.Thread):
    """Kills one thing after another until the writers end, then brings all of it back."""

    def __init__(self, pair, until):
        super().__init__()
        self.pair, self.until, self.rng = pair, until, random.Random(SEED)
        self.counts = {}
        self.error = None

    def run(self):
        env = self.pair.env
        try:
            while time.monotonic() < self.until - 1:
                time.sleep(self.rng.uniform(0.3, 2.5))
                verb = self.rng.choice((self.kill_daemon, self.end_daemon, self.kill_receivers,
                                        self.kill_one_receiver, self.cut, self.restart_sshd))
                verb(env)
                self.counts[verb.__name__] = self.counts.get(verb.__name__, 0) + 1
        except Exception as error:
            self.error = error

    def kill_daemon(self, env):
        self.pair.daemon.stop(code=-signal.SIGKILL, number=signal.SIGKILL)
        self.pair.daemon = env.daemon(self.pair.config, ready=False)

    def end_daemon(self, env):
        self.pair.daemon.stop(code=None)
        self.pair.daemon = env.daemon(self.pair.config, ready=False)

    def kill_receivers(self, env):
        for pid in env.sshd.receivers():
            send(pid, signal.SIGKILL)

    def kill_one_receiver(self, env):
        pids = env.sshd.receivers()
        if pids:
            send(self.rng.choice(pids), signal.SIGKILL)

    def cut(self, env):
        env.sshd.cut()

    def restart_sshd(self, env):
        env.sshd.stop()
        time.sleep(self.rng.random() * 2)
        env.sshd.restart()


def run(env, kill):
    pair = Pair(env, options='max-delete = "100%"')
    outside = env.path("outside")
    os.mkdir(outside)
    seconds = SECONDS if not SANITIZED else max(SECONDS, 20)
    until = time.monotonic() + seconds
    writers = [Writer(pair.src, outside, i, until) for i in range(WRITERS)]
    reader = Reader(pair.dests, until)
    threads = writers + [reader] + ([Killer(pair, until)] if kill else [])
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    print(f"# torn reads: {len(reader.torn)} of {reader.reads}")
    check(not reader.torn, "torn:", *reader.torn[:5])
    check(all(w.done > 10 for w in writers), f"operations done: {[w.done for w in writers]}")
    if kill:
        check(not threads[-1].error, threads[-1].error)
        print(f"# killed: {threads[-1].counts}")
        pair.daemon.wait_ready()
    print(f"# seed {SEED}, operations: {[w.done for w in writers]}")
    pair.flushed("--all")
    pair.daemon.stop()


@case
def test_random_operations(env):
    run(env, kill=False)


@case
def test_random_operations_while_everything_is_killed(env):
    run(env, kill=True)


if __name__ == "__main__":
    main()
