"""Scenarios of one large file that changed, with its floor beside it."""

import os
import random
import shutil

from grove import Grove
from lab import Floor, Mirrord, Rsync
from scenario import Scenario, Target

PIECE = 4 << 20


class Delta(Scenario):
    """The old file is at both ends, known to mirrord; each round brings the same new one."""
    rounds = 3

    def setup(self):
        self.rng = random.Random(11)
        self.bytes = self.size(1 << 30, 8 << 20)
        grove = Grove(self.src)
        grove.big("file", self.bytes)
        self.old, self.new = self.lab.path("old"), self.lab.path("new")
        shutil.copy2(f"{self.src}/file", self.old)
        self.edit()
        os.utime(self.new, ns=(grove.time + 3600 * 10**9,) * 2)
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab), Floor("floor", self.lab)]

    def edit(self):
        """Makes self.new of self.old."""
        raise NotImplementedError

    def splice(self, pieces):
        """Writes the new file: inserts each (offset in the old file, bytes) on the way."""
        with open(self.old, "rb") as old, open(self.new, "wb") as new:
            for offset, data in sorted(pieces):
                self.copy(old, new, offset - old.tell())
                new.write(data)
            self.copy(old, new, self.bytes - old.tell())

    @staticmethod
    def copy(old, new, n):
        while n:
            data = old.read(min(n, PIECE))
            new.write(data)
            n -= len(data)

    def put(self, version):
        shutil.copy2(version, f"{self.src}/file")

    def prepare(self, tool):
        self.put(self.old)
        self.lab.timed(tool, self.src, tool.dest)
        self.put(self.new)

    def check(self, tool):
        if not isinstance(tool, Floor):
            super().check(tool)


class Insert(Delta):
    name, title = "delta-insert", "1 GiB file, 1 MiB inserted in the middle"
    targets = [Target("wall", "rsync", 0.3), Target("bytes", "rsync", 1.0)]

    def edit(self):
        self.splice([(self.bytes // 2, self.rng.randbytes(1 << 20))])


class Scattered(Delta):
    name, title = "delta-scattered", "1 GiB file, 200 scattered edits of 4 KiB"
    targets = [Target("wall", "rsync", 0.5), Target("bytes", "rsync", 0.5)]

    def edit(self):
        shutil.copy2(self.old, self.new)
        with open(self.new, "r+b") as f:
            for _ in range(200):
                f.seek(self.rng.randrange(self.bytes - 4096))
                f.write(self.rng.randbytes(4096))


class Appends(Delta):
    name, title = "delta-appends", "1 GiB file, 100 appends of 4 KiB"
    targets = [Target("wall", "rsync", 0.35), Target("bytes", "rsync", 0.9)]

    def edit(self):
        self.splice([(self.bytes, self.rng.randbytes(100 * 4096))])


class Insertions(Delta):
    name, title = "delta-insertions", "1 GiB file, 20 small insertions"
    targets = [Target("wall", "rsync", 0.6), Target("bytes", "rsync", 0.5)]

    def edit(self):
        self.splice([(self.rng.randrange(self.bytes), self.rng.randbytes(self.rng.randrange(10, 100)))
                     for _ in range(20)])


SCENARIOS = [Insert, Scattered, Appends, Insertions]
