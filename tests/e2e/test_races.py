"""A local user against mirrord, at both ends: while batches are read and applied he swaps directories
and files of his tree for links, hard links and FIFOs (swapper.py). Nothing outside may be opened,
changed or published, nothing may block, and all is level once he stops. SWAPS is how many are made:
3,000 in the short form, 100,000 with LONG=1."""

import ctypes
import os
import random
import signal
import stat
import struct
import subprocess
import sys
import time

from harness import ROOT, Skip, case, check, check_equal, main, wait_for
from pair import site_text
from trees import differences, put, snapshot

NOBODY = 65534
SWAPS = int(os.environ.get("SWAPS", 100_000 if os.environ.get("LONG") else 3_000))
SEED = int(os.environ.get("SEED", 1))
HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = [f"f{i}" for i in range(6)]
SECRET = b"what only root may read"
IN_OPEN, IN_NONBLOCK = 0x20, os.O_NONBLOCK
libc = ctypes.CDLL(None, use_errno=True)


class Victim:
    """A directory of root's with names like those of the tree. What happens to it is seen: by its
    metadata, and by inotify, which knows of each open that goes by its names."""

    def __init__(self, path):
        self.path = path
        for name in NAMES + ["in/" + n for n in NAMES]:
            put(f"{path}/{name}", SECRET, 0o600)
        put(f"{path}/open", b"all may write to it", 0o666)  # else the kernel lets nobody link it
        self.fd = libc.inotify_init1(IN_NONBLOCK)
        for d in (path, f"{path}/in"):
            check(libc.inotify_add_watch(self.fd, os.fsencode(d), IN_OPEN) > 0, "inotify")
        self.before = self.look()

    def look(self):
        out = {}
        for top, dirs, files in os.walk(self.path):
            for name in ["."] + files:
                st = os.lstat(os.path.join(top, name))
                linked = name == "open"  # its links, and with them its ctime, are the attacker's
                out[os.path.join(top, name)] = (
                    st.st_ino, st.st_mode, st.st_uid, st.st_gid, st.st_size, st.st_mtime_ns,
                    0 if linked else st.st_ctime_ns, 0 if linked else st.st_nlink)
        return out

    def opened(self):
        """Names that were opened; directories are left out, since looking opens them."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        out = []
        while data:
            _, mask, _, n = struct.unpack_from("iIII", data)
            name, data = data[16:16 + n].rstrip(b"\0"), data[16 + n:]
            if name and not mask & 0x40000000:
                out.append(name)
        return out

    def is_untouched(self):
        check_equal(self.opened(), [], f"opened in {self.path}")
        check_equal(self.look(), self.before, self.path)
        with open(f"{self.path}/open", "rb") as f:
            check_equal(f.read(), b"all may write to it")
        os.close(self.fd)


def own(path):
    for top, _, files in os.walk(path):
        os.chown(top, NOBODY, NOBODY)
        for name in files:
            os.chown(os.path.join(top, name), NOBODY, NOBODY, follow_symlinks=False)


def swapper(env, tree, victim, seed, *kinds):
    p = env.spawn([sys.executable, "-B", f"{HERE}/swapper.py", tree, victim, str(seed), *kinds],
                  stdout=subprocess.PIPE)
    p.stdout.readline()
    return p


class Race:
    def __init__(self, env):
        if not ROOT:
            raise Skip("needs root")
        self.env = env
        os.chmod(env.dir, 0o711)
        self.src, self.dest = env.path("near", "root"), env.path("far", "root")
        for root in (self.src, self.dest):
            os.makedirs(root)
        for d in range(4):
            for name in NAMES + ["in/" + n for n in NAMES]:
                put(f"{self.src}/d{d}/{name}", random.Random(name).randbytes(500))
        for path in (os.path.dirname(self.src), os.path.dirname(self.dest)):
            own(path)
        self.config = env.config(site_text("example.com", self.src, [self.dest],
                                           'max-delete = "100%" drift = heal'), ("web1", "web2"))
        self.daemon = env.daemon(self.config)
        self.writer = None

    def attack(self, tree, victim, *kinds):
        """Swaps until there were enough of them, the daemon being asked for its state meanwhile."""
        self.writer = swapper(self.env, self.src, "write", SEED)
        attackers = [swapper(self.env, tree, victim.path, SEED + i, *kinds) for i in range(2)]
        swaps, rounds = 0, 0
        while swaps < SWAPS:
            # Each in turn, so that what one kept of its last swap is counted and put back.
            time.sleep(0.5 if SWAPS < 10_000 else 5)
            self.daemon.status()
            for p in attackers:
                p.send_signal(signal.SIGTERM)
            swaps += sum(int(p.communicate()[0]) for p in attackers)
            rounds += 1
            if swaps < SWAPS:
                attackers = [swapper(self.env, tree, victim.path, SEED + 2 * rounds + i, *kinds)
                             for i in range(2)]
        self.writer.terminate()
        self.writer.wait()
        print(f"# {swaps} swaps, {self.daemon.text().count(chr(10))} lines of log")

    def level(self):
        """By itself, once nobody swaps: what was changed on the secondary is drift."""
        def found():
            r = self.daemon.ask("resync", "--as", "web1", "example.com", code=None)
            check(r.code != 2, r)
            self.daemon.ask("flush", "--timeout", "20", code=None)
            return not self.found()
        wait_for(found, lambda: "level\n  " + "\n  ".join(self.found()) + "\n" +
                 self.daemon.text()[-3000:], 60)

    def found(self):
        return differences(snapshot(self.src), snapshot(self.dest))

    def published(self):
        """Files of the secondary with what only root may read."""
        out = []
        for top, _, files in os.walk(os.path.dirname(self.dest)):
            for name in files:
                path = os.path.join(top, name)
                if stat.S_ISREG(os.lstat(path).st_mode):
                    with open(path, "rb") as f:
                        out += [path] if SECRET in f.read() else []
        return out


@case
def test_swaps_on_the_secondary(env):
    race = Race(env)
    victim = Victim(env.path("victim"))
    race.attack(race.dest, victim)
    victim.is_untouched()
    race.level()
    race.daemon.stop()


@case
def test_swaps_on_the_primary(env):
    race = Race(env)
    victim = Victim(env.path("secret"))
    race.attack(race.src, victim, "directory_for_link", "directory_exchanged", "file_for_link",
                "file_for_fifo", "parent_renamed")
    victim.is_untouched()
    check_equal(race.published(), [])
    race.level()
    race.daemon.stop()


if __name__ == "__main__":
    main()
