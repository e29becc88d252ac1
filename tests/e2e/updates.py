"""What the tests of units share: a plugin with its version in every file, its updates in every shape
WordPress gives them, and readers that look for mixtures. LONG=1 is the whole proof: 200 updates in
each shape of a plugin of 2,000 files, and as many while the receiver is killed (an hour)."""

import os
import shutil
import threading
import time

from harness import check, check_equal, wait_for
from pair import Pair
from trees import put, remove

LONG = bool(os.environ.get("LONG"))
UPDATES = int(os.environ.get("UNITS_UPDATES", 6 * 200 if LONG else 10))
KILLED = int(os.environ.get("UNITS_KILLED", 200 if LONG else 4))
FILES = int(os.environ.get("UNITS_FILES", 2000 if LONG else 300))
OPTIONS = "preset = wordpress settle = 1s"
PLUGIN = "wp-content/plugins/shop"


# A plugin in versions ----------------------------------------------------------------------------

def names(files):
    return [f"part{i % 12}/sub{i % 5}/file{i}.php" if i % 7 else f"file{i}.php"
            for i in range(files)]


def write_version(top, version, files=FILES, data=None):
    for name in names(files):
        put(f"{top}/{name}", b"%d\n" % version + (data or b"<?php // the same in all versions\n"))


def version_at(path, dir_fd=None):
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=dir_fd)
    try:
        return int(os.read(fd, 64).split(b"\n")[0])
    finally:
        os.close(fd)


# Updates, as in WORDPRESS.md 1 and 3 -------------------------------------------------------------

class Update:
    """One update of a plugin. `work` is where it is unpacked, and where the old one is kept:
    beneath the root (then there are brackets), or elsewhere on the same filesystem."""

    def __init__(self, src, version, files=FILES, plugin=PLUGIN, work="wp-content", data=None):
        name = os.path.basename(plugin)
        self.version, self.files, self.data = version, files, data
        self.top, work = os.path.join(src, plugin), os.path.join(src, work)
        self.upgrade = f"{work}/upgrade/{name}.{version}"
        self.package = f"{self.upgrade}/{name}"
        self.backup = f"{work}/upgrade-temp-backup/plugins/{name}"

    def unzip(self, to=None):
        write_version(to or self.package, self.version, self.files, self.data)

    def end(self):
        remove(self.upgrade)

    def set_aside(self):
        os.makedirs(os.path.dirname(self.backup), exist_ok=True)
        os.rename(self.top, self.backup)
        time.sleep(0.2)


def delete_and_copy(u):
    """Up to 6.1."""
    u.unzip()
    shutil.rmtree(u.top)
    shutil.copytree(u.package, u.top)
    u.end()


def delete_and_rename(u):
    """6.2."""
    u.unzip()
    shutil.rmtree(u.top)
    os.rename(u.package, u.top)
    u.end()


def two_renames(u):
    """6.3 and later: absent for a moment, and the backup deleted when all is done."""
    u.unzip()
    u.set_aside()
    os.rename(u.package, u.top)
    time.sleep(0.2)
    u.end()
    shutil.rmtree(u.backup)


def rename_that_fails(u):
    """The same, where the second rename becomes a copy."""
    u.unzip()
    u.set_aside()
    shutil.copytree(u.package, u.top)
    u.end()
    shutil.rmtree(u.backup)


def roll_back(u):
    """The same, where the update fails: then a later one succeeds."""
    u.unzip()
    u.set_aside()
    os.rename(u.backup, u.top)
    time.sleep(0.05)
    shutil.rmtree(u.top)
    os.rename(u.package, u.top)
    u.end()


def unzip_over(u):
    u.unzip(u.top)


SHAPES = [delete_and_copy, delete_and_rename, two_renames, rename_that_fails, roll_back, unzip_over]


# Readers -----------------------------------------------------------------------------------------

class Reader(threading.Thread):
    """Reads all of a unit again and again, by one descriptor or by path. What is read by path may see
    switches from one version to the next, but none while the directory stays the same."""

    def __init__(self, top, files=FILES, by_path=False):
        super().__init__(daemon=True)
        self.top, self.files, self.by_path = top, names(files), by_path
        self.passes, self.switched = 0, 0
        self.mixed, self.missing = [], []
        self.over = threading.Event()
        self.start()

    def one_pass(self):
        if self.by_path:
            before = os.stat(self.top).st_ino
            seen = [version_at(f"{self.top}/{n}") for n in self.files]
            switched = os.stat(self.top).st_ino != before
        else:
            fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                seen = [version_at(n, fd) for n in self.files]
            finally:
                os.close(fd)
            switched = False
        self.switched += switched
        if seen != sorted(seen) or (not switched and len(set(seen)) > 1):
            self.mixed.append(f"a mixture: {sorted(set(seen))}")

    def run(self):
        while not self.over.is_set():
            try:
                self.one_pass()
            except OSError as e:
                self.missing.append(str(e))
            self.passes += 1
            time.sleep(0.01)

    def end(self):
        wait_for(lambda: self.passes > 0, "a pass")
        self.over.set()
        self.join()
        how = "path" if self.by_path else "descriptor"
        print(f"# by {how}: {self.passes} passes of {len(self.files)} files, {self.switched} over a "
              f"switch, {len(self.mixed)} mixed, {len(self.missing)} with a file missing")
        check(not self.mixed and not self.missing, f"by {how}:", *(self.mixed + self.missing)[:5])


def start(env, files=FILES, options=OPTIONS, **more):
    p = Pair(env, 1, options,
             lambda src: (write_version(f"{src}/{PLUGIN}", 0, files),
                          put(f"{src}/wp-content/uploads/x.jpg", b"x")), **more)
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/file0.php"), 0)
    return p


def arrives_whole(p, version, files=FILES, seconds=20):
    p.daemon.flush(seconds=seconds)
    check_equal(version_at(f"{p.dests[0]}/{PLUGIN}/{names(files)[-1]}"), version,
                f"after the flush\n{p.daemon.text()[-3000:]}")
