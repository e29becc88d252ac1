"""What a secondary that is away costs the primary: a set of paths, not a log of changes."""

import collections
import os
import re

from harness import SANITIZED, case, check, check_equal, main, read_text, wait_for
from pair import Pair
from trees import check_same, open_file

LONG = os.environ.get("MIRRORD_LONG") == "1"
PATHS, CHANGES = (50_000, 1_000_000) if LONG else (5_000, 100_000)
GROWTH_KIB = 32 * 1024


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


def path_of(i):
    return f"d{i % 50}/f{i}"


def write(src, i, data):
    with open_file(f"{src}/{path_of(i)}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as f:
        f.write(data)


def fill(src):
    for i in range(50):
        os.makedirs(f"{src}/d{i}")
    for i in range(PATHS):
        write(src, i, b"0")


@case
def test_away_while_much_changes(env):
    p = Pair(env, 1, fill=fill)
    pid = p.daemon.process.pid
    env.sshd.stop()
    wait_for(lambda: p.daemon.status()["secondaries"][0]["state"] != "up", "it is seen to be away")
    before = rss_kib(pid)
    for n in range(CHANGES):
        write(p.src, n % PATHS, b"%d" % n)
    p.daemon.flush(code=None, seconds=200)  # the scanner has seen all of it
    grown = rss_kib(pid) - before
    print(f"# {CHANGES} changes over {PATHS} paths: {grown} KiB more")
    check(grown < GROWTH_KIB or SANITIZED, f"grown by {grown} KiB")

    at = os.path.getsize(p.daemon.log)
    env.sshd.restart()
    wait_for(lambda: p.daemon.status()["secondaries"][0]["sites_level"] == 1, "level", 120)
    check_same(p.src, p.dests[0])
    sent = collections.Counter(re.findall(r"committed (d\d+/f\d+),", read_text(p.daemon.log, at)))
    check_equal(len(sent), PATHS, "paths sent")
    twice = [path for path, count in sent.items() if count > 1]
    check(not twice, f"sent more than once: {len(twice)}, such as {twice[:3]}")
    p.daemon.stop()


if __name__ == "__main__":
    main()
