"""Scenarios of a plugin that is replaced while visitors look at it: how soon after the last change the secondary has
all of the new version, and for how long it had neither.
"""

import os
import shutil
import statistics
import threading
import time

from harness import wait_for
from lab import Failed
from live import Live, LsyncdFeed, MirrordFeed
from scenario import Target
from updates import Update, delete_and_copy, two_renames


class Looks(threading.Thread):
    """What a directory of files that all say the same version is, again and again: that version, or torn, which is
    a mixture, or not all of it. `since` has when each new state was first seen."""
    EVERY = 40  # files, of which one is read

    def __init__(self, directory, names):
        super().__init__(daemon=True)
        self.directory, self.count = directory, len(names)
        self.some = names[::max(1, len(names) // self.EVERY)] + names[-1:]
        self.since, self.over = [], threading.Event()
        self.start()

    def state(self):
        try:
            fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return "torn"
        try:
            found = set()
            for name in self.some:
                with open(os.open(name, os.O_RDONLY, dir_fd=fd), "rb") as f:
                    found.add(f.readline())
            whole = len(found) == 1 and len(os.listdir(fd)) == self.count
            return found.pop().decode().strip() if whole else "torn"
        except FileNotFoundError:
            return "torn"
        finally:
            os.close(fd)

    def run(self):
        last = None
        while not self.over.wait(0.002):
            state = self.state()
            if state != last:
                self.since.append((time.monotonic(), state))
            last = state

    def torn(self, until):
        """Seconds, up to the moment when it was that version."""
        ends = [t for t, _ in self.since[1:]] + [time.monotonic()]
        return sum(e - t for (t, state), e in zip(self.since, ends) if state == "torn" and t < until)


class Plugin(Live):
    name, title = "plugin", ("plugin of 2,000 files replaced without WordPress's brackets, so that `settle` is waited for in "
                             "full: last change to switched on the secondary, time torn")
    targets = [Target("torn s", None, 0)]
    rounds = 3

    def setup(self):
        super().setup()
        self.names = [f"file-{n:04d}.php" for n in range(self.size(2000, 100))]
        self.plugin, self.version = f"{self.src}/wp-content/plugins/shop", 0
        self.write(self.plugin)
        self.tools = [MirrordFeed("mirrord", self.lab), LsyncdFeed("lsyncd", self.lab)]
        self.tools[0].site_options = "preset = wordpress"
        self.tools[1].left_out = self.left_out

    def write(self, top):
        """The files of this version, one after the other."""
        os.makedirs(top)
        for name in self.names:
            with open(f"{top}/{name}", "wb") as f:
                f.write(b"version %d\n" % self.version + self.rng.randbytes(self.rng.randrange(200, 8000)).hex().encode())

    def replace(self):
        """The next version. When its last change was made."""
        self.version += 1
        shutil.rmtree(self.plugin)
        self.write(self.plugin)
        return time.monotonic()

    def trial(self, tool, row):
        self.begin(tool)
        taken, torn = [], []
        for _ in range(self.rounds):
            looks = Looks(f"{tool.dest}/wp-content/plugins/shop", self.names)
            wait_for(lambda: looks.since, "it has been looked at")
            changed = self.replace()
            version = f"version {self.version}"
            wait_for(lambda: looks.since[-1][1] == version, lambda: f"{version} is there: {looks.since[-5:]}", 120)
            switched = looks.since[-1][0]
            looks.over.set()
            looks.join()
            taken.append(max(0.0, switched - changed))
            torn.append(looks.torn(switched))
        row.values.update({"seconds": statistics.median(taken), "slowest": max(taken), "torn s": max(torn)})
        wait_for(lambda: self.is_level(tool), "all else is there, too", 60)

    def is_level(self, tool):
        try:
            self.check(tool)
        except Failed:
            return False
        return True


class Package(Update):
    """One update by WordPress of an active plugin, which is in maintenance meanwhile. `ended` is when that was over."""

    def __init__(self, scenario):
        super().__init__(scenario.src, scenario.version)
        self.scenario, self.maintenance, self.ended = scenario, f"{scenario.src}/.maintenance", None

    def unzip(self, to=None):
        with open(self.maintenance, "w", encoding="ascii") as f:
            f.write("<?php $upgrading = 0; ?>")
        self.scenario.write(to or self.package)

    def end(self):
        super().end()
        os.unlink(self.maintenance)
        self.ended = time.monotonic()


class Updated(Plugin):
    name, title = "plugin-update", ("plugin of 2,000 files updated as WordPress 6.3 and later does it, two renames in its "
                                    "brackets: the end of the update to switched on the secondary, time torn")
    targets = [Target("seconds", "lsyncd", 0.12), Target("torn s", None, 0)]
    left_out = ("/.maintenance", "/wp-content/upgrade/", "/wp-content/upgrade-temp-backup/")
    shape = staticmethod(two_renames)

    def replace(self):
        self.version += 1
        package = Package(self)
        self.shape(package)
        return package.ended


class UpdatedByCopying(Updated):
    name, title = "plugin-update-copied", "the same as WordPress up to 6.1 does it: the old one deleted, the new one copied in"
    shape = staticmethod(delete_and_copy)


SCENARIOS = [Plugin, Updated, UpdatedByCopying]
