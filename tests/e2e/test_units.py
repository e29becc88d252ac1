"""Never torn: updates of units while readers on the secondary look for mixtures, with the receiver
killed, over a slow link, and of a unit of several parts."""

import os
import random
import signal
import threading
import time

from harness import case, check, check_equal, main, send, wait_for
from pair import Pair
from trees import check_same, put
from updates import (KILLED, OPTIONS, PLUGIN, SHAPES, UPDATES, Reader, Update, arrives_whole, start,
                     version_at, write_version)


@case
def test_updates_of_all_shapes(env):
    p = start(env)
    far = f"{p.dests[0]}/{PLUGIN}"
    readers = [Reader(far), Reader(far, by_path=True)]
    for version in range(1, UPDATES + 1):
        SHAPES[version % len(SHAPES)](Update(p.src, version))
        arrives_whole(p, version)
    print(f"# {UPDATES} updates in {len(SHAPES)} shapes")
    for r in readers:
        r.end()
    check_same(p.src, p.dests[0], leave_out=lambda path: b"/upgrade" in path)
    p.daemon.stop()


@case
def test_receiver_killed_during_updates(env):
    p = start(env)
    far = f"{p.dests[0]}/{PLUGIN}"
    readers = [Reader(far), Reader(far, by_path=True)]
    dice, kills = random.Random(7), 0
    for version in range(1, KILLED + 1):
        SHAPES[version % len(SHAPES)](Update(p.src, version))
        for _ in range(2):
            time.sleep(dice.random() * 0.3)
            for pid in env.sshd.receivers():
                send(pid, signal.SIGKILL)
                kills += 1
        p.daemon.flush("--all")
        check_equal(version_at(f"{far}/file0.php"), version)
    print(f"# {KILLED} updates, {kills} kills")
    for r in readers:
        r.end()
    p.daemon.stop()


@case
def test_an_update_while_another_is_sent(env):
    """Over a slow link: what was sent of the first is dropped."""
    data = os.urandom(4000)
    p = start(env, extra_host='bwlimit = "400K"')
    reader = Reader(f"{p.dests[0]}/{PLUGIN}")
    top = f"{p.src}/{PLUGIN}"
    write_version(top, 1, data=data)
    wait_for(lambda: staged(p), "the first is on its way", 30)
    write_version(top, 2, data=data[::-1])
    put(f"{p.src}/wp-content/uploads/live.jpg", b"meanwhile")
    wait_for(lambda: os.path.exists(f"{p.dests[0]}/wp-content/uploads/live.jpg"), "the upload", 10)
    arrives_whole(p, 2, seconds=60)
    reader.end()
    check("changed while it was being sent" in p.daemon.text(), "nothing was dropped")
    p.daemon.stop()


def staged(p):
    """Is something of a unit in the stage?"""
    stages = [d for d in os.listdir(p.env.dir) if d.startswith(".mirrord-")]
    return sum(len(files) for d in stages for _, _, files in os.walk(p.env.path(d))) > 20


@case
def test_core_is_one_unit(env):
    def fill(src, version=0):
        write_version(f"{src}/wp-admin", version, 60)
        write_version(f"{src}/wp-includes", version, 60)
        for name in ("index.php", "wp-login.php", "wp-load.php"):
            put(f"{src}/{name}", b"%d\n" % version)
    p = Pair(env, 1, OPTIONS, fill)
    far = p.dests[0]
    trouble = []
    over = threading.Event()

    def watch():
        while not over.is_set():
            top = version_at(f"{far}/index.php")
            rest = [version_at(f"{far}/{d}/{n}") for d in ("wp-includes", "wp-admin")
                    for n in ("file0.php", "file56.php")]
            if min(rest) < top:
                trouble.append((top, rest))
    readers = [Reader(f"{far}/{d}", 60) for d in ("wp-admin", "wp-includes")]
    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in range(1, 4):
        fill(p.src, version)
        p.flushed()
    over.set()
    watcher.join()
    for r in readers:
        r.end()
    check(not trouble, "the top was switched before the rest:", *trouble[:3])
    p.daemon.stop()


if __name__ == "__main__":
    main()
