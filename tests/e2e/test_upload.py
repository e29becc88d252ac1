"""How WordPress, Imagick and loggers write: what is readable on a secondary is always whole."""

import hashlib
import os
import threading

from harness import SANITIZED, case, check, check_equal, main, wait_for
from pair import Pair
from trees import check_same, put


class Reader:
    """Polls paths on a secondary and keeps everything it ever saw there."""

    def __init__(self, *paths):
        self.paths, self.seen = paths, {p: set() for p in paths}
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.poll)
        self.thread.start()

    def poll(self):
        while not self.stop.is_set():
            for path in self.paths:
                try:
                    with open(path, "rb") as f:
                        st = os.fstat(f.fileno())
                        data = f.read()
                except FileNotFoundError:
                    continue
                self.seen[path].add((hashlib.md5(data).hexdigest(), len(data), st.st_mode & 0o7777,
                                     st.st_mtime_ns))

    def end(self):
        self.stop.set()
        self.thread.join()


def pause(seconds):
    """The writer's own rhythm, as it was measured; no test waits for the daemon with it."""
    threading.Event().wait(seconds)


def imagick(path, data):
    """Opens, closes at 0 bytes, opens again, writes pieces, closes, changes the mode."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    pause(0.02)
    with open(path, "r+b", buffering=0) as f:
        for i in range(0, len(data), 16384):
            f.write(data[i:i + 16384])
            pause(0.002)
    os.chmod(path, 0o644)


def gd_webp(path, data):
    """One open, half a second empty, then one write."""
    with open(path, "wb", buffering=0) as f:
        pause(0.5)
        f.write(data)


@case
def test_imagick_arrives_once_and_whole(env):
    p = Pair(env)
    names = [f"uploads/2024/01/bild-{i}.jpg" for i in range(12)]
    os.makedirs(f"{p.src}/uploads/2024/01")
    p.flushed()
    readers = [Reader(*(f"{d}/{n}" for n in names)) for d in p.dests]
    try:
        content = {}
        for name in names:
            content[name] = os.urandom(150000)
            imagick(f"{p.src}/{name}", content[name])
        p.arrives()
    finally:
        for r in readers:
            r.end()
    for r in readers:
        for path, seen in r.seen.items():
            name = next(n for n in names if path.endswith(n))
            good = hashlib.md5(content[name]).hexdigest()
            check(all(s[0] == good for s in seen), f"{name} was seen as {seen}")
    p.daemon.stop()


@case
def test_gd_is_never_seen_empty(env):
    p = Pair(env, secondaries=1)
    readers = Reader(*(f"{p.dests[0]}/w{i}.webp" for i in range(3)))
    try:
        for i in range(3):
            gd_webp(f"{p.src}/w{i}.webp", b"RIFF" + os.urandom(50000))
        p.arrives()
    finally:
        readers.end()
    for path, seen in readers.seen.items():
        check(all(size == 50004 for _, size, _, _ in seen), path, seen)
    p.daemon.stop()


@case
def test_php_upload_by_rename(env):
    """The original comes by rename from the temporary directory, mode 0600, then gets its mode."""
    p = Pair(env)
    for i in range(20):
        put(env.path("tmp", f"php{i}"), os.urandom(80000), 0o600)
        os.rename(env.path("tmp", f"php{i}"), f"{p.src}/o{i}.jpg")
        os.chmod(f"{p.src}/o{i}.jpg", 0o644)
    p.arrives()
    p.daemon.stop()


@case
def test_a_file_is_replaced_again_and_again(env):
    """Each version that is seen is one that was written, with its mode and time."""
    p = Pair(env)
    readers = [Reader(f"{d}/page.html") for d in p.dests]
    written = set()
    try:
        for i in range(100):
            data, mode = b"%d\n" % i * (2000 + 50 * i), 0o644 if i % 2 else 0o640
            path = put(f"{p.src}/page.tmp", data, mode)
            st = os.stat(path)
            written.add((hashlib.md5(data).hexdigest(), len(data), mode, st.st_mtime_ns))
            os.rename(path, f"{p.src}/page.html")
            pause(0.005)
        p.arrives()
    finally:
        for r in readers:
            r.end()
    for r in readers:
        for path, seen in r.seen.items():
            check(seen and seen <= written, f"{path} was {sorted(seen - written)[:5]}")
    p.daemon.stop()


@case
def test_overwriting_in_place_is_never_seen_half(env):
    """A rewriter in place: mixtures must not be sent."""
    p = Pair(env, secondaries=1)
    path, size = f"{p.src}/rewritten", 400000
    put(path, b"a" * size)
    p.flushed()
    reader = Reader(f"{p.dests[0]}/rewritten")
    try:
        for i in range(40):
            with open(path, "r+b", buffering=0) as f:
                for _ in range(4):
                    f.write(bytes([ord("a") + (i + 1) % 26]) * (size // 4))
            pause(0.01)
        p.arrives()
    finally:
        reader.end()
    whole = {hashlib.md5(bytes([c]) * size).hexdigest() for c in range(ord("a"), ord("z") + 1)}
    seen = {s[0] for s in reader.seen[f"{p.dests[0]}/rewritten"]}
    check(seen <= whole, f"{len(seen - whole)} mixtures were seen")
    p.daemon.stop()


@case
def test_a_burst_of_files(env):
    count = 300 if SANITIZED else 1000
    p = Pair(env)
    os.makedirs(f"{p.src}/uploads")
    for i in range(count):
        put(f"{p.src}/uploads/f{i}", os.urandom(1000 + i * 37 % 9000))
    p.flushed()
    for dest in p.dests:
        check_equal(len(os.listdir(f"{dest}/uploads")), count, "files there")
    p.daemon.stop()


@case
def test_empty_files_arrive_in_the_end(env):
    p = Pair(env)
    put(f"{p.src}/.gitkeep", b"")
    p.arrives(seconds=30)
    p.daemon.stop()


@case
def test_a_log_held_open(env):
    """It is pushed while it is written, and complete after the close."""
    p = Pair(env, secondaries=1)
    there = f"{p.dests[0]}/debug.log"
    with open(f"{p.src}/debug.log", "ab", buffering=0) as f:
        wait_for(lambda: (f.write(b"a line of the log\n"), os.path.exists(there) and
                          os.path.getsize(there) > 0)[1], "the open log is pushed", 60)
        with open(there, "rb") as g:
            data = g.read()
        check_equal(data, b"a line of the log\n" * (len(data) // 18), "what is there of the log")
    p.arrives()
    p.daemon.stop()


@case
def test_a_large_transfer_does_not_hold_up_an_upload(env):
    """The upload is there before the large file is."""
    size = 200 << 20
    p = Pair(env, secondaries=1)
    with open(f"{p.src}/backup.tar", "wb") as f:
        for _ in range(size >> 20):
            f.write(os.urandom(1 << 20))
    put(f"{p.src}/upload.jpg", os.urandom(50000))
    wait_for(lambda: os.path.exists(f"{p.dests[0]}/upload.jpg"), "the upload is there", 60)
    check(not os.path.exists(f"{p.dests[0]}/backup.tar"), "the large file overtook the upload")
    p.arrives(seconds=120)
    check_same(p.src, p.dests[0])
    p.daemon.stop()


def slow_down(config, **rates):
    """Gives hosts of the configuration a bwlimit."""
    with open(config, "r+") as f:
        text = f.read()
        for host, rate in rates.items():
            text = text.replace(f"host {host} {{", f"host {host} {{ bwlimit = {rate}")
        f.seek(0)
        f.write(text)


@case
def test_a_change_overtakes_the_copy_of_its_directory(env):
    """Two secondaries get a new directory, the slower one what was read for the other. A change that is
    there before its turn in the copy comes stays."""
    names = [f"f{i:04}" for i in range(3000)]
    pair = Pair(env, start=False, fill=lambda src: [put(f"{src}/d/{n}", os.urandom(1000)) for n in names])
    slow_down(pair.config, web2="400K", web3="200K")
    pair.daemon = env.daemon(pair.config, ready=False)

    def staged():
        return sum(len(files) for _, _, files in os.walk(pair.dests[1]))

    wait_for(lambda: staged() >= 500, "the copy is under way", 60)
    at = staged()
    for n in names[at:at + 400]:
        put(f"{pair.src}/d/{n}", b"changed")
    pair.flushed("--all")
    pair.daemon.stop()


@case
def test_larger_than_max_size(env):
    """It is left alone at both ends, and listed, until it is smaller."""
    p = Pair(env, 1, options="max-size = 100K")
    put(f"{p.src}/backup.zip", os.urandom(300_000))
    put(f"{p.src}/photo.jpg", os.urandom(90_000))
    p.daemon.flush()
    check(not os.path.exists(f"{p.dests[0]}/backup.zip"), "it was sent")
    p.daemon.ask("status").prints("over max-size, left alone: backup.zip")
    put(f"{p.src}/photo.jpg", os.urandom(200_000))  # what is there of it stays
    p.daemon.flush()
    check_equal(os.path.getsize(f"{p.dests[0]}/photo.jpg"), 90_000)
    with open(f"{p.src}/backup.zip", "r+b") as f:
        f.truncate(1000)
    os.unlink(f"{p.src}/photo.jpg")
    p.flushed()
    check("left alone" not in p.daemon.ask("status").out, "still listed")
    p.daemon.stop()


@case
def test_an_upload_and_its_directory_are_one_commit(env):
    """The upload changed the directory's time. It does not wait for a commit of that."""
    p = Pair(env, 1)
    put(f"{p.src}/uploads/first.jpg", os.urandom(1000))
    p.flushed()

    def batches():
        return p.daemon.status()["secondaries"][0]["batches"]

    before = batches()
    p.daemon.ask("pause", "example.com")
    put(f"{p.src}/uploads/large.jpg", os.urandom(100000))
    wait_for(lambda: p.daemon.status()["sites"][0]["secondaries"][0]["owed_paths"] == 2, "both owed")
    p.daemon.ask("resume", "example.com")
    p.flushed()
    check_equal(batches() - before, 1, "batches")


if __name__ == "__main__":
    main()
