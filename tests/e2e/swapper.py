"""A local user at work: swaps what is in his tree for links to what is not his, and back, as fast as
he can, until SIGTERM; then all is back in its place and the number of swaps is printed. With "write"
for VICTIM he changes his files instead, without caring what they are. Started by root; see
test_races.py.

Usage: swapper.py TREE VICTIM SEED [KIND…]      kinds: those of SWAPS, all unless named
"""

import ctypes
import os
import random
import signal
import sys

AT_FDCWD, RENAME_EXCHANGE = -100, 2
NOBODY = 65534
libc = ctypes.CDLL(None, use_errno=True)
ending = False


def exchange(a, b):
    if libc.renameat2(AT_FDCWD, os.fsencode(a), AT_FDCWD, os.fsencode(b), RENAME_EXCHANGE) < 0:
        raise OSError(ctypes.get_errno(), "renameat2")


def gone(path):
    try:
        os.unlink(path)
    except OSError:
        pass


class Swapper:
    def __init__(self, tree, victim, seed):
        self.tree, self.victim, self.rng = tree, victim, random.Random(seed)
        self.beside = os.path.dirname(tree)
        self.aside = os.path.join(self.beside, f".swapped-{os.getpid()}")
        os.mkdir(self.aside)
        self.serial = 0

    def spare(self):
        self.serial += 1
        return os.path.join(self.aside, str(self.serial))

    def directory(self):
        return os.path.join(self.tree, f"d{self.rng.randrange(4)}", *self.rng.choice(((), ("in",))))

    def file(self):
        return os.path.join(self.directory(), f"f{self.rng.randrange(6)}")

    def _there_and_back(self, path, make):
        """What is at the path goes aside, something else is there for a moment, and it comes back."""
        kept = self.spare()
        os.rename(path, kept)
        try:
            make(path)
            for _ in range(self.rng.randrange(40)):
                os.lstat(path)
        except OSError:
            pass
        gone(path)
        try:
            os.rename(kept, path)
        except OSError:  # somebody put something there meanwhile: this is older
            os.system(f"rm -rf '{kept}'")

    def directory_for_link(self):
        self._there_and_back(self.directory(), lambda p: os.symlink(self.victim, p))

    def directory_exchanged(self):
        path, link = self.directory(), self.spare()
        os.symlink(self.victim, link)
        try:
            exchange(path, link)
            exchange(path, link)
        finally:
            gone(link)

    def file_for_link(self):
        path = self.file()
        self._there_and_back(
            path, lambda p: os.symlink(os.path.join(self.victim, os.path.basename(path)), p))

    def file_for_hard_link(self):
        self._there_and_back(self.file(), lambda p: os.link(os.path.join(self.victim, "open"), p))

    def file_for_fifo(self):
        self._there_and_back(self.file(), os.mkfifo)

    def parent_renamed(self):
        path, other = self.directory(), self.spare()
        os.rename(path, other)
        os.rename(other, path)

    def stage(self):
        """What mirrord has beside the root: it is root's, its name is this user's to take away."""
        names = [n for n in os.listdir(self.beside) if n.startswith(".mirrord-")]
        if names:
            self._there_and_back(os.path.join(self.beside, self.rng.choice(names)),
                                 lambda p: os.symlink(self.victim, p))

    def run(self, kinds):
        done = 0
        while not ending:
            try:
                getattr(self, self.rng.choice(kinds))()
                done += 1
            except OSError:
                pass
        return done


SWAPS = ("directory_for_link", "directory_exchanged", "file_for_link", "file_for_hard_link",
         "file_for_fifo", "parent_renamed", "stage")


def change(path, directory, rng):
    what = rng.randrange(8)
    if what < 4:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK
        fd = os.open(path, flags, 0o644)
        os.write(fd, rng.randbytes(rng.randrange(1, 3000)))
        os.close(fd)
    elif what == 4:
        os.chmod(path, rng.choice((0o644, 0o600, 0o640)))
    elif what == 5:
        os.unlink(path)
    elif what == 6:
        os.rename(path, f"{directory}/f{rng.randrange(6)}")
    else:
        os.utime(path, ns=(10**18, rng.randrange(10**18)), follow_symlinks=False)


def write(tree, rng):
    os.chdir(tree)
    while not ending:
        directory = f"d{rng.randrange(4)}" + rng.choice(("", "/in"))
        try:
            change(f"{directory}/f{rng.randrange(6)}", directory, rng)
        except OSError:
            pass


def main():
    def stop(*_):
        global ending
        ending = True
    signal.signal(signal.SIGTERM, stop)
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    os.umask(0o022)
    tree, victim, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    print("at work", flush=True)
    if victim == "write":
        write(tree, random.Random(seed))
    else:
        print(Swapper(tree, victim, seed).run(sys.argv[4:] or SWAPS), flush=True)


main()
