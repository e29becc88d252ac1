"""`mirrord verify`: content is read at both ends, differences are named, nothing is changed."""

import os

from harness import case, check, check_equal, main, read_text
from pair import Pair
from trees import check_same, put, snapshot


def states(env):
    return [n for top in os.listdir(env.dir) if top.startswith("state")
            for n in os.listdir(env.path(top)) if n.startswith("scratch")]


def corrupt(path):
    """Other content of the same size, with the same times: only reading it tells."""
    st = os.stat(path)
    fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    os.pwrite(fd, b"X", 0)
    os.close(fd)
    os.utime(path, ns=(st.st_atime_ns, st.st_mtime_ns))


def fill(src):
    for i in range(30):
        put(f"{src}/d{i % 3}/f{i}", b"content %d" % i * 500)


@case
def test_one_shot(env):
    src, dest = env.path("src"), env.path("dest")
    fill(src)
    env.resync(src, dest)

    def verify(*more, code):
        return env.mirrord("verify", *env.link_options(), *more, src, env.at(dest), code=code)

    def marks():
        return {top: read_text(os.path.join(top, "mark")) for top, _, names in os.walk(env.dir)
                if "mark" in names}
    kept = marks()
    check(kept, "a mark of the secondary")
    r = verify(code=0)
    check_equal(marks(), kept, "a verification's state is its own")
    check("30 files compared by content, 0 paths differ" in r.out, r)
    corrupt(f"{dest}/d1/f1")
    os.remove(f"{dest}/d2/f2")
    put(f"{dest}/d0/extra", b"x")
    os.chmod(f"{dest}/d0/f0", 0o600)
    before = snapshot(dest)
    r = verify(code=4)
    for line in ("update d1/f1", "create d2/f2", "delete d0/extra", "update d0/f0"):
        check(line in r.out.splitlines(), line, r)
    r.says("differ")
    check_equal(snapshot(dest), before, "dest")
    check_equal(states(env), [], "left behind")
    sent = verify("--json", code=4).json()["bytes"]["sent"]
    check(sent < 10000, f"{sent} bytes were sent")
    check_same(src, src)


@case
def test_beside_the_daemon(env):
    p = Pair(env, secondaries=2, fill=fill)
    p.flushed()

    def verify(*more, code):
        return env.mirrord("verify", "-c", p.config, "--as", "web1", *more, code=code)
    verify(code=0)
    corrupt(f"{p.dests[1]}/d1/f1")
    verify("example.com", "web2", code=0)
    r = verify("example.com", code=4)
    check("update d1/f1" in r.out, r)
    check_equal(states(env), [], "left behind")
    # The daemon is not disturbed, and heals it when it compares.
    put(f"{p.src}/after", b"x")
    p.daemon.flush()
    env.mirrord("resync", "-c", p.config, "--as", "web1", "example.com")
    verify(code=0)
    p.daemon.stop()


if __name__ == "__main__":
    main()
