"""What somebody else changes on a secondary is found at the connection and by walks in between,
reported with its path, and healed or (drift = report) left as it is."""

import os
import shutil

from harness import MIRRORD, case, check, check_equal, main, wait_for
from pair import Pair
from trees import check_same, put, snapshot

PLUGIN = "wp-content/plugins/one"


def fill(src):
    for i in range(6):
        put(f"{src}/d/f{i}", b"content %d" % i)
        put(f"{src}/{PLUGIN}/f{i}.php", b"version 1 of %d" % i)
    put(f"{src}/gone/a", b"a")
    put(f"{src}/gone/b/c", b"c")


def vandalise(dest):
    """Somebody else at work. What should be told of it, and what should be set aside."""
    put(f"{dest}/d/f0", b"changed by somebody")
    put(f"{dest}/{PLUGIN}/f1.php", b"patched by somebody")
    put(f"{dest}/{PLUGIN}/new/x.php", b"added to a plugin")
    put(f"{dest}/added", b"uploaded to the wrong server")
    os.chmod(f"{dest}/d/f2", 0o600)
    os.utime(f"{dest}/d/f3", (1000, 1000))
    os.remove(f"{dest}/d/f4")
    shutil.rmtree(f"{dest}/gone")
    put(f"{dest}/wp-content/cache/page.html", b"written on each server by itself")
    return {"d/f0": "changed", f"{PLUGIN}/f1.php": "changed", f"{PLUGIN}/new": "added",
            "added": "added", "d/f2": "changed", "d/f3": "changed", "d/f4": "removed",
            "gone": "removed"}


def is_cache(path):
    """Not mirrored."""
    return b"wp-content/cache" in os.fsencode(path)


def target(daemon):
    return daemon.status()["sites"][0]["secondaries"][0]


def told(daemon):
    return {p["path"]: p["what"] for p in target(daemon)["drift_paths"]}


def await_level(daemon, healed=None):
    def is_there():
        t = target(daemon)
        return t["state"] == "level" and (healed is None or t["drift_healed"] == healed)
    wait_for(is_there, lambda: f"level: {target(daemon)}\n{daemon.text()[-4000:]}")


def logged(daemon, found):
    for path, what in found.items():
        check(f"{path} was {what} there, not by mirrord" in daemon.text(),
              f"{path} {what} is not in the log:\n{daemon.text()[-4000:]}")
    check("cache" not in daemon.text(), daemon.text()[-4000:])


def set_aside(dest):
    """What is in the trash for foreign things, by content."""
    out = set()
    for top, _, names in os.walk(os.path.dirname(dest)):
        for name in names:
            if "/trash/foreign/" in f"{top}/{name}" and name != "path":
                with open(f"{top}/{name}", "rb") as f:
                    out.add(f.read())
    return out


def pair(env, options="", start=True):
    return Pair(env, secondaries=1, fill=fill, start=start,
                options=f"preset = wordpress settle = 100ms {options}")


@case
def test_heal_at_the_connection(env):
    p = pair(env)
    p.arrives()
    await_level(p.daemon)
    p.daemon.stop()
    found = vandalise(p.dests[0])
    p.restart()
    await_level(p.daemon, healed=len(found))
    logged(p.daemon, found)
    check_same(p.src, p.dests[0], is_cache)
    kept = set_aside(p.dests[0])
    for content in (b"changed by somebody", b"patched by somebody", b"added to a plugin",
                    b"uploaded to the wrong server"):
        check(content in kept, f"{content} is not among {kept}")
    p.daemon.ask("status")
    p.daemon.stop()


@case
def test_report(env):
    p = pair(env, "drift = report")
    dest = p.dests[0]
    p.arrives()
    await_level(p.daemon)
    p.daemon.stop()
    found = vandalise(dest)
    before = snapshot(dest)
    put(f"{p.src}/d/f5", b"changed here meanwhile")
    put(f"{p.src}/{PLUGIN}/f2.php", b"version 2 of 2")
    put(f"{p.src}/{PLUGIN}/f3.php", b"version 2 of 3")
    for first in (True, False):  # it is remembered, however often it is opened
        p.restart()
        await_level(p.daemon)
        check_equal(told(p.daemon), found)
        logged(p.daemon, found)
        after = snapshot(dest)
        for name, was in before.items():
            path = os.fsdecode(name)
            if path in ("d/f5", f"{PLUGIN}/f2.php", f"{PLUGIN}/f3.php") or os.path.isdir(f"{dest}/{path}"):
                continue
            check_equal(after.get(name), was)
        check(not os.path.exists(f"{dest}/gone"), "gone came back")
        with open(f"{dest}/{PLUGIN}/f3.php", "rb") as f:
            check_equal(f.read(), b"version 2 of 3")
        if first:
            p.daemon.stop()
    out = p.daemon.ask("status", code=4).out
    for word in ("changed there, not by mirrord: d/f0", "and 3 more",
                 "mirrord resync --force example.com web2"):
        check(word in out, f"no {word!r} in\n{out}")
    # What is changed here is mirrored all the same.
    put(f"{p.src}/d/f0", b"changed here, too")
    p.daemon.flush()
    with open(f"{dest}/d/f0", "rb") as f:
        check_equal(f.read(), b"changed here, too")
    check(b"changed by somebody" in set_aside(dest), set_aside(dest))
    del found["d/f0"]
    check_equal(told(p.daemon), found)
    # And everything, when the operator says so.
    env.mirrord("resync", "-c", p.config, "--as", "web1", "--force", "example.com")
    await_level(p.daemon)
    check_same(p.src, dest, is_cache)
    p.daemon.ask("status")
    p.daemon.stop()


@case
def test_found_by_walking(env):
    p = pair(env, start=False)
    state = env.path("state-web2")
    env.far_end("web2", f"exec '{MIRRORD}' \"$@\" --look-every 1s --state-dir '{state}'")
    p.restart()
    p.arrives()
    await_level(p.daemon)
    found = vandalise(p.dests[0])
    await_level(p.daemon, healed=len(found))
    logged(p.daemon, found)
    check_same(p.src, p.dests[0], is_cache)
    check("connected" in p.daemon.text() and p.daemon.text().count("connected") == 1,
          p.daemon.text())
    p.daemon.stop()


@case
def test_found_by_reading(env):
    """No walk is due for a day, but content is read again."""
    p = pair(env, start=False)
    state = env.path("state-web2")
    env.far_end("web2", f"exec '{MIRRORD}' \"$@\" --reread-every 1s --state-dir '{state}'")
    p.restart()
    p.arrives()
    await_level(p.daemon)
    for path in ("d/f1", f"{PLUGIN}/f4.php"):  # of the same size, with the same times
        before = os.stat(f"{p.dests[0]}/{path}")
        with open(f"{p.dests[0]}/{path}", "r+b") as f:
            f.write(b"X")
        os.utime(f"{p.dests[0]}/{path}", ns=(before.st_atime_ns, before.st_mtime_ns))
    await_level(p.daemon, healed=2)
    logged(p.daemon, {"d/f1": "changed", f"{PLUGIN}/f4.php": "changed"})
    check_same(p.src, p.dests[0], is_cache)
    p.daemon.stop()


if __name__ == "__main__":
    main()
