"""What the tests of units share: a plugin with its version in every file, its updates in every shape
WordPress gives them, and readers that look for mixtures. UNITS_UPDATES and UNITS_FILES make the
proof longer (200 and 2000)."""

import os
import shutil
import threading
import time

from harness import check, check_equal, wait_for
from pair import Pair
from trees import put, remove

UPDATES = int(os.environ.get("UNITS_UPDATES", "10"))
FILES = int(os.environ.get("UNITS_FILES", "300"))
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

def unzipped(src, version, files):
    package = f"{src}/wp-content/upgrade/shop.{version}/shop"
    write_version(package, version, files)
    return package


def end_upgrade(src, version):
    remove(f"{src}/wp-content/upgrade/shop.{version}")


def delete_and_copy(src, version, files=FILES):
    """Up to 6.1."""
    package = unzipped(src, version, files)
    shutil.rmtree(f"{src}/{PLUGIN}")
    shutil.copytree(package, f"{src}/{PLUGIN}")
    end_upgrade(src, version)


def delete_and_rename(src, version, files=FILES):
    """6.2."""
    package = unzipped(src, version, files)
    shutil.rmtree(f"{src}/{PLUGIN}")
    os.rename(package, f"{src}/{PLUGIN}")
    end_upgrade(src, version)


def set_aside(src):
    backup = f"{src}/wp-content/upgrade-temp-backup/plugins/shop"
    os.makedirs(os.path.dirname(backup), exist_ok=True)
    os.rename(f"{src}/{PLUGIN}", backup)
    time.sleep(0.2)
    return backup


def two_renames(src, version, files=FILES):
    """6.3 and later: absent for a moment, and the backup deleted when all is done."""
    package = unzipped(src, version, files)
    backup = set_aside(src)
    os.rename(package, f"{src}/{PLUGIN}")
    time.sleep(0.2)
    end_upgrade(src, version)
    shutil.rmtree(backup)


def rename_that_fails(src, version, files=FILES):
    """The same, where the second rename becomes a copy."""
    package = unzipped(src, version, files)
    backup = set_aside(src)
    shutil.copytree(package, f"{src}/{PLUGIN}")
    end_upgrade(src, version)
    shutil.rmtree(backup)


def roll_back(src, version, files=FILES):
    """The same, where the update fails: then a later one succeeds."""
    package = unzipped(src, version, files)
    os.rename(set_aside(src), f"{src}/{PLUGIN}")
    time.sleep(0.05)
    shutil.rmtree(f"{src}/{PLUGIN}")
    os.rename(package, f"{src}/{PLUGIN}")
    end_upgrade(src, version)


def unzip_over(src, version, files=FILES):
    write_version(f"{src}/{PLUGIN}", version, files)


SHAPES = [delete_and_copy, delete_and_rename, two_renames, rename_that_fails, roll_back, unzip_over]


# Readers -----------------------------------------------------------------------------------------

class Reader(threading.Thread):
    """Reads all of a unit again and again, by one descriptor or by path."""

    def __init__(self, top, files=FILES, by_path=False):
        super().__init__(daemon=True)
        self.top, self.files, self.by_path = top, names(files), by_path
        self.passes, self.trouble = 0, []
        self.delivered = 0  # updates that have arrived, as the test tells
        self.over = threading.Event()
        self.start()

    def one_pass(self):
        before = self.delivered
        if self.by_path:
            seen = [version_at(f"{self.top}/{n}") for n in self.files]
        else:
            fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                seen = [version_at(n, fd) for n in self.files]
            finally:
                os.close(fd)
        switches = sum(a != b for a, b in zip(seen, seen[1:]))
        allowed = self.delivered - before + 1 if self.by_path else 0
        if switches > allowed or seen != sorted(seen):
            self.trouble.append(f"a mixture: {sorted(set(seen))}, {switches} switches")

    def run(self):
        while not self.over.is_set():
            try:
                self.one_pass()
            except OSError as e:
                self.trouble.append(str(e))
            self.passes += 1

    def end(self):
        wait_for(lambda: self.passes > 0, "a pass")
        self.over.set()
        self.join()
        check(not self.trouble, f"{len(self.trouble)} of {self.passes} passes (by "
              f"{'path' if self.by_path else 'descriptor'}):", *self.trouble[:5])


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
