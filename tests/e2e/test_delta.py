"""Changed files: deltas where they pay, whole content where they don't; never a file in memory."""

import glob
import os
import random
import shutil
import time

from harness import MIRRORD, SANITIZED, SLOW, VALGRIND, Skip, case, check, check_equal, main, peak_kib, read_text
from pair import Pair
from proxy import close, through
from trees import check_same, inodes, put

MIB = 1 << 20
MEMORY_KIB = 64 << 10  # a process
ACK_ALONE = 1000  # bytes that come back where nothing is asked, with some of progress; of 9 MiB the extents are more


def edit(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def insert(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        rest = f.read()
        f.seek(at)
        f.write(data + rest)


def level(env, src, dest, *options):
    said = env.resync_json(src, dest, "--compress", "none", *options)
    check_same(src, dest)
    return said["bytes"]


def outlines(env):
    """What this host remembers of large files that it sent, between runs."""
    return sorted(glob.glob(env.path("state", "roots", "*", "outlines", "*")))


@case
def test_small_changes_of_large_files_send_little(env):
    """Asked for what is there."""
    small_changes(env, lambda: shutil.rmtree(os.path.dirname(outlines(env)[0])), 96 << 10)


@case
def test_what_a_former_run_sent_is_not_asked_for(env):
    small_changes(env, lambda: check_equal(len(outlines(env)), 1, "kept"), ACK_ALONE)


def small_changes(env, before_each, received):
    src, dest = env.path("src"), env.path("dest")
    path = put(f"{src}/large", random.Random(1).randbytes(16 * MIB))
    level(env, src, dest)
    changes = {
        "append": lambda: open(path, "ab").write(os.urandom(1000)),
        "edit": lambda: edit(path, 7 * MIB + 11, os.urandom(1000)),
        "insert": lambda: insert(path, 3 * MIB + 5, os.urandom(1000)),
        "scattered": lambda: [edit(path, i * MIB + 13 * i, os.urandom(100)) for i in range(16)],
        "cut": lambda: os.truncate(path, 12 * MIB + 1),
        "remove": lambda: put(path, open(path, "rb").read().replace(b"\0\1", b"", 1)),
    }
    for name, change in changes.items():
        before_each()
        change()
        said = level(env, src, dest)
        check(said["literal"] <= 64 << 10, f"{name}: {said}")  # a block of 4 KiB for each edit
        check(said["sent"] < 96 << 10, f"{name}: {said}")
        check(said["received"] < received, f"{name}: {said}")
        check(said["matched"] > 11 * MIB, f"{name}: {said}")


@case
def test_other_content_is_sent_whole(env):
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/f", random.Random(1).randbytes(4 * MIB))
    level(env, src, dest)
    put(f"{src}/f", random.Random(2).randbytes(4 * MIB))
    said = level(env, src, dest)
    check(4 * MIB <= said["literal"] <= 4 * MIB + 4096, said)
    check(said["sent"] < 5 * MIB, said)


@case
def test_sizes_around_the_borders(env):
    """Each size grows to the next, shrinks to the one before, and to nothing."""
    src, dest = env.path("src"), env.path("dest")
    sizes = [0, 1, 1023, 1024, 1025, 4095, 4096, 4097, 32768, 65520, 65531, 65535, 65536, 65537,
             131071, 131072, 131073, 262143, 262144, 262145, 524289, MIB, MIB + 1, 3 * MIB + 7]
    data = random.Random(3).randbytes(4 * MIB)
    for i, size in enumerate(sizes):
        put(f"{src}/f{i}", data[:size])
        put(f"{src}/g{i}", data[:size])
        put(f"{src}/h{i}", data[i:i + size])
    level(env, src, dest)
    for i, size in enumerate(sizes):
        put(f"{src}/f{i}", data[:sizes[(i + 1) % len(sizes)]])
        put(f"{src}/g{i}", data[:sizes[i - 1]])
        put(f"{src}/h{i}", data[i + 1:i + 1 + size])
    level(env, src, dest)
    for i in range(len(sizes)):
        os.truncate(f"{src}/f{i}", 0)
        os.truncate(f"{src}/g{i}", 2 * MIB + i)
    level(env, src, dest)


@case
def test_repeated_and_moved_blocks(env):
    src, dest = env.path("src"), env.path("dest")
    block = random.Random(4).randbytes(MIB)
    put(f"{src}/f", block + bytes(MIB) + block)
    put(f"{src}/zeros", bytes(3 * MIB))
    level(env, src, dest)
    put(f"{src}/f", bytes(MIB) + block * 3)
    put(f"{src}/zeros", bytes(3 * MIB + 77))
    check(level(env, src, dest)["literal"] < MIB // 2)


@case
def test_large_pieces_that_move(env):
    """Found wherever they are: nothing but what is new is sent, and what is at the seams."""
    src, dest = env.path("src"), env.path("dest")
    data, new = random.Random(6).randbytes(10 * MIB), random.Random(7).randbytes(MIB)
    orders = {
        "behind": new + data,
        "cut": data[5 * MIB + 3:],
        "twice": data[:7 * MIB] + data,
        "exchanged": data[4 * MIB + 77:] + new + data[:4 * MIB + 77],
        "back": data[:2 * MIB] + b"some" + data[2 * MIB:6 * MIB] + data[6 * MIB + 4:],
    }
    for name in orders:
        put(f"{src}/{name}", data)
    level(env, src, dest)
    for name, content in orders.items():
        put(f"{src}/{name}", content)
    said = level(env, src, dest)
    check(said["literal"] < 2 * MIB + (16 << 10), said)
    check(said["received"] < 96 << 10, said)


@case
def test_the_far_file_was_changed_meanwhile(env):
    """A delta against what is not there any more: whole content in the end."""
    src, dest = env.path("src"), env.path("dest")
    path = put(f"{src}/f", random.Random(5).randbytes(4 * MIB))
    level(env, src, dest)
    edit(f"{dest}/f", MIB, b"drift on the far side")
    edit(path, 2 * MIB, b"change on this side")
    level(env, src, dest)


@case
def test_what_is_kept_of_a_former_run_is_a_guess(env):
    """The far file is another one, or this host's memory of it is damaged, or of another secondary: all arrives."""
    src, dest = env.path("src"), env.path("dest")
    path = put(f"{src}/f", random.Random(6).randbytes(9 * MIB))
    put(f"{src}/small", random.Random(7).randbytes(MIB))
    level(env, src, dest)
    check_equal(len(outlines(env)), 1, "of the large file alone")
    put(f"{dest}/f", random.Random(8).randbytes(9 * MIB))
    edit(path, MIB, b"changed at both ends")
    level(env, src, dest)

    for damage in (lambda f: os.truncate(f, 1000), lambda f: os.truncate(f, 0), lambda f: edit(f, 5000, b"x"),
                   lambda f: (os.unlink(f), os.symlink("/etc/passwd", f)), lambda f: (os.unlink(f), os.mkdir(f))):
        kept = outlines(env)[0]
        damage(kept)
        edit(path, 3 * MIB, os.urandom(100))
        said = level(env, src, dest)
        check(said["received"] > ACK_ALONE, f"believed: {said}")
        if os.path.isdir(kept):
            os.rmdir(kept)
    level(env, src, env.path("second"))
    edit(path, 4 * MIB, b"for the first alone")
    level(env, src, dest)
    edit(path, 5 * MIB, b"for both")
    for there in (env.path("second"), dest):
        said = level(env, src, there)
        check(said["literal"] < 64 << 10 and said["received"] < ACK_ALONE, f"{there}: {said}")
    os.unlink(path)
    level(env, src, dest)
    put(path, random.Random(6).randbytes(9 * MIB))
    level(env, src, dest)


@case
def test_deltas_of_a_daemon(env):
    p = Pair(env, fill=lambda s: put(f"{s}/big", os.urandom(8 * MIB)))
    before = inodes(p.dests[0])

    def sent():
        return sum(int(read_text(f"/proc/{pid}/io").split("rchar: ")[1].split()[0])
                   for pid in env.sshd.sessions())

    start = sent()
    for i in range(5):
        edit(f"{p.src}/big", i * MIB + 17, os.urandom(3000))
        p.flushed()
    check(sent() - start < 16 * MIB, f"{(sent() - start) / MIB:.1f} MiB went through sshd")
    check(inodes(p.dests[0])[b"big"] != before[b"big"], "it was changed in place")
    p.daemon.stop()


@case
def test_a_base_that_is_not_there_any_more(env):
    """What the daemon takes for known was changed there, or is not known there any more: it asks then, and warns
    nobody."""
    proxies, ports = through(env, 1)
    p = Pair(env, 1, fill=lambda s: put(f"{s}/big", os.urandom(4 * MIB)), ports=ports)
    p.flushed()
    edit(f"{p.src}/big", 3 * MIB, b"known from here on")
    p.flushed()
    edit(f"{p.dests[0]}/big", MIB, b"changed there")
    edit(f"{p.src}/big", 2 * MIB, b"and here")
    p.flushed()
    check("does not fit what is there" in p.daemon.text(), p.daemon.text())
    edit(f"{p.src}/big", MIB, b"once more")
    p.flushed()
    os.rename(env.path("state-web2"), env.path("gone"))
    proxies[0].cut()
    edit(f"{p.src}/big", 11, b"and after that")
    p.arrives()
    for i in range(3):
        insert(f"{p.src}/big", (i + 1) * 1000001, os.urandom(1000))
        p.flushed()
    warned = [line for line in p.daemon.text().splitlines() if "warning: " in line and "big" in line]
    check(all("not by mirrord" in line for line in warned), warned)
    p.daemon.stop()
    close(proxies)


@case
def test_growing_while_it_is_sent(env):
    """A source that changes under the reader: in the end it is what it is."""
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/f", os.urandom(8 * MIB))
    put(f"{src}/other", b"x")
    argv = [MIRRORD, "resync", *env.link_options(), src, env.at(dest)]
    with open(env.path("log"), "w") as log:
        p = env.spawn(argv, stdout=log, stderr=log)
    end = time.monotonic() + 2
    with open(f"{src}/f", "ab", buffering=0) as f:
        while p.poll() is None and time.monotonic() < end:
            f.write(os.urandom(1000))
    p.wait(60 * SLOW)
    check(p.returncode in (0, 3), read_text(env.path("log")))
    check_equal(open(f"{dest}/other", "rb").read(), b"x", "the other file")
    check_same_prefix(f"{src}/f", f"{dest}/f")
    level(env, src, dest)


def check_same_prefix(whole, part):
    """Where the far file exists, it is what this one was once."""
    if os.path.exists(part):
        with open(whole, "rb") as f, open(part, "rb") as g:
            data = g.read()
            check(f.read(len(data)) == data, f"{part} is a mixture")


def watch_memory(env, argv):
    """Runs it to its end: {process: peak KiB} of both ends."""
    peaks = {}
    with open(env.path("log"), "w") as log:
        p = env.spawn(argv, stdout=log, stderr=log)
    end = time.monotonic() + 900
    while p.poll() is None:
        for pid in [p.pid] + env.sshd.receivers():
            peak = peak_kib(pid)
            if peak:
                name = "primary" if pid == p.pid else f"secondary {pid}"
                peaks[name] = peak
        check(time.monotonic() < end, "not done in 900 s")
        time.sleep(0.02)
    check_equal(p.returncode, 0, f"exit code: {read_text(env.path('log'))}")
    return peaks


@case
def test_memory_does_not_grow_with_the_file(env):
    """4 GiB with FULL=1."""
    if SANITIZED or VALGRIND:
        raise Skip("sanitizers take memory of their own")
    src, dest = env.path("src"), env.path("dest")
    size = 4096 * MIB if os.environ.get("FULL") else 192 * MIB
    st = os.statvfs(env.dir)
    if st.f_bavail * st.f_frsize < 3 * size + 256 * MIB:
        raise Skip("too little room in " + env.dir)
    os.mkdir(src)
    with open(f"{src}/huge", "wb") as f:
        f.truncate(size)
        for i in range(24):
            f.seek(i * (size // 24))
            f.write(os.urandom(MIB))
    argv = [MIRRORD, "resync", *env.link_options(), src, env.at(dest)]
    for change in (None, lambda: edit(f"{src}/huge", size // 2 + 5, os.urandom(10000)),
                   lambda: insert_at_end(f"{src}/huge")):
        if change:
            change()
        peaks = watch_memory(env, argv)
        check_same(src, dest)
        check("primary" in peaks and len(peaks) > 1, f"nothing was measured: {peaks}")
        check(max(peaks.values()) < MEMORY_KIB, f"peak KiB: {peaks}")


def insert_at_end(path):
    with open(path, "ab") as f:
        f.write(os.urandom(MIB))


if __name__ == "__main__":
    main()
