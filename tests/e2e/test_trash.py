"""What is found on a secondary that mirrord did not put there is set aside: listed, put back, and
removed after its time."""

import os
import time

from harness import MIRRORD, case, check, check_equal, main, read_text, wait_for
from pair import Pair
from trees import check_same, put


def trash(env, p, *more, code=0):
    return env.mirrord("trash", "-c", p.config, "--as", "web2", "--state-dir",
                       env.path("state-web2"), *more, code=code)


def compare(env, p):
    env.mirrord("resync", "-c", p.config, "--as", "web1", "example.com")


@case
def test_an_upload_on_the_wrong_server(env):
    p = Pair(env, secondaries=1, fill=lambda src: put(f"{src}/d/f", b"of the primary"))
    check_equal(trash(env, p, "list").out.strip(), "nothing was set aside")
    put(f"{p.dests[0]}/d/upload", b"wrong server")
    put(f"{p.dests[0]}/d/f", b"changed here, longer")
    put(f"{p.dests[0]}/new/deep/x", b"a directory")
    compare(env, p)
    check_same(p.src, p.dests[0])
    items = trash(env, p, "list", "--json").json()
    check_equal(sorted(i["path"] for i in items), ["d/f", "d/upload", "new"])
    by_path = {i["path"]: i for i in items}
    check_equal(by_path["d/upload"]["kind"], "file")
    check_equal(by_path["d/upload"]["size"], 12)
    check_equal(by_path["new"]["kind"], "directory")
    check_equal(read_text(by_path["d/f"]["content"]), "changed here, longer")
    text = trash(env, p, "list", "example.com").out
    check(by_path["d/upload"]["id"] in text and "d/upload" in text, text)
    # Back to where it was, elsewhere, and never over something.
    trash(env, p, "restore", "example.com", by_path["d/f"]["id"], code=5)
    check_equal(read_text(f"{p.dests[0]}/d/f"), "of the primary")
    trash(env, p, "restore", "example.com", by_path["d/f"]["id"], env.path("kept"))
    check_equal(read_text(env.path("kept")), "changed here, longer")
    trash(env, p, "restore", "example.com", by_path["d/upload"]["id"])
    check_equal(read_text(f"{p.dests[0]}/d/upload"), "wrong server")
    trash(env, p, "restore", "example.com", by_path["d/upload"]["id"], code=2)
    trash(env, p, "restore", "example.com", "../x", code=2)
    compare(env, p)
    check_same(p.src, p.dests[0])
    check_equal(len(trash(env, p, "list", "--json").json()), 2)
    p.daemon.stop()


@case
def test_it_is_removed_after_thirty_days(env):
    p = Pair(env, secondaries=1)
    for name in ("old", "young"):
        put(f"{p.dests[0]}/{name}", b"x")
    compare(env, p)
    for i in trash(env, p, "list", "--json").json():
        if i["path"] == "old":
            item = os.path.dirname(i["content"])
            _, rest = i["id"].split("-", 1)
            os.rename(item, f"{os.path.dirname(item)}/{int(time.time()) - 31 * 86400}-{rest}")
    compare(env, p)
    wait_for(lambda: [i["path"] for i in trash(env, p, "list", "--json").json()] == ["young"],
             "the old one is gone")
    p.daemon.stop()


@case
def test_what_is_deleted_or_overwritten_is_kept(env):
    def fill(src):
        put(f"{src}/over", b"old")
        put(f"{src}/d/gone", b"deleted")
        put(f"{src}/units/u/a", b"a1")
        put(f"{src}/units/u/b", b"b1")
        put(f"{src}/units/u/same", b"same")

    p = Pair(env, secondaries=1, fill=fill,
             options='keep-deleted = 7 unit = {"units/*"} settle = 50ms unit-grace = 0')
    p.daemon.flush()
    put(f"{p.dests[0]}/upload", b"wrong server")
    put(f"{p.src}/over", b"new")
    os.rename(f"{p.src}/d", env.path("away"))  # in one step: all of it is one thing
    put(f"{p.src}/upload", b"of the primary")
    for name in "ab":
        put(f"{p.src}/units/u/{name}", f"{name}2".encode())
    p.daemon.flush()

    def site():
        return p.daemon.status()["sites"][0]["secondaries"][0]["trash"]
    wait_for(lambda: site() == {"foreign": 1, "foreign_bytes": 12, "kept": 3},
             lambda: f"status counts: {site()}")
    text = p.daemon.ask("status").out
    check("example.com on web2: in the trash: 1 thing that mirrord did not put there, 12 bytes; "
          "3 deleted or overwritten" in text, text)
    check("type: mirrord trash list example.com   (on web2)" in text, text)
    items = {i["path"]: i for i in trash(env, p, "list", "--json").json()}
    check_equal({path: i["origin"] for path, i in items.items()},
                {"over": "own", "d": "own", "units/u": "own", "upload": "foreign"})
    check_equal(items["over"]["until"] - items["over"]["since"], 7 * 86400)
    unit = items["units/u"]["content"]
    check_equal({f: read_text(f"{unit}/{f}") for f in os.listdir(unit)}, {"a": "a1", "b": "b1"})
    trash(env, p, "restore", "example.com", items["over"]["id"], code=5)
    trash(env, p, "restore", "example.com", items["over"]["id"], env.path("over"))
    check_equal(read_text(env.path("over")), "old")
    trash(env, p, "restore", "example.com", items["d"]["id"])
    check_equal(read_text(f"{p.dests[0]}/d/gone"), "deleted")
    p.daemon.stop()


@case
def test_the_configuration_of_the_secondary_counts(env):
    """A primary with another file can neither leave keep-deleted out nor raise max-delete."""
    def fill(src):
        for i in range(20):
            put(f"{src}/d/f{i}", b"old")

    p = Pair(env, secondaries=1, start=False, fill=fill, options='max-delete = "100%"')
    own = env.path("own.conf")
    with open(p.config) as here, open(own, "w") as there:
        there.write(here.read().replace('max-delete = "100%"',
                                        'max-delete-count = 5 keep-deleted = 3'))
    env.far_end("web2", f"exec '{MIRRORD}' receive -c '{own}' --as web2 "
                        f"--state-dir '{env.path('state-web2')}'")
    compare(env, p)
    put(f"{p.src}/d/f0", b"new")
    compare(env, p)
    item, = trash(env, p, "list", "--json").json()
    check_equal((item["path"], item["until"] - item["since"]), ("d/f0", 3 * 86400))
    for i in range(1, 12):
        os.remove(f"{p.src}/d/f{i}")
    held = env.mirrord("resync", "-c", p.config, "--as", "web1", "example.com", code=5)
    check("more than max-delete of this host allows (20 % and 5)" in held.err, held)
    check_equal(read_text(f"{p.dests[0]}/d/f1"), "old")
    env.mirrord("resync", "-c", p.config, "--as", "web1", "--force", "example.com")
    check_same(p.src, p.dests[0])
    check_equal(len(trash(env, p, "list", "--json").json()), 12)


@case
def test_excluded_things_are_neither_touched_nor_set_aside(env):
    p = Pair(env, secondaries=1, options='exclude = {"cache/"}',
             fill=lambda src: put(f"{src}/d/f", b"x"))
    put(f"{p.dests[0]}/d/cache/page", b"of the secondary")
    put(f"{p.src}/d/g", b"y")
    p.daemon.flush()
    os.remove(f"{p.src}/d/f")
    os.remove(f"{p.src}/d/g")
    os.rmdir(f"{p.src}/d")
    p.daemon.flush()
    check_equal(read_text(f"{p.dests[0]}/d/cache/page"), "of the secondary")
    check(not os.path.exists(f"{p.dests[0]}/d/f"), "what was mirrored is gone")
    check_equal(trash(env, p, "list", "--json").json(), [])
    p.daemon.stop()


if __name__ == "__main__":
    main()
