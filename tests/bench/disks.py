"""Scenarios on a disk: an ext4 of its own in a file, made anew for each, since creations after a bulk deletion
are slow there and would poison what comes next. The file lies in $MIRRORD_BENCH_DISK (else /var/tmp), and is
read and written past the page cache: mounted anew, nothing of it is in memory, and nobody else's cache goes.
"""

import os
import subprocess
import tempfile

from copies import FirstCopy, NoOp
from harness import MIRRORD
from lab import Mirrord, Rsync, Skip
from live import MirrordFeed, PipeFeed, Upload
from scenario import Target


def call(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, check=False)
    if p.returncode:
        raise Skip(f"{' '.join(argv)}: {p.stderr.strip()[:300]}")
    return p.stdout.strip()


class Disk:
    """Mounted at `place`."""

    def __init__(self, place, mib):
        self.place, self.loop, self.mounted = place, None, False
        os.mkdir(place)
        fd, self.image = tempfile.mkstemp(prefix="mirrord-bench-", dir=os.environ.get("MIRRORD_BENCH_DISK", "/var/tmp"))
        try:
            os.ftruncate(fd, mib << 20)
            # Small files: seven trees of 100,000 want more inodes than one for each 16 KiB.
            call("mkfs.ext4", "-q", "-F", "-m", "0", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0",
                 self.image)
            self.attach()
        except Skip:
            self.close()
            raise
        finally:
            os.close(fd)

    def attach(self):
        self.loop = call("losetup", "--direct-io=on", "--find", "--show", self.image)
        call("mount", "-t", "ext4", self.loop, self.place)
        self.mounted = True

    def detach(self, *how):
        if self.mounted:
            call("umount", *how, self.place)
        self.mounted = False
        if self.loop:
            call("losetup", "--detach", self.loop)
        self.loop = None

    def forget_caches(self):
        self.detach()
        self.attach()

    def close(self):
        self.detach("-l")
        os.unlink(self.image)


class OnDisk:
    """Of a scenario whose trees and states lie on a disk; before other bases."""
    mib = 8192

    def setup(self):
        self.disk = Disk(self.lab.path("disk"), self.size(self.mib, 512))
        self.src = self.lab.path("disk", "src")
        super().setup()

    def close(self):
        if hasattr(self, "disk"):
            self.disk.close()

    def move(self, tool):
        """What the tool writes is on the disk, too."""
        tool.place = self.lab.path("disk", f"at-{tool.word}")
        os.makedirs(tool.place, exist_ok=True)
        tool.near = f"{tool.place}-near"
        return tool

    def far_end(self, name):
        state = self.lab.path("disk", f"far-{name}")
        return self.lab.env.far_end(name, f"exec '{MIRRORD}' \"$@\" --state-dir '{state}'")


class DroppedCaches(OnDisk, NoOp):
    name, title = "noop-dropped", "no-op resync, 100,000 files on ext4, nothing of which is in memory"
    targets = [Target("wall", "rsync", 1.0)]

    def make_tools(self):
        ours = self.move(Mirrord("mirrord", self.lab))
        ours.remote = self.far_end(ours.far_name)
        self.tools = [ours, self.move(Rsync("rsync", self.lab))]

    def prepare(self, tool):
        self.disk.forget_caches()


class FirstCopyDropped(OnDisk, FirstCopy):
    """To an empty directory of the same disk. What earlier runs made stays: it is not deleted between them."""
    name, title = "first-copy-dropped", "first copy of 100,000 files of 0-16 KB on ext4, nothing of which is in memory"
    targets = [Target("wall", "rsync", 1.0)]
    rounds, turn = 3, 0

    def setup(self):
        OnDisk.setup(self)
        self.tools = [Mirrord("mirrord", self.lab), Rsync("rsync", self.lab)]

    def prepare(self, tool):
        self.turn += 1
        tool.word = f"{tool.name}-{self.turn}"
        self.move(tool)
        if isinstance(tool, Mirrord):
            tool.remote = self.far_end(tool.word)
        self.disk.forget_caches()


class DurableFeed(MirrordFeed):
    site_options = "fsync = batch"

    def far_end(self, lab, host):
        state = f"{self.place}-far-{host}"
        return lab.env.far_end(host, f"exec '{MIRRORD}' \"$@\" --state-dir '{state}'")


class UploadDurable(OnDisk, Upload):
    name, title = "upload-ext4", "one upload of 5-200 KB on ext4, fsync = batch: closed to complete on the secondary"
    targets = [Target("median ms", None, 6)]

    def setup(self):
        super().setup()
        self.tools = [self.move(DurableFeed("mirrord", self.lab)), self.move(PipeFeed("bare pipe", self.lab))]


SCENARIOS = [DroppedCaches, FirstCopyDropped, UploadDurable]
