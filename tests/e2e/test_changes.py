"""`mirrord resync` where little changed since both ends were level: the far end has what was here before the
walk, and so differs by what the walk found. It is not asked then; where that cannot be known, it is."""

import os
import random
import subprocess

from harness import case, check, check_equal, main
from trees import check_same, put, remove

KNOWN = "it has what was here before the walk"


class Ends:
    """A tree at both ends, level, and nothing in it so young that it is read again."""

    def __init__(self, env, fill=True):
        self.env, self.src, self.dest = env, env.path("src"), env.path("dest")
        if fill:
            for i in range(40):
                put(f"{self.src}/d{i % 4}/f{i}", b"%d" % i * 50)
            os.symlink("d0", f"{self.src}/link")
        self.resync()
        self.resync()

    def at(self, path):
        return f"{self.src}/{path}"

    def resync(self, *options, same=True):
        """Was the far end not asked?"""
        out = self.env.resync(self.src, self.dest, "-vv", *options)
        if same:
            check_same(self.src, self.dest)
        return KNOWN in out.err


def relink(path, target):
    os.unlink(path)
    os.symlink(target, path)


def replace(path):
    put(path + ".new", b"another file")
    os.rename(path + ".new", path)


KNOWN_CHANGES = {
    "a new file": lambda at: put(at("d1/new"), b"new"),
    "content": lambda at: put(at("d1/f1"), b"other"),
    "another file in its place": lambda at: replace(at("d1/f1")),
    "mode": lambda at: os.chmod(at("d2/f2"), 0o600),
    "time": lambda at: os.utime(at("d2/f2"), (1, 1)),
    "a directory's mode": lambda at: os.chmod(at("d2"), 0o700),
    "a deletion": lambda at: os.unlink(at("d3/f3")),
    "a link": lambda at: relink(at("link"), "d1"),
    "a link for a file": lambda at: relink(at("d0/f0"), "f4"),
    "a new tree": lambda at: put(at("d9/a/b/c"), b"deep"),
    "a new tree in an old directory": lambda at: put(at("d1/a/b"), b"deep"),
    "a file renamed": lambda at: os.rename(at("d0/f4"), at("d1/renamed")),
    "all of a directory's files": lambda at: [os.unlink(at(f"d3/f{i}")) for i in range(7, 40, 4)],
}

ASKED_CHANGES = {
    "a directory that went": lambda at: remove(at("d1")),
    "a directory renamed": lambda at: os.rename(at("d2"), at("d8")),
    "a directory for a file": lambda at: (os.unlink(at("d0/f0")), put(at("d0/f0/x"), b"x")),
    "a file for a directory": lambda at: (remove(at("d0")), put(at("d0"), b"x")),
}


@case
def test_each_kind_of_change(env):
    ends = Ends(env)
    for what, change in KNOWN_CHANGES.items():
        change(ends.at)
        check(ends.resync(), f"{what}: the far end was asked")
        check(not ends.resync(), f"{what}: a level tree has changes")


@case
def test_changes_that_must_be_asked_about(env):
    ends = Ends(env)
    for what, change in ASKED_CHANGES.items():
        change(ends.at)
        check(not ends.resync(), f"{what}: the far end was not asked")


@case
def test_what_an_earlier_run_found(env):
    """Its walk changed the manifest, but nothing was sent: what was there before is not known any more."""
    ends = Ends(env)
    put(ends.at("d1/new"), b"new")
    check(ends.resync("--dry-run", same=False), "the far end was asked in a dry run")
    put(ends.at("d2/newer"), b"newer")
    check(not ends.resync(), "the far end was not asked")


@case
def test_what_changed_there_as_well(env):
    ends = Ends(env)
    put(ends.at("d1/new"), b"new")
    put(f"{ends.dest}/d2/theirs", b"not from here")
    check(not ends.resync(), "the far end was not asked")


@case
def test_one_name_changed_at_both_ends(env):
    ends = Ends(env)
    put(ends.at("d1/f1"), b"from here")
    put(f"{ends.dest}/d1/f1", b"not from here")
    check(not ends.resync(), "the far end was not asked")


@case
def test_content_that_nobody_has_read(env):
    """Names, sizes and times alone do not say that the far end has what was here."""
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/d1/f1", b"copied by others")
    subprocess.run(["cp", "-a", src, dest], check=True)
    ends = Ends(env, fill=False)
    put(ends.at("d1/new"), b"new")
    check(not ends.resync(), "the far end was not asked")
    ends.resync("--checksum")
    put(ends.at("d1/newer"), b"newer")
    check(ends.resync(), "the far end was asked although all content is known")


@case
def test_another_far_end(env):
    """Each has its own history: the second is asked, although the walk for the first found nothing new."""
    ends = Ends(env)
    put(ends.at("d1/new"), b"new")
    check(ends.resync(), "the first far end was asked")
    ends.dest = env.path("dest2")
    ends.resync()
    put(ends.at("d1/newer"), b"newer")
    check(ends.resync(), "the second far end was asked")
    ends.dest = env.path("dest")
    check(not ends.resync(), "the first far end was not asked about what the second was told")


@case
def test_changes_at_random(env):
    """Whatever came of it, and whether it was asked about or not, the trees are equal."""
    ends, rng, known = Ends(env), random.Random(11), 0
    changes = list(KNOWN_CHANGES.values()) * 3 + list(ASKED_CHANGES.values())
    for turn in range(25):
        for _ in range(rng.randrange(1, 5)):
            try:
                rng.choice(changes)(ends.at)
            except OSError:
                pass  # what it would have changed is not there any more
        if rng.random() < 0.2:
            put(f"{ends.dest}/theirs{turn}", b"not from here")
        known += ends.resync()
    print(f"# {known} of 25 times the far end was not asked")
    check_equal(0 < known < 25, True, "both ways were gone")


main()
