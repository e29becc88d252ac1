"""Four writers do whatever can be done to a tree, units in it included, and one updates units, while
daemon, connections, receivers and sshd are killed. Every few seconds all hold still, and after a flush the trees are equal; so a difference is
seen even if something later would have repaired it.

SEED=N repeats a run's operations (their interleaving is the machine's), SECONDS_LONG=600 makes the
long run. What the writers did is in `operations` beside the trees (KEEP=1)."""

import contextlib
import ctypes
import os
import random
import shutil
import signal
import threading
import time

from harness import ROOT, SANITIZED, case, check, main, send
from pair import Pair
import random_units
from trees import open_file, put, set_mtime

SECONDS = int(os.environ.get("SECONDS_LONG", 9))
SEED = int(os.environ.get("SEED", 20240229))
WRITERS = 4
LARGE = 1 << 20  # from here on a renamed file is moved instead of sent
RENAME_EXCHANGE = 2
AT_FDCWD = -100
libc = ctypes.CDLL(None, use_errno=True)


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Gate:
    """Holds all who work while somebody looks. `with gate:` is work, `closed()` is looking."""

    def __init__(self):
        self.condition = threading.Condition()
        self.inside, self.shut = 0, False

    def __enter__(self):
        with self.condition:
            self.condition.wait_for(lambda: not self.shut)
            self.inside += 1

    def __exit__(self, *_):
        with self.condition:
            self.inside -= 1
            self.condition.notify_all()

    @contextlib.contextmanager
    def closed(self):
        """Stays so after a failure: what was found is to be looked at."""
        with self.condition:
            self.shut = True
            self.condition.wait_for(lambda: self.inside == 0)
        yield
        with self.condition:
            self.shut = False
            self.condition.notify_all()


class Writer(threading.Thread):
    """Operations on one shared tree. What fails because another writer was faster is left."""

    def __init__(self, root, outside, number, gate, log):
        super().__init__(daemon=True)
        self.root, self.outside, self.gate = os.fsencode(root), os.fsencode(outside), gate
        self.rng = random.Random(SEED * 100 + number)
        self.number, self.done, self.log, self.over = number, 0, log, False
        self.names = []  # what the operation was about

    def run(self):
        verbs = {
            self.create: 16, self.write: 6, self.append: 6, self.truncate: 3, self.edit: 4,
            self.edit_unseen: 2, self.chmod: 3, self.chmod_dir: 2, self.chown: 2, self.touch: 3,
            self.rename: 6, self.rename_dir: 4, self.rename_chain: 3, self.rename_back: 2,
            self.rename_busy_dir: 3, self.turn_inside_out: 1, self.link: 3, self.symlink: 2,
            self.delete: 5, self.rm_rf: 1, self.mkdirs: 4, self.replace: 5, self.replace_dir: 2,
            self.move_in: 2, self.move_out: 1, self.type_change: 2, self.exchange: 1,
            self.exchange_at_once: 3, self.large: 2, self.burst: 1, self.hold_open: 1}
        while not self.over:
            with self.gate:
                self.operate(self.rng.choices(list(verbs), list(verbs.values()))[0])
            time.sleep(self.rng.choice((0, 0, 0, 0.002, 0.02)))

    def operate(self, verb):
        self.names = []
        begin, outcome = time.time(), ""
        try:
            verb()
            self.done += 1
        except OSError as error:
            outcome = os.strerror(error.errno) if error.errno else str(error)
        names = " ".join(n[len(self.root) + 1:].decode() or "." for n in self.names)
        print(f"{begin:.3f}+{time.time() - begin:.3f} {self.number}: {verb.__name__} {names} "
              f"{outcome}", file=self.log, flush=True)

    # Names are few, so that the writers meet.
    def directory(self, depths=(0, 0, 1, 1, 2, 3)):
        return self.path([b"d%d" % self.rng.randrange(4) for _ in range(self.rng.choice(depths))])

    def child(self):
        """A directory, but not the root."""
        return self.directory((1, 1, 2, 2, 3, 4))

    def file(self):
        depth = self.rng.choice((0, 0, 1, 1, 2, 3))
        return self.path([b"d%d" % self.rng.randrange(4) for _ in range(depth)] +
                         [b"f%d" % self.rng.randrange(12)])

    def path(self, parts):
        self.names.append(os.path.join(self.root, *parts))
        return self.names[-1]

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

    def edit_unseen(self):
        """As an editor that keeps a file's time does: only the ctime tells."""
        path = self.file()
        with open_file(path, os.O_RDWR) as f:
            st = os.fstat(f.fileno())
            f.write(b"unseen %d" % self.done)
            f.flush()
            os.utime(f.fileno(), ns=(st.st_atime_ns, st.st_mtime_ns))

    def truncate(self):
        with open_file(self.file(), os.O_WRONLY) as f:
            f.truncate(self.rng.randrange(100000))

    def set_mode(self, path, modes, flags=0):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | flags)
        try:
            os.fchmod(fd, self.rng.choice(modes))
        finally:
            os.close(fd)

    def chmod(self):
        modes = (0o644, 0o600, 0o755, 0o775, 0o444) + ((0o000, 0o311) if ROOT else ())
        self.set_mode(self.file(), modes)

    def chmod_dir(self):
        modes = (0o755, 0o775, 0o700) + ((0o500, 0o111, 0o000, 0o2775, 0o1777) if ROOT else ())
        self.set_mode(self.directory(), modes, os.O_DIRECTORY)

    def chown(self):
        os.chown(self.file(), *self.rng.choice(((0, 0), (33, 33), (1, 33))), follow_symlinks=False)

    def touch(self):
        set_mtime(self.rng.choice((self.file, self.directory))(), self.rng.randrange(17 * 10**17))

    def rename(self):
        os.rename(self.file(), self.file())

    def rename_dir(self):
        os.rename(self.child(), self.child())

    def rename_chain(self):
        """Through several names at once, with a change inside at each."""
        at = self.child()
        for _ in range(self.rng.randrange(2, 5)):
            to = self.child()
            os.rename(at, to)
            at = to
            put(os.path.join(at, b"f%d" % self.rng.randrange(12)), self.bytes()[:5000])

    def rename_back(self):
        a, b = self.child(), self.child()
        os.rename(a, b)
        time.sleep(self.rng.choice((0, 0.001, 0.01, 0.05)))
        os.rename(b, a)

    def rename_busy_dir(self):
        """While a file in it is written, and with names going and coming behind it."""
        a, b = self.child(), self.child()
        with open_file(os.path.join(a, b"f%d" % self.rng.randrange(12)),
                       os.O_WRONLY | os.O_CREAT, buffering=0) as f:
            f.write(self.bytes())
            os.rename(a, b)
            f.write(b"after the rename")
        put(os.path.join(a, b"f0"), b"another directory of the old name")
        os.unlink(os.path.join(b, b"f1"))

    def turn_inside_out(self):
        """A directory goes into what was in it."""
        above = self.child()
        inner = os.path.join(above, b"d%d" % self.rng.randrange(4))
        side = self.child()
        os.rename(inner, side)
        os.rename(above, os.path.join(side, b"d0"))

    def replace_dir(self):
        new, old = self.child(), self.child()
        if os.path.isdir(new):
            shutil.rmtree(old)
        os.rename(new, old)

    def exchange_at_once(self):
        pick = self.rng.choice((self.file, self.child))
        exchange(pick(), self.rng.choice((pick, pick, self.file))())

    def large(self):
        """Written, and most likely renamed or changed before it has been sent."""
        path = self.file()
        put(path, self.rng.randbytes(LARGE) + self.bytes())
        time.sleep(self.rng.choice((0, 0.01, 0.1)))
        to = self.file()
        os.rename(path, to)
        if self.rng.random() < 0.5:
            with open_file(to, os.O_WRONLY | os.O_APPEND) as f:
                f.write(b"more")

    def link(self):
        os.link(self.file(), self.file(), follow_symlinks=False)

    def symlink(self):
        os.symlink(self.rng.choice((b"f1", b"../d1", b"/no/where/at all", b"no where")), self.file())

    def delete(self):
        os.unlink(self.file())

    def rm_rf(self):
        shutil.rmtree(self.child())

    def mkdirs(self):
        path = self.directory((3, 3, 4, 5))
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
        os.rename(self.make_outside(), self.child())

    def move_out(self):
        os.rename(self.child(),
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

    def __init__(self, dests):
        super().__init__(daemon=True)
        self.dests, self.over, self.reads, self.torn = dests, False, 0, []

    def run(self):
        while not self.over:
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
    """Kills one thing after another. The daemon and sshd run again when it has passed the gate."""

    def __init__(self, pair, gate):
        super().__init__(daemon=True)
        self.pair, self.gate, self.rng = pair, gate, random.Random(SEED)
        self.counts, self.over, self.error = {}, False, None

    def run(self):
        verbs = (self.kill_daemon, self.end_daemon, self.kill_receivers, self.kill_one_receiver,
                 self.cut, self.restart_sshd)
        try:
            while not self.over:
                time.sleep(self.rng.uniform(0.2, 2))
                with self.gate:
                    verb = self.rng.choice(verbs)
                    verb(self.pair.env)
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


def look(pair, gate, killer):
    """All hold still: what was done so far is there after a flush."""
    with gate.closed():
        if killer:
            check(not killer.error, killer.error)
            pair.daemon.wait_ready()
        pair.flushed("--all")


def run(env, kill):
    pair = Pair(env, options=f'max-delete = "100%" {random_units.OPTIONS}', fill=random_units.fill,
                leave_out=random_units.is_left_out)
    outside = env.path("outside")
    os.mkdir(outside)
    gate, rng = Gate(), random.Random(SEED + 1)
    end = time.monotonic() + max(SECONDS, 20 if SANITIZED else 0)
    killer = Killer(pair, gate) if kill else None
    looks = 0
    with open(env.path("operations"), "w") as log:
        writers = [Writer(pair.src, outside, i, gate, log) for i in range(WRITERS)]
        updater = random_units.Updater(pair.src, outside, SEED, gate, log)
        reader, units = Reader(pair.dests), random_units.UnitReader(pair.dests, updater)
        threads = writers + [updater, reader, units] + ([killer] if kill else [])
        for t in threads:
            t.start()
        while time.monotonic() < end:
            time.sleep(min(rng.uniform(0.5, 5), max(end - time.monotonic(), 0)))
            look(pair, gate, killer)
            looks += 1
        for t in threads:
            t.over = True
        for t in threads:
            t.join()
    print(f"# torn reads: {len(reader.torn)} of {reader.reads}")
    print(f"# mixed passes: {len(units.mixed)} of {units.passes} ({units.excused} more while an "
          f"update took longer than a unit is given), {updater.done} updates of units")
    check(not reader.torn, "torn:", *reader.torn[:5])
    check(not units.mixed, "mixed:", *units.mixed[:5])
    check(not updater.error, updater.error)
    check(all(w.done > 10 for w in writers), f"operations done: {[w.done for w in writers]}")
    if kill:
        print(f"# killed: {killer.counts}")
    print(f"# seed {SEED}, operations: {[w.done for w in writers]}, compared {looks + 1} times")
    look(pair, gate, killer)
    pair.daemon.stop()


@case
def test_random_operations(env):
    run(env, kill=False)


@case
def test_random_operations_while_everything_is_killed(env):
    run(env, kill=True)


if __name__ == "__main__":
    main()
