"""Scenarios of whole trees: level ones, nearly level ones, and first copies."""

import os
import random

from grove import Grove
from lab import Cat, Failed, Mirrord, Rsync, Tar
from scenario import Scenario, Target

WAN = {"delay": 0.020, "rate": 100e6 / 8}


class Level(Scenario):
    """A tree of small files, both ends level, mirrord warm."""
    files, quick_files, per_directory, size_max = 100_000, 2000, 100, 16384

    def setup(self):
        self.lab.need_inodes(3 * self.size(self.files, self.quick_files))
        self.paths = Grove(self.src).small_files(self.size(self.files, self.quick_files), self.per_directory,
                                             self.size_max)
        self.make_tools()
        self.level()
        self.level()  # digests that were too young to be believed are found

    def make_tools(self):
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab)]


class NoOp(Level):
    name, title = "noop", "no-op resync, 100,000 files, warm"
    content = False
    targets = [Target("wall", "rsync", 0.3), Target("bytes", "rsync", 0.01)]


class NoOpMillion(NoOp):
    name, title = "noop-million", "no-op resync, 1,000,000 files (empty), warm"
    files, quick_files, size_max, rounds = 1_000_000, 5000, 0, 3
    targets = [Target("wall", "rsync", 0.25), Target("anonymous MiB", None, 32)]


class FirstContact(NoOp):
    name, title = "first-contact", "first contact with an equal tree, 100,000 files, no manifest"
    targets = [Target("wall", "rsync", 0.6)]

    def prepare(self, tool):
        tool.forget(self.lab)
        for name in os.listdir(tool.place):
            if name.startswith(".mirrord-"):
                self.lab.clear(f"{tool.place}/{name}")


class FirstContactMillion(FirstContact):
    name, title = "first-contact-million", "first contact with an equal tree, 1,000,000 files (empty), no manifest"
    files, quick_files, size_max, rounds = 1_000_000, 5000, 0, 3


class Checksum(Level):
    name, title = "checksum", "100,000 files, all content read at both ends"
    content = False
    targets = [Target("wall", "rsync -c", 0.7)]

    def make_tools(self):
        self.tools = [Mirrord("mirrord", self.lab, "--checksum"), Rsync("rsync -c", self.lab, "-c")]


class Proven(Checksum):
    name, title = "proven", "100,000 files, certainty of content from a proven manifest"
    targets = [Target("wall", "rsync -c", 0.15)]

    def make_tools(self):
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync -c", self.lab, "-c")]


class Changed(Level):
    name, title = "changed", "50 changed files among 100,000, warm"
    targets = [Target("wall", "rsync", 0.3), Target("bytes", "rsync", 0.1)]
    content = False

    def setup(self):
        super().setup()
        self.rng = random.Random(7)
        self.turn = 0

    def prepare(self, tool):
        """Other files for each tool: level after the other's turn is not asked for."""
        self.lab.timed(tool, self.src, tool.dest)
        self.turn += 1
        for path in self.rng.sample(self.paths, 50):
            with open(f"{self.src}/{path}", "ab") as f:
                f.write(b"// changed in turn %d\n" % self.turn)


class ChangedWide(Changed):
    name, title = "changed-wide", "50 changed files among 100,000, 8,333 a directory, warm"
    per_directory = 8333


class FirstCopy(Scenario):
    name, title = "first-copy", "first copy of 100,000 files of 0-16 KB, cold"
    targets = [Target("wall", "rsync", 0.55), Target("wall", "tar | ssh tar", 0.8)]

    def setup(self):
        Grove(self.src).small_files(self.size(100_000, 2000))
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab), Tar("tar | ssh tar", self.lab)]

    def prepare(self, tool):
        tool.cold(self.lab)


class WordPress(FirstCopy):
    name, title = "wordpress", "first copy of a WordPress tree (20,900 files, 724 MB), cold"
    targets = [Target("wall", "rsync", 0.8), Target("wall", "rsync", 0.65, "mirrord openssh gcm")]

    def setup(self):
        Grove(self.src).wordpress(self.size(1.0, 0.02))
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab),
                      Rsync("rsync -z zstd", self.lab, "-z", "--zc=zstd"),
                      Mirrord("mirrord openssh gcm", self.lab, "--transport", "openssh", gcm=True),
                      Tar("tar | ssh tar, gcm", self.lab, gcm=True)]


class Stream(FirstCopy):
    name, title = "stream", "one file of 1 GiB that does not compress, cold (how fast the link is)"
    targets = []
    rounds = 3

    def setup(self):
        Grove(self.src).big("file", self.size(1 << 30, 16 << 20))
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab), Cat("cat | ssh cat", self.lab)]

    def check(self, tool):
        if isinstance(tool, Cat):
            a, b = os.stat(f"{self.src}/file").st_size, os.stat(f"{tool.dest}/all").st_size
            if a != b:
                raise Failed(f"{tool.name}: {b} bytes of {a}")
        else:
            super().check(tool)


class FarCopy(FirstCopy):
    name, title = "far-copy", "40 ms, 100 Mbit/s: first copy of the text of a WordPress tree and some pictures"
    targets = [Target("wall", "rsync -z zstd", 1.0), Target("idle share of the link", None, 0.03)]
    rounds, link = 3, WAN

    def setup(self):
        Grove(self.src).wordpress(self.size(0.2, 0.01))
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync -z zstd", self.lab, "-z", "--zc=zstd")]

    def derive(self, rows):
        for row in rows.values():
            row.values["idle share of the link"] = 1 - row.counted.up / WAN["rate"] / row.median("wall")


class FarNoOp(NoOp):
    name, title = "far-noop", "40 ms, 100 Mbit/s: no-op resync, 100,000 files, warm"
    targets = [Target("wall", "rsync", 0.35)]
    rounds, link = 3, WAN


class FarChanged(Changed):
    name, title = "far-changed", "40 ms, 100 Mbit/s: 50 changed files among 100,000, warm"
    targets = [Target("wall", "rsync", 0.4)]
    rounds, link = 3, WAN


SCENARIOS = [NoOp, NoOpMillion, FirstContact, FirstContactMillion, Checksum, Proven, Changed, ChangedWide, FirstCopy,
             WordPress, Stream, FarCopy, FarNoOp, FarChanged]
