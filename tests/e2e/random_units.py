"""Units in the random test: some that are updated as WordPress does it, in every shape, with a
version in each file, while a reader looks for mixtures of versions."""

import os
import random
import shutil
import threading
import time

from trees import put
from updates import SHAPES, Update, names, version_at, write_version

FILES = 24
UNITS = [f"plugins/p{i}" for i in range(3)]
SETTLE_MS = 600
# d3, and what is in d1, are units in which the writers of all else do what they like.
OPTIONS = (f'unit = {{"plugins/*", "d1/*", "d3"}} bracket = {{"upgrade/"}} '
           f'exclude = {{"/upgrade/", "/upgrade-temp-backup/"}} settle = {SETTLE_MS}ms')


def fill(src):
    for unit in UNITS:
        write_version(os.path.join(src, unit), 0, FILES)


def is_left_out(path):
    return path.startswith(b"upgrade")


class Updater(threading.Thread):
    """Updates the units one after the other. `excused` has the versions whose making took so long,
    without a bracket, that half of one may have counted as at rest."""

    def __init__(self, src, outside, seed, gate, log):
        super().__init__(daemon=True)
        self.src, self.outside, self.gate, self.log = src, outside, gate, log
        self.rng = random.Random(seed)
        self.version, self.done, self.over, self.excused = 0, 0, False, set()
        self.error = None

    def run(self):
        verbs = [self.update] * 6 + [self.touch, self.edit, self.install_again]
        try:
            while not self.over:
                with self.gate:
                    verb, unit = self.rng.choice(verbs), self.rng.choice(UNITS)
                    begin = time.time()
                    what = verb(unit)
                    print(f"{begin:.3f}+{time.time() - begin:.3f} updater: {what} {unit} "
                          f"{self.version}", file=self.log, flush=True)
                    self.done += 1
                time.sleep(self.rng.choice((0, 0.05, 0.3, 0.8)))
        except Exception as error:
            self.error = error

    def update(self, unit):
        shape, bracket = self.rng.choice(SHAPES), self.rng.random() < 0.5
        self.version += 1
        data = self.rng.randbytes(self.rng.choice((20, 500, 60000)))
        begin = time.monotonic()
        shape(Update(self.src, self.version, FILES, unit, "" if bracket else self.outside, data))
        if time.monotonic() - begin > 0.9 * SETTLE_MS / 1000 and (not bracket or
                                                                 shape.__name__ == "unzip_over"):
            self.excused.add(self.version)
        return f"{shape.__name__}{' in brackets' if bracket else ''}"

    def touch(self, unit):
        for name in names(FILES):
            os.utime(os.path.join(self.src, unit, name))
        return "touch"

    def edit(self, unit):
        with open(os.path.join(self.src, unit, self.rng.choice(names(FILES))), "ab") as f:
            f.write(b"edited")
        return "edit"

    def install_again(self, unit):
        shutil.rmtree(os.path.join(self.src, unit))
        self.version += 1
        time.sleep(self.rng.choice((0, 0.3, 1)))
        begin = time.monotonic()
        write_version(os.path.join(self.src, unit), self.version, FILES)
        if time.monotonic() - begin > 0.9 * SETTLE_MS / 1000:
            self.excused.add(self.version)
        return "install again"


class UnitReader(threading.Thread):
    """Reads the units on the secondaries by a descriptor of the directory and by path. A pass by
    path counts where the directory was the same before and after it."""

    def __init__(self, dests, updater):
        super().__init__(daemon=True)
        self.dests, self.updater = dests, updater
        self.passes, self.mixed, self.excused, self.over = 0, [], 0, False

    def run(self):
        while not self.over:
            for dest in self.dests:
                for unit in UNITS:
                    top = os.path.join(dest, unit)
                    self.look(top, self.by_descriptor)
                    self.look(top, self.by_path)
            time.sleep(0.01)

    def look(self, top, read):
        try:
            seen, counts = read(top)
        except FileNotFoundError:
            return  # the unit is not there
        if not counts:
            return
        self.passes += 1
        versions = {v for v in seen if v is not None}
        if len(set(seen)) == 1 and versions:
            return
        made = set(range(min(versions, default=0), max(versions, default=0) + 2))
        if made & self.updater.excused:
            self.excused += 1
        else:
            self.mixed.append(f"{time.time():.3f} {top}, {read.__name__}: {seen}")

    def by_descriptor(self, top):
        fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return [self.version(name, fd) for name in names(FILES)], True
        finally:
            os.close(fd)

    def by_path(self, top):
        before = os.stat(top).st_ino
        seen = [self.version(os.path.join(top, name)) for name in names(FILES)]
        return seen, os.stat(top).st_ino == before

    def version(self, path, dir_fd=None):
        """None: it is missing."""
        try:
            return version_at(path, dir_fd)
        except FileNotFoundError:
            return None
