"""What is held for safety: mass deletion, and roots that are empty, missing, replaced or not
mounted, at both ends. A held site says why and what to type, others go on, and it clears by itself
when the cause is gone."""

import os
import shutil

from harness import case, check, check_equal, main, wait_for
from mounts import mount, unmount_when_free
from pair import Pair, site_text
from trees import check_same, put, remove, snapshot

FILES = 400


def fill(root, files=FILES):
    for i in range(files):
        put(f"{root}/d{i % 8}/f{i}", b"content %d" % i)


def site_of(daemon, name="example.com"):
    return next(s for s in daemon.status()["sites"] if s["name"] == name)


def states(daemon, name="example.com"):
    site = site_of(daemon, name)
    return [site["state"]] + [t["state"] for t in site["secondaries"]]


def is_held(daemon, name="example.com"):
    return "held" in states(daemon, name)


def await_held(daemon, name="example.com"):
    wait_for(lambda: is_held(daemon, name), lambda: f"held: {states(daemon, name)}\n{daemon.text()[-3000:]}")


def says(daemon, *words):
    """The status says why, and what to type."""
    out = daemon.ask("status", code=4).out
    for word in ("mirrord resync --force example.com", *words):
        check(word in out, f"no {word!r} in\n{out}")


def resync(env, p, *more, **options):
    """Asks the daemon."""
    return env.mirrord("resync", "-c", p.config, "--as", "web1", *more, **options)


@case
def test_removal_in_many_small_batches(env):
    p = Pair(env, secondaries=1, fill=fill)
    other = env.path("other")
    before = len(snapshot(p.dests[0]))
    for d in range(8):
        remove(f"{p.src}/d{d}")
        p.daemon.flush(code=None)
    await_held(p.daemon)
    says(p.daemon, "max-delete")
    left = len(snapshot(p.dests[0]))
    check(left > before * 0.5, f"{left} of {before} entries are left")
    resync(env, p, "example.com", code=5)
    # It clears by itself when what was deleted is put back …
    fill(p.src)
    p.arrives(30)
    # … and goes through when the operator says so.
    for d in range(8):
        remove(f"{p.src}/d{d}")
    await_held(p.daemon)
    resync(env, p, "--force", "example.com")
    check_same(p.src, p.dests[0])
    put(f"{p.src}/after", b"goes on")
    p.flushed()
    check(not os.path.exists(other))
    p.daemon.stop()


@case
def test_the_secondary_sums_one_shots(env):
    """Each run deletes little; together they are too many, whoever asks."""
    src, dest = env.path("src"), env.path("dest")
    fill(src)
    env.resync(src, dest)
    for d in range(1):
        remove(f"{src}/d{d}")
        env.resync(src, dest, "--max-delete", "20%")
    for d in range(1, 4):
        remove(f"{src}/d{d}")
        last = env.resync(src, dest, "--max-delete", "20%", code=None)
        if last.code:
            break
    check_equal(last.code, 5)
    last.says("max-delete")
    check(os.path.exists(f"{dest}/d3"), "d3 is there")
    env.resync(src, dest, "--force")
    check_same(src, dest)


@case
def test_a_plugin_counts_as_one(env):
    """Removed or replaced, it may be most of the site: that holds nothing, and what is deleted after it
    is not held against it either."""
    def plugins(root):
        for name in ("big", "other"):
            fill(f"{root}/wp-content/plugins/{name}")
        put(f"{root}/wp-content/uploads/x.jpg", b"x")
    p = Pair(env, secondaries=1, fill=plugins, options="preset = wordpress settle = 300ms")
    for name in ("big", "other"):
        remove(f"{p.src}/wp-content/plugins/{name}")
        p.flushed()
    remove(f"{p.src}/wp-content/uploads/x.jpg")
    p.flushed()
    check_equal(states(p.daemon), ["ok", "level"])
    p.daemon.stop()


@case
def test_one_site_is_held_and_another_goes_on(env):
    two, dest = env.path("two"), env.path("dest-two")
    put(f"{two}/x", b"x")
    p = Pair(env, secondaries=1, fill=fill, start=False)
    text = site_text("example.com", p.src, p.dests) + site_text("two", two, [dest])
    p.config = env.config(text, ("web1", "web2"))
    p.daemon = env.daemon(p.config)
    remove(f"{p.src}/d1")
    p.daemon.flush(code=None)
    for d in range(2, 8):
        remove(f"{p.src}/d{d}")
    await_held(p.daemon)
    put(f"{two}/new", b"upload")
    p.daemon.flush("two")
    check_same(two, dest)
    p.daemon.stop()


@case
def test_an_update_that_deletes_and_copies(env):
    """What vanishes and is put there again at once is no loss."""
    p = Pair(env, secondaries=1, fill=lambda src: fill(src, 600))
    for n in range(4):
        saved = env.path(f"saved{n}")
        shutil.copytree(p.src, saved)
        for d in range(8):
            os.rename(f"{p.src}/d{d}", env.path(f"old{n}-{d}"))
            shutil.move(f"{saved}/d{d}", f"{p.src}/d{d}")
    p.daemon.flush(code=None)
    p.arrives(30)
    p.daemon.stop()


@case
def test_an_emptied_root(env):
    """Few files, so that no limit is passed: an empty root is held all the same."""
    p = Pair(env, secondaries=1, fill=lambda src: fill(src, 20))
    p.daemon.stop()
    for name in os.listdir(p.src):
        remove(f"{p.src}/{name}")
    d = env.daemon(p.config)
    await_held(d)
    says(d, "is empty")
    check(os.path.exists(f"{p.dests[0]}/d1/f1"), "nothing was deleted")
    put(f"{p.src}/first", b"there from the start")
    fill(p.src, 20)
    p.daemon = d
    p.arrives(30)
    d.stop()


@case
def test_a_replaced_root_on_the_primary(env):
    p = Pair(env, secondaries=1, fill=fill)
    before = snapshot(p.dests[0])
    away = p.src + ".away"
    os.rename(p.src, away)
    os.mkdir(p.src)
    await_held(p.daemon)
    p.daemon.stop()
    # A daemon that starts now knows it, too.
    d = p.daemon = env.daemon(p.config)
    await_held(d)
    says(d, "another directory")
    resync(env, p, "example.com", code=5)
    check_equal(snapshot(p.dests[0]), before, "the secondary")
    os.rmdir(p.src)
    os.rename(away, p.src)
    put(f"{p.src}/new", b"after it came back")
    p.arrives(30)
    # Replaced for good: a restore beside the old root, renamed into its place.
    shutil.copytree(p.src, away)
    put(f"{away}/restored", b"restored")
    os.rename(p.src, p.src + ".old")
    os.rename(away, p.src)
    await_held(d)
    resync(env, p, "--force", "example.com")
    check_same(p.src, p.dests[0])
    put(f"{p.src}/later", b"watched again")
    p.flushed()
    d.stop()


@case
def test_a_missing_root_on_the_primary(env):
    p = Pair(env, secondaries=1, fill=fill)
    p.daemon.stop()
    os.rename(p.src, p.src + ".away")
    d = p.daemon = env.daemon(p.config)
    await_held(d)
    env.mirrord("resync", "-c", p.config, "--as", "web1", "--control", env.path("none"), code=5)
    os.rename(p.src + ".away", p.src)
    put(f"{p.src}/new", b"x")
    p.arrives(30)
    d.stop()


@case
def test_a_root_that_is_gone_on_the_secondary(env):
    p = Pair(env, secondaries=2, fill=fill)
    away = p.dests[0] + ".away"
    os.rename(p.dests[0], away)
    put(f"{p.src}/new", b"for the other")
    p.arrives(30, p.dests[1:])
    await_held(p.daemon)
    says(p.daemon, "was removed", "mirrord resync --force example.com web2")
    check(not os.path.exists(p.dests[0]), "it was not made anew")
    os.mkdir(p.dests[0])
    resync(env, p, "example.com", code=5)
    check_equal(os.listdir(p.dests[0]), [], "nothing is in it")
    os.rmdir(p.dests[0])
    os.rename(away, p.dests[0])
    p.arrives(30)
    p.daemon.stop()
    os.rename(p.dests[0], away)
    p.restart()
    await_held(p.daemon)
    resync(env, p, "--force", "example.com", "web2")
    p.flushed()
    p.daemon.stop()


@case
def test_a_volume_inside_the_root(env):
    """Its mount point, without it, is an empty directory: unreadable, not emptied."""
    for where in ("src", "dest2"):
        p = Pair(env, secondaries=1, fill=fill, start=False) if where == "src" else p
        volume = env.path(where, "d1")
        if where == "src":
            p.daemon = env.daemon(p.config)
        before = snapshot(volume)
        p.daemon.stop()
        os.rename(volume, env.path("kept"))
        os.mkdir(volume)
        mount("--bind", env.path("kept"), volume)
        try:
            p.daemon = env.daemon(p.config)
            p.daemon.flush(code=None)
            p.daemon.stop()
        finally:
            unmount_when_free(volume)
        check_equal(os.listdir(volume), [], "beneath the mount point")
        p.daemon = env.daemon(p.config)
        put(f"{p.src}/new-{where}", b"goes on")
        p.daemon.flush(code=None)
        wait_for(lambda: os.path.exists(f"{p.dests[0]}/new-{where}"), "the rest goes on")
        there = f"{p.dests[0]}/d1" if where == "src" else f"{p.src}/d1"
        check_equal(snapshot(there), before, f"without the volume of {where}")
        p.daemon.stop()
        os.rmdir(volume)
        os.rename(env.path("kept"), volume)
        if where == "src":
            p.daemon = env.daemon(p.config)
            resync(env, p, "--force", "example.com")
            check_same(p.src, p.dests[0])


if __name__ == "__main__":
    main()
