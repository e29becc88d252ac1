"""What a resync costs, in bytes on the wire, round trips and system calls: small trees, no times, so that a
regression of any of them fails wherever the tests run. Limits are a little above what was seen; whoever
lowers a cost lowers its limit.
"""

import collections
import fcntl
import glob
import os
import random
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from grove import Grove  # noqa: E402 (the paths come first)
from harness import MIRRORD, SANITIZED, Skip, case, check, main, read_text, wait_for  # noqa: E402
from pair import Pair  # noqa: E402
from relay import Relay  # noqa: E402
from trees import check_same, put  # noqa: E402

FILES = 1000


class Costs:
    """A tree of 1,000 files in 10 directories, and its copy through a counting proxy."""

    def __init__(self, env, per_directory=100, rate=0):
        self.env, self.src, self.dest = env, env.path("src"), env.path("dest")
        self.paths = Grove(self.src).small_files(FILES, per_directory)
        self.proxy = Relay((env.sshd.address, env.sshd.port), rate=rate)
        with open(f"{env.sshd.host_key}.pub") as f:
            kind, key = f.read().split()[:2]
        with open(env.known_hosts, "a") as f:
            f.write(f"[127.0.0.1]:{self.proxy.port} {kind} {key}\n")

    def resync(self, *options):
        self.proxy.reset()
        self.env.resync(self.src, self.dest, *options, "-p", str(self.proxy.port))
        check_same(self.src, self.dest)
        return self.proxy

    def level(self):
        """Until both ends believe what they remember: no entry is so young that it is read again."""
        self.resync()
        time.sleep(0.05)
        self.resync()

    def limit(self, what, got, most):
        print(f"# {what}: {got}, limit {most}")
        check(got <= most, f"{what}: {got}, more than {most}")


@case
def test_a_level_tree(env):
    """Its size does not matter: only digests of the root travel."""
    costs = Costs(env)
    costs.level()
    link = costs.resync()
    costs.limit("bytes", link.up + link.down, 5500)
    costs.limit("round trips", link.turns, 18)


@case
def test_a_level_tree_that_nobody_remembers(env):
    costs = Costs(env)
    costs.level()
    for name in ("state", "state-far"):
        shutil.rmtree(env.path(name))
    link = costs.resync()
    costs.limit("bytes", link.up + link.down, 5500)
    costs.limit("round trips", link.turns, 18)


@case
def test_a_first_copy(env):
    """Small files travel packed together, path and owner included; nothing is asked for each."""
    costs = Costs(env)
    link = costs.resync()
    content = sum(os.path.getsize(f"{costs.src}/{p}") for p in costs.paths)
    costs.limit("bytes up", link.up, content * 27 // 100 + 100 * FILES)
    costs.limit("bytes down", link.down, 12000)


def change_few(costs):
    """Ten files in ten directories of a hundred. How many bytes they have."""
    changed = costs.paths[50::100]
    for path in changed:
        with open(f"{costs.src}/{path}", "ab") as f:
            f.write(b"// changed\n")
    return sum(os.path.getsize(f"{costs.src}/{p}") for p in changed)


@case
def test_few_changes(env):
    """The far end has what was here before: nothing is listed, and only what changed travels."""
    costs = Costs(env)
    costs.level()
    content = change_few(costs)
    link = costs.resync()
    costs.limit("bytes up", link.up, content * 28 // 100 + 3500)
    costs.limit("bytes down", link.down, 4500)
    costs.limit("round trips", link.turns, 20)


@case
def test_few_changes_that_another_run_found(env):
    """What the far end has is not known: of each directory that differs the part is listed that does."""
    costs = Costs(env)
    costs.level()
    content = change_few(costs)
    env.resync(costs.src, costs.dest, "--dry-run", "-p", str(costs.proxy.port))
    link = costs.resync()
    costs.limit("bytes up", link.up, content * 28 // 100 + 10 * 500 + 2500)
    costs.limit("bytes down", link.down, 3000 + 10 * 600)
    costs.limit("round trips", link.turns, 24)


def large_file_that_changed(env, before_each, edits, insertion):
    """16 MiB, ten edits of 100 bytes, an insertion of 50,000; limits of each: bytes up, bytes down, turns."""
    costs = Costs(env)
    path, rng = f"{costs.src}/large", random.Random(5)

    def cost(what, limits):
        before_each()
        link = costs.resync("--compress", "none")
        for kind, got, most in zip(("bytes up", "bytes down", "round trips"), (link.up, link.down, link.turns), limits):
            costs.limit(f"{what}: {kind}", got, most)

    with open(path, "wb") as f:
        f.write(rng.randbytes(16 << 20))
    costs.level()
    with open(path, "r+b") as f:
        for i in range(10):
            f.seek((i + 1) * 1500000)
            f.write(rng.randbytes(100))
    cost("ten edits", edits)
    with open(path, "r+b") as f:
        content = f.read()
        f.seek(0)
        f.write(content[:7000001] + rng.randbytes(50000) + content[7000001:])
    cost("an insertion", insertion)


@case
def test_a_large_file_that_changed(env):
    """24 bytes an extent and a signature of 4 KiB a gap come back; what is new and about a block a gap go out."""
    def forget():
        shutil.rmtree(os.path.dirname(glob.glob(env.path("state", "roots", "*", "outlines", "*"))[0]))
    large_file_that_changed(env, forget, (10 * 2200 + 4000, 1600 + 10 * 4300 + 4000, 30),
                            (50000 + 2200 + 4000, 1600 + 4300 + 4000, 24))


@case
def test_a_large_file_that_the_last_run_sent(env):
    """Nothing is asked: a block of 4 KiB goes out for each edit, and nothing but the ACK comes back."""
    large_file_that_changed(env, lambda: None, (10 * 4200 + 4000, 4000, 16), (50000 + 8200 + 4000, 4000, 16))


@case
def test_a_large_file_that_the_daemon_knows(env):
    """64 MiB. The first edit since the daemon started is asked about: what is there, and the signature of the part
    that changed. From then on an edit goes without a question, and nothing but the ACK comes back."""
    proxy, path, rng = Relay((env.sshd.address, env.sshd.port)), env.path("src/large"), random.Random(6)
    with open(f"{env.sshd.host_key}.pub") as f:
        kind, key = f.read().split()[:2]
    with open(env.known_hosts, "a") as f:
        f.write(f"[127.0.0.1]:{proxy.port} {kind} {key}\n")
    p = Pair(env, 1, fill=lambda src: put(path, rng.randbytes(64 << 20)), ports={"web2": proxy.port})
    p.flushed()
    p.daemon.stop()
    p.restart()
    p.flushed()

    def edit(at):
        proxy.reset()
        with open(path, "r+b") as f:
            f.seek(at)
            f.write(rng.randbytes(100))
        p.flushed()
        return proxy.turns, proxy.up, proxy.down

    turns, up, down = edit(1000)
    print(f"# asked: {turns} round trips, {up} bytes up, {down} down")
    check(down > 256 * 24, "it was not asked about what is there")
    for at in (40 << 20, 20000001):
        turns, up, down = edit(at)
        print(f"# known: {turns} round trips, {up} bytes up, {down} down")
        check(turns <= 4, f"{turns} round trips, more than 4")
        check(up <= 8000, f"{up} bytes up, more than 8000")
        check(down <= 1500, f"{down} bytes down, more than 1500")
    p.daemon.stop()
    proxy.close()


@case(sshd=False)
def test_room_before_the_receiver(env):
    """What sshd hands over must not be waited for every 64 KiB."""
    r, w = os.pipe()
    dest = env.path("dest")
    os.mkdir(dest)
    receiver = env.spawn([MIRRORD, "receive", "--root", dest, "--state-dir", env.path("state")], stdin=r,
                         stdout=subprocess.DEVNULL)
    os.close(r)
    wait_for(lambda: fcntl.fcntl(w, fcntl.F_GETPIPE_SZ) == 1 << 20, "the pipe is a large one")
    os.close(w)
    receiver.wait()


@case
def test_content_that_halves(env):
    """As fonts do: 128 KiB of it do not shrink to one frame, and go as two."""
    costs = Costs(env)
    costs.level()
    put(f"{costs.src}/digits", random.Random(1).randbytes(2 << 20).hex().encode())
    link = costs.resync()
    costs.limit("bytes up", link.up, (4 << 20) * 53 // 100 + 3500)


# System calls ------------------------------------------------------------------------------------

def calls_of(path):
    """{name: calls} of a trace. Not of strace -c, which leaves out calls that it does not know by name."""
    return collections.Counter(re.findall(r"^\d+ +(\w+)\(", read_text(path), re.MULTILINE))


def traced(costs, *options):
    """A resync with both ends traced: the system calls of each, a file."""
    env, near, far = costs.env, costs.env.path("near.calls"), costs.env.path("far.calls")
    state = env.path("state-far")
    remote = env.far_end("traced", f"exec strace -f -s 0 -o '{far}' '{MIRRORD}' \"$@\" --state-dir '{state}'")
    env.run("strace", "-f", "-s", "0", "-o", near, MIRRORD, "resync", *env.link_options(remote=remote), *options, costs.src,
            env.at(costs.dest))
    check_same(costs.src, costs.dest)
    return calls_of(near), calls_of(far)


def need_strace(env):
    if SANITIZED:
        raise Skip("sanitizers make system calls of their own")
    if not shutil.which("strace"):
        raise Skip("there is no strace")
    if env.run("strace", "-c", "-o", "/dev/null", "true", code=None).code:
        raise Skip("processes cannot be traced here")


def limit_calls(costs, what, calls, most):
    """A file, start and end of the process left aside: they take less than FIXED."""
    fixed = 1000
    per_file = (sum(calls.values()) - fixed) / FILES
    print(f"# {what}: {sum(calls.values())} calls: "
          f"{', '.join(f'{k} {v}' for k, v in sorted(calls.items(), key=lambda i: -i[1])[:8])}")
    check(per_file <= most, f"{what}: {per_file:.2f} calls a file, more than {most}: {calls}")


@case
def test_calls_for_a_level_tree(env):
    need_strace(env)
    costs = Costs(env)
    costs.level()
    near, far = traced(costs)
    limit_calls(costs, "near", near, 1.2)
    limit_calls(costs, "far", far, 1.2)


@case
def test_calls_for_reading_everything(env):
    """statx, open, two probes, read, fstat, close."""
    need_strace(env)
    costs = Costs(env)
    costs.level()
    near, far = traced(costs, "--checksum")
    limit_calls(costs, "near", near, 9.5)
    limit_calls(costs, "far", far, 9.5)


@case
def test_calls_for_a_first_copy(env):
    """Near: stat, the ACL, open, two probes, read, fstat, close: what the walk has seen is not looked at again. Far: open, write, times, fstat, close.
    How often the link is served, and a directory opened anew, depends on the machine: not counted."""
    need_strace(env)
    costs = Costs(env)
    of_link = ("recvfrom", "sendto", "poll", "read", "getpid", "openat2", "close", "futex")
    near, far = ({k: n for k, n in calls.items() if k not in of_link} for calls in traced(costs))
    near.pop("write", None)  # threads that wake each other
    limit_calls(costs, "near", near, 8.4)
    limit_calls(costs, "far", far, 4)


@case
def test_a_slow_link_is_waited_for_asleep(env):
    """Packed content is ready long before the link takes it."""
    need_strace(env)
    costs = Costs(env, rate=16 << 20)
    put(f"{costs.src}/digits", random.Random(1).randbytes(16 << 20).hex().encode())
    trace = env.path("near.polls")
    env.run("strace", "-f", "-o", trace, "-e", "trace=poll", MIRRORD, "resync", *env.link_options(),
            "-p", str(costs.proxy.port), costs.src, env.at(costs.dest))
    check_same(costs.src, costs.dest)
    polls = calls_of(trace)["poll"]
    print(f"# {costs.proxy.up} bytes up, {polls} polls")
    check(costs.proxy.up >= 16 << 20, "the content is too small to be waited for")
    check(polls <= 2000, f"{polls} polls, the loop does not sleep")


@case
def test_what_several_are_owed_is_read_once(env):
    """Three secondaries make the primary read hardly more than one would (1.1 times the content), unless one of them
    begins late, on a busy machine. Each for itself they would read all of it, three times."""
    p = Pair(env, 3)
    p.daemon.ask("pause", "example.com")
    p.daemon.stop()
    paths = Grove(f"{p.src}/many").small_files(3 * FILES)
    content = sum(os.path.getsize(os.path.join(f"{p.src}/many", path)) for path in paths)
    p.restart()

    def owed():
        return [s["owed_paths"] for s in p.daemon.status()["sites"][0]["secondaries"]]

    def read():
        with open(f"/proc/{p.daemon.process.pid}/io") as f:
            return int(re.search(r"rchar: (\d+)", f.read())[1])

    wait_for(lambda: min(owed()) > 0, lambda: f"it is owed: {owed()}", 60)
    before = read()
    p.daemon.ask("resume", "example.com")
    p.flushed()
    share = (read() - before) / content
    print(f"# {share:.2f} times the content was read, for three secondaries")
    check(0.9 <= share <= 2.3, f"the content was read {share:.2f} times")


if __name__ == "__main__":
    main()
