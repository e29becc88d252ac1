"""`mirrord resync SRC HOST:DEST`: every kind of entry, every option, and what it refuses."""

import ctypes
import os
import pty
import re
import shutil
import socket
import stat
import struct
import subprocess

from harness import MIRRORD, ROOT, SANITIZED, Skip, case, check, check_equal, main, wait_for, write_text
from pair import site_text
from trees import (WordPress, check_same, differences, inodes, put, remove, rsync_differences,
                   set_mtime, snapshot)

IN_ACCESS = 1
libc = ctypes.CDLL(None, use_errno=True)


def places(env):
    """SRC, made, and DEST, not made."""
    src, dest = env.path("src"), env.path("dest")
    os.mkdir(src)
    return src, dest


def level(env, src, dest, *options, **more):
    """Resyncs and compares; what it says goes back."""
    out = env.resync_json(src, dest, *options, **more)
    check_same(src, dest)
    return out


def check_counts(said, **wanted):
    check_equal({k: said["files"][k] for k in wanted}, wanted, f"files of {said}")


@case
def test_files_and_directories(env):
    src, dest = places(env)
    put(f"{src}/empty", b"")
    put(f"{src}/one", b"1", 0o600)
    put(f"{src}/page", b"x" * 4096, 0o444)
    put(f"{src}/frame", os.urandom(65536), 0o755)
    put(f"{src}/several frames", os.urandom(300001), 0o640)
    put(f"{src}/large", os.urandom(20 << 20))
    os.makedirs(f"{src}/empty dir/below")
    os.makedirs(f"{src}/closed", 0o700)
    put(f"{src}/closed/in", b"in", 0o000)
    os.chmod(f"{src}/empty dir", 0o2775)
    os.mkdir(f"{src}/sticky")
    os.chmod(f"{src}/sticky", 0o1777)
    said = level(env, src, dest)
    check_counts(said, created=7, updated=0, deleted=0, moved=0)
    check(said["bytes"]["literal"] >= 20 << 20, said)
    check_equal(said["bytes"]["tree"], (20 << 20) + 300001 + 65536 + 4096 + 1 + 2, "bytes in all")
    check_equal(said["errors"], [], "errors")


@case
def test_times_to_the_nanosecond(env):
    src, dest = places(env)
    put(f"{src}/d/file", b"x", mtime_ns=1234567890_123456789)
    put(f"{src}/old", b"x", mtime_ns=1)
    put(f"{src}/before 1970", b"x", mtime_ns=-1_500000001)
    put(f"{src}/future", b"x", mtime_ns=4102444800_999999999)
    os.symlink("file", f"{src}/d/link")
    set_mtime(f"{src}/d/link", 1111111111_222222222)
    set_mtime(f"{src}/d", 1000000000_000000007)
    set_mtime(src, 1000000001_000000009)
    level(env, src, dest)
    put(f"{src}/d/file", b"y", mtime_ns=1234567890_123456789)
    set_mtime(f"{src}/d", 1000000000_000000008)
    set_mtime(f"{src}/d/link", 1111111111_222222223)
    level(env, src, dest)


@case
def test_links(env):
    src, dest = places(env)
    put(f"{src}/dir/file", b"content")
    outside = put(env.path("outside"), b"outside").decode()
    for name, target in (("dangling", "no/where"), ("absolute", outside), ("self", "self"),
                         ("loop", "dir/up"), ("dir/up", "../loop"), ("to dir", "dir"),
                         ("out", "../../../.."), ("long", "x" * 4000), (b"bytes", b"\xff\n\x01")):
        os.symlink(target, os.path.join(os.fsencode(src), os.fsencode(name)))
    level(env, src, dest)
    os.unlink(f"{src}/dangling")
    os.symlink("else/where", f"{src}/dangling")
    level(env, src, dest)
    with open(outside, "rb") as f:
        check_equal(f.read(), b"outside", "the link's target")


@case
def test_hard_links_become_files(env):
    src, dest = places(env)
    put(f"{src}/a", b"shared")
    os.link(f"{src}/a", f"{src}/b")
    level(env, src, dest)
    check_equal(os.stat(f"{dest}/a").st_nlink, 1, "links of the copy")


@case
def test_names_are_bytes(env):
    src, dest = places(env)
    names = [b"new\nline", b"not \xff\xfe utf-8", b"-rf", b"--delete", b"x" * 255,
             b"\xc3\xa4" * 127, b" ", b"*",
             b"a'b\"c$d`e\\f", b"\x01\x7f", b"...", b"con", b"back\\slash", b"#",
             b"\t"]
    for i, name in enumerate(names):
        put(os.path.join(os.fsencode(src), name), b"%d" % i)
        put(os.path.join(os.fsencode(src), b"dirs", name, b"-f"), b"%d" % i)
    said = level(env, src, dest)
    check_counts(said, created=2 * len(names))
    remove(f"{src}/dirs")
    check_counts(level(env, src, dest, "--adopt", "--force"), deleted=len(names))


@case
def test_dest_names_that_need_quoting(env):
    src, dest = places(env)
    put(f"{src}/f", b"x")
    for name in (" space in $HOME `it` 'here' \"there\"", "new\nline", "größe", "-n"):
        level(env, src, os.path.join(os.path.dirname(dest), name))


@case
def test_paths_longer_than_path_max(env):
    src, dest = places(env)
    fd = os.open(src, os.O_RDONLY)
    for i in range(20):
        name = b"%02d" % i + b"d" * 248
        os.mkdir(name, dir_fd=fd)
        sub = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = sub
        file = os.open(b"file", os.O_WRONLY | os.O_CREAT, 0o644, dir_fd=fd)
        os.write(file, b"at depth %d" % i)
        os.close(file)
    os.symlink(b"file", b"link", dir_fd=fd)
    check(max(map(len, snapshot(src))) > 5000, "the tree is not deep enough")
    level(env, src, dest)
    with open(os.open(b"file", os.O_WRONLY, dir_fd=fd), "wb") as f:
        f.write(b"changed at the bottom")
    os.close(fd)
    check_counts(level(env, src, dest), updated=1)
    remove(f"{src}/{'00' + 'd' * 248}")
    level(env, src, dest, "--force")


@case
def test_owners(env):
    if not ROOT:
        raise Skip("needs root")
    src, dest = places(env)
    put(f"{src}/www", b"x")
    put(f"{src}/d/mixed", b"x")
    os.chown(f"{src}/www", 33, 33)
    os.chown(f"{src}/d/mixed", 1, 33)
    os.chown(f"{src}/d", 33, 0)
    os.symlink("www", f"{src}/link")
    os.chown(f"{src}/link", 33, 33, follow_symlinks=False)
    level(env, src, dest)
    level(env, src, dest)
    os.chown(f"{src}/www", 0, 33)
    os.chown(f"{src}/link", 0, 0, follow_symlinks=False)
    said = level(env, src, dest)
    check_equal(said["bytes"]["literal"], 0, "content sent for a change of owner")


@case
def test_an_owner_without_a_name_is_an_error_of_that_path(env):
    if not ROOT:
        raise Skip("needs root")
    src, dest = places(env)
    put(f"{src}/nobody knows", b"x")
    put(f"{src}/fine", b"y")
    os.chown(f"{src}/nobody knows", 54321, 54321)
    r = env.resync(src, dest, "--json", code=3)
    said = r.json()
    check(any("nobody knows" in e["path"] for e in said["errors"]), r)
    check(os.path.exists(f"{dest}/fine") and not os.path.exists(f"{dest}/nobody knows"), r)


@case
def test_acls(env):
    src, dest = places(env)
    put(f"{src}/file", b"x")
    put(f"{src}/dir/inherits", b"x")
    for args in (["-m", "u:daemon:rw,g:games:r", "file"], ["-m", "u:daemon:rwx", "dir"],
                 ["-d", "-m", "g:games:rx", "dir"]):
        p = subprocess.run(["setfacl", *args], cwd=src, capture_output=True)
        if b"not supported" in p.stderr:
            raise Skip("no ACLs on this filesystem")
        check_equal(p.returncode, 0, p.stderr)
    put(f"{src}/dir/made after", b"y")
    level(env, src, dest)
    check(snapshot(dest)[b"dir"]["acl"][1], "the default ACL is not there")
    subprocess.run(["setfacl", "-b", "file"], cwd=src, check=True)
    subprocess.run(["setfacl", "-k", "dir"], cwd=src, check=True)
    level(env, src, dest)


@case
def test_setuid_is_dropped_on_files(env):
    src, dest = places(env)
    put(f"{src}/suid", b"x", 0o6755)
    env.resync(src, dest)
    check_equal(stat.S_IMODE(os.stat(f"{dest}/suid").st_mode), 0o755, "mode")
    check_counts(env.resync_json(src, dest), created=0, updated=0)


@case
def test_type_changes(env):
    """Each kind becomes each other kind."""
    src, dest = places(env)
    make = {"file": lambda p: put(p, b"file"), "link": lambda p: os.symlink("elsewhere", p),
            "dir": lambda p: put(f"{p}/below/file", b"in dir"), "empty": os.mkdir,
            "nothing": lambda p: None}
    for old in make:
        for new in make:
            make[old](f"{src}/{old} to {new}")
    level(env, src, dest)
    for old in make:
        for new in make:
            if old != new:
                remove(f"{src}/{old} to {new}")
                make[new](f"{src}/{old} to {new}")
    level(env, src, dest, "--force")


@case
def test_deletions(env):
    src, dest = places(env)
    for i in range(30):
        put(f"{src}/d{i % 3}/sub/f{i}", b"%d" % i)
    os.symlink("x", f"{src}/d0/link")
    os.mkdir(f"{src}/d1/empty")
    level(env, src, dest)
    remove(f"{src}/d0")
    os.unlink(f"{src}/d1/sub/f1")
    os.rmdir(f"{src}/d1/empty")
    check_counts(level(env, src, dest), deleted=12, created=0, updated=0)


@case
def test_special_files_are_skipped_and_counted(env):
    src, dest = places(env)
    put(f"{src}/file", b"x")
    os.mkfifo(f"{src}/fifo")
    s = socket.socket(socket.AF_UNIX)
    s.bind(f"{src}/socket")
    s.close()
    special = 2
    if ROOT:
        try:
            os.mknod(f"{src}/device", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
            special += 1
        except PermissionError:
            pass
    said = level(env, src, dest)
    check_equal(said["files"]["skipped"], special, "skipped")
    r = env.resync(src, dest, "-v")
    for name in ("fifo", "socket"):
        check(name in r.err + r.out, f"{name} is not named with -v\n{r}")


@case
def test_dest_is_created_beneath_its_parent(env):
    src, dest = places(env)
    put(f"{src}/f", b"x")
    os.chmod(src, 0o751)
    check(not os.path.exists(dest))
    level(env, src, dest)
    r = env.resync(src, env.path("missing", "dest"), code=None)
    check(r.code in (1, 2), r)
    check(not os.path.exists(env.path("missing")), "the parent was made")
    r.says("missing")


@case
def test_a_relative_dest_is_the_far_ends_to_resolve(env):
    src, _ = places(env)
    put(f"{src}/f", b"x")
    remote = env.far_end("cwd", f"cd '{env.dir}' && exec '{env.remote}' \"$@\"")
    env.resync(src, "relative", remote=remote)
    check_same(src, env.path("relative"))


@case
def test_an_empty_source_and_an_empty_dest(env):
    src, dest = places(env)
    os.mkdir(dest)
    check_counts(level(env, src, dest), created=0, deleted=0)


@case
def test_a_slash_at_the_end_means_the_same(env):
    src, dest = places(env)
    put(f"{src}/f", b"x")
    env.resync(src + "/", dest + "/")
    check_same(src, dest)
    check_counts(env.resync_json(src + "/", dest), created=0, updated=0)
    check_counts(env.resync_json(src, dest + "/"), created=0, updated=0)


@case
def test_the_second_run_sends_nothing(env):
    src, dest = places(env)
    WordPress(src, 500)
    level(env, src, dest)
    before = inodes(dest)
    said = level(env, src, dest)
    examined = sum(e["type"] != "directory" for e in snapshot(src).values())
    check_counts(said, created=0, updated=0, deleted=0, moved=0, examined=examined)
    check_equal(said["bytes"]["literal"], 0, "literal bytes")
    check(said["bytes"]["sent"] < 4096, "bytes sent for nothing:", said)
    check_equal(inodes(dest), before, "inodes")


@case
def test_a_new_manifest_on_both_sides_sends_nothing(env):
    src, dest = places(env)
    WordPress(src, 300)
    level(env, src, dest)
    before = inodes(dest)
    for state in ("state", "state-far"):
        shutil.rmtree(env.path(state, "roots"))
    said = level(env, src, dest, "--adopt")
    check_equal(said["bytes"]["literal"], 0, "literal bytes")
    check_equal(inodes(dest), before, "inodes")


@case
def test_metadata_alone_is_not_content(env):
    src, dest = places(env)
    put(f"{src}/f", os.urandom(100000), 0o644)
    level(env, src, dest)
    os.chmod(f"{src}/f", 0o600)
    set_mtime(f"{src}/f", 1600000000_000000001)
    said = level(env, src, dest)
    check_counts(said, updated=1, created=0)
    check_equal(said["bytes"]["literal"], 0, "literal bytes")


@case
def test_equal_size_and_mtime_do_not_hide_a_change(env):
    """Content is compared by digest wherever one is known."""
    src, dest = places(env)
    put(f"{src}/f", b"old content", mtime_ns=1600000000_000000000)
    level(env, src, dest)
    put(f"{src}/f", b"new content", mtime_ns=1600000000_000000000)
    level(env, src, dest)
    put(f"{dest}/f", b"far content", mtime_ns=1600000000_000000000)
    level(env, src, dest)


@case
def test_drift_on_the_far_side_is_repaired(env):
    src, dest = places(env)
    for i in range(20):
        put(f"{src}/d/f{i}", b"%d" % i)
    level(env, src, dest)
    put(f"{dest}/d/f1", b"changed there")
    os.unlink(f"{dest}/d/f2")
    os.chmod(f"{dest}/d/f3", 0o600)
    put(f"{dest}/d/extra", b"made there")
    os.chmod(f"{dest}/d", 0o700)
    level(env, src, dest)


@case
def test_moves_are_not_sent_again(env):
    src, dest = places(env)
    for i in range(20):
        put(f"{src}/uploads/f{i}", os.urandom(50000))
    level(env, src, dest)
    level(env, src, dest)  # what was too young to be sure of the first time
    os.rename(f"{src}/uploads", f"{src}/renamed")
    said = level(env, src, dest)
    check_counts(said, moved=1, created=0, deleted=0)
    check_equal(said["bytes"]["literal"], 0, f"literal bytes in {said}")
    os.rename(f"{src}/renamed/f1", f"{src}/f1")
    said = level(env, src, dest)
    check_equal(said["bytes"]["literal"], 0, f"literal bytes in {said}")


@case
def test_a_large_directory_with_few_changes(env):
    """Only the part of it that differs is listed: each kind of difference is found all the same."""
    src, dest = env.path("src"), env.path("dest")
    for i in range(3000):
        put(f"{src}/large/f{i}", b"%d" % i)
        if i % 10 == 0:
            put(f"{src}/large/d{i}/f", b"%d" % i)
    env.resync(src, dest)
    put(f"{src}/large/f17", b"changed")
    put(f"{src}/large/new", b"new")
    put(f"{src}/large/d100/f", b"changed")
    os.unlink(f"{src}/large/f2000")
    remove(f"{src}/large/d2990")
    os.unlink(f"{src}/large/f99")
    os.mkdir(f"{src}/large/f99")
    put(f"{dest}/large/drift", b"not from here")
    os.unlink(f"{dest}/large/f1234")
    os.chmod(f"{dest}/large/f77", 0o600)
    env.resync(src, dest)
    check_same(src, dest)


def who_reads(paths, work):
    """Those of the files that are read meanwhile."""
    fd = libc.inotify_init1(os.O_NONBLOCK)
    marks = {libc.inotify_add_watch(fd, os.fsencode(path), IN_ACCESS): path for path in paths}
    try:
        work()
        events = os.read(fd, 1 << 16)
    except BlockingIOError:
        events = b""
    finally:
        os.close(fd)
    check_equal(len(marks), len(paths), "watches")
    return {marks[wd] for wd, *_ in struct.iter_unpack("iIII", events)}


@case
def test_checksum_reads_everything(env):
    """What no stat shows is found by reading, at both ends; else nothing that is known is read."""
    src, dest = places(env)
    put(f"{src}/f", b"a" * 5000, mtime_ns=1600000000_000000000)
    level(env, src, dest)
    both = [f"{src}/f", f"{dest}/f"]
    wait_for(lambda: not who_reads(both, lambda: env.resync(src, dest)), "their validators prove them")
    check_equal(who_reads(both, lambda: env.resync(src, dest, "--checksum")), set(both), "read")
    check_equal(who_reads(both, lambda: env.resync(src, dest)), set(), "read without it")


@case
def test_content_alone(env):
    """Of the same size, with the same times, in a directory that did not change: at either end."""
    src, dest = places(env)
    times = 1600000000_000000000
    put(f"{src}/d/f", b"aaaa", mtime_ns=times)
    level(env, src, dest)
    for top, content in ((src, b"bbbb"), (dest, b"cccc"), (src, b"dddd")):
        put(f"{top}/d/f", content, mtime_ns=times)
        level(env, src, dest)


@case
def test_dry_run_changes_nothing(env):
    src, dest = places(env)
    put(f"{src}/new", b"x")
    put(f"{src}/same", b"x")
    for i in range(400):  # a directory that is compared by buckets
        put(f"{src}/many{i}", b"")
    env.resync(src, dest, "-n").prints("402 created")
    check(not os.path.exists(dest), "a dry run made DEST")
    level(env, src, dest)
    put(f"{src}/other", b"x")
    put(f"{src}/new", b"changed", 0o600)
    os.unlink(f"{src}/same")
    before = snapshot(dest)
    r = env.resync(src, dest, "-n", "--itemize")
    check_equal(snapshot(dest), before, "DEST after a dry run")
    for name in ("other", "new", "same"):
        check(any(name in line for line in r.out.splitlines()), f"{name} is not listed\n{r}")
    said = env.resync_json(src, dest, "--dry-run")
    check_counts(said, created=1, updated=1, deleted=1)
    check_equal(snapshot(dest), before, "DEST after a dry run")
    check_counts(level(env, src, dest), created=1, updated=1, deleted=1)


@case
def test_itemize_names_each_change(env):
    src, dest = places(env)
    put(f"{src}/a", b"x")
    put(f"{src}/line\nbreak", b"x")
    r = env.resync(src, dest, "--itemize")
    check("a" in r.out and "line\nbreak" not in r.out, f"control bytes are to be escaped\n{r}")
    r = env.resync(src, dest, "--itemize")
    check("break" not in r.out, r)


@case
def test_summary_and_quiet(env):
    src, dest = places(env)
    put(f"{src}/a", b"x" * 1000)
    r = env.resync(src, dest)
    check(r.out.strip(), f"no summary\n{r}")
    check("\r" not in r.out + r.err, f"a progress line without a terminal\n{r}")
    put(f"{src}/b", b"x")
    r = env.resync(src, dest, "-q")
    check_equal((r.out, r.err), ("", ""), "output of -q")


def on_terminal(argv, env):
    """Standard error as a terminal gets it."""
    ours, theirs = pty.openpty()
    p = env.spawn(argv, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    out = b""
    try:
        while piece := os.read(ours, 65536):
            out += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    return p.wait(), out.decode()


@case
def test_progress_on_a_terminal(env):
    src, dest = places(env)
    for i in range(8):
        put(f"{src}/f{i}", os.urandom(100000))
    argv = [os.environ["MIRRORD"], "resync", *env.link_options(), "--bwlimit", "500K", src, env.at(dest)]
    code, out = on_terminal(argv, env)
    check_equal(code, 0, out)
    check(re.search(r"\r.*/8 files .*/0\.8 MB .* MB/s .*left", out), f"no progress line: {out!r}")
    check_same(src, dest)


def put_at(path, size, *pieces):
    """A file of holes, with bytes here and there."""
    with open(path, "ab+") as f:
        f.truncate(size)
    with open(path, "r+b") as f:
        for offset, data in pieces:
            f.seek(offset)
            f.write(data)


@case
def test_holes(env):
    """A disk image: what is nothing here takes no room there, nor on the way."""
    mib = 1 << 20
    src, dest = places(env)
    put_at(f"{src}/image", 40 * mib, (0, os.urandom(100000)), (20 * mib + 123, os.urandom(50000)))
    put_at(f"{src}/nothing", 3 * mib)
    for copy, options in ((dest, []), (f"{dest}-plain", ["--compress", "none"])):
        said = level(env, src, copy, *options)
        check(said["bytes"]["sent"] < 300000, f"more was sent than there is: {said}")
        for name in os.listdir(copy):
            took = os.stat(f"{copy}/{name}").st_blocks * 512
            check(took < mib, f"{name} takes {took} bytes in {copy}")
    put_at(f"{src}/image", 41 * mib, (30 * mib, b"a few bytes"))  # made of the old one
    level(env, src, dest)
    with open(f"{src}/image", "r+b") as f:  # all of it in another place
        data = f.read()
        f.seek(0)
        f.write(data[:50000] + b"inserted" + data[50000:])
    put_at(f"{src}/copy", 3 * mib)
    level(env, src, dest)
    for name in ("image", "nothing", "copy"):
        took = os.stat(f"{dest}/{name}").st_blocks * 512
        check(took < 2 * mib, f"{name} takes {took} bytes")


@case
def test_what_changes_behind_the_walk(env):
    """What the walk found of a file is not looked at again before it is sent, but found out afterwards."""
    src, dest = places(env)
    for i in range(20):
        put(f"{src}/a{i}", os.urandom(40000))
    for i in range(4):
        put(f"{src}/z{i}", b"before")
    set_mtime(f"{src}/z1", 1500000000)
    p = env.spawn([os.environ["MIRRORD"], "resync", *env.link_options(), "--bwlimit", "1M", src, env.at(dest)])
    wait_for(lambda: os.path.isdir(dest), "the walks are over and the first files on their way")
    os.chmod(f"{src}/z0", 0o600)
    with open(f"{src}/z1", "r+b") as f:
        f.write(b"behind")
    set_mtime(f"{src}/z1", 1500000000)
    os.unlink(f"{src}/z2")
    os.unlink(f"{src}/z3")
    os.mkdir(f"{src}/z3")
    check(p.wait() in (0, 3), "the resync failed")
    level(env, src, dest)


@case
def test_first_contact_with_a_tree_that_would_lose_something(env):
    src, dest = places(env)
    put(f"{src}/a", b"x")
    put(f"{dest}/theirs", b"precious")
    r = env.resync(src, dest, code=5)
    r.says("theirs", "--adopt", r"\b1\b")
    check_equal(sorted(os.listdir(dest)), ["theirs"], "DEST after the refusal")
    r = env.resync(src, dest, "-n", "--itemize")  # what it would be, to look at first
    check("delete theirs" in r.out and "create a" in r.out and "--adopt" in r.err, r)
    check_equal(sorted(os.listdir(dest)), ["theirs"], "DEST after the dry run")
    env.resync(src, dest, "--adopt")
    check_same(src, dest)
    kept = subprocess.run(["grep", "-rl", "precious", env.dir], capture_output=True, text=True)
    check(kept.stdout.strip(), "what mirrord did not put there is to be set aside, not destroyed")


@case
def test_first_contact_with_a_copy_inside(env):
    """DEST/src: rsync's habit without the slash."""
    src, dest = places(env)
    put(f"{src}/a", b"x")
    put(f"{dest}/src/a", b"x")
    before = snapshot(dest)
    env.resync(src, dest, "--no-delete", code=5).says("src", "--adopt")
    check_equal(snapshot(dest), before, "DEST after the refusal")


@case
def test_first_contact_with_a_newer_tree(env):
    src, dest = places(env)
    for i in range(5):
        put(f"{src}/f{i}", b"old", mtime_ns=1500000000_000000000)
        put(f"{dest}/f{i}", b"newer", mtime_ns=1600000000_000000000)
    before = snapshot(dest)
    env.resync(src, dest, code=5).says("newer", "--adopt")
    check_equal(snapshot(dest), before, "DEST after the refusal")
    env.resync(src, dest, "--adopt")
    check_same(src, dest)


@case
def test_first_contact_with_what_rsync_left(env):
    """Equal or older, nothing to delete: goes through and sends what differs only."""
    src, dest = places(env)
    WordPress(src, 200)
    subprocess.run(["cp", "-a", src, dest], check=True)
    put(f"{src}/wp-config.php", b"changed")
    said = level(env, src, dest)
    check(said["bytes"]["literal"] < 1000, said)


@case
def test_no_delete(env):
    src, dest = places(env)
    put(f"{src}/a", b"x")
    put(f"{src}/b", b"x")
    env.resync(src, dest)
    os.unlink(f"{src}/a")
    put(f"{src}/b", b"y")
    check_counts(env.resync_json(src, dest, "--no-delete"), deleted=0, updated=1)
    found = differences(snapshot(src), snapshot(dest), lambda p: p == b"")
    check_equal(len(found), 1, found)
    check(os.path.exists(f"{dest}/a"))
    level(env, src, dest)


@case
def test_exclude(env):
    src, dest = places(env)
    for name in ("keep", "cache/a", "sub/cache/b", "x.log", "sub/y.log", "anchored",
                 "sub/anchored"):
        put(f"{src}/{name}", b"x")
    put(f"{dest}/cache/theirs", b"x")
    options = ["--exclude", "/cache/", "--exclude", "*.log", "--exclude", "/anchored"]
    env.resync(src, dest, *options)
    for name in ("keep", "sub/cache/b", "sub/anchored", "cache/theirs"):
        check(os.path.exists(f"{dest}/{name}"), name, "is not there")
    for name in ("cache/a", "x.log", "sub/y.log", "anchored"):
        check(not os.path.exists(f"{dest}/{name}"), name, "is there")
    check_counts(env.resync_json(src, dest, *options), created=0, updated=0, deleted=0)


@case
def test_preset_wordpress(env):
    src, dest = places(env)
    for name in (".maintenance", "wp-content/upgrade/x/f", "wp-content/cache/f",
                 "wp-content/debug.log", ".git/HEAD", "wp-content/plugins/p/cache/f",
                 "wp-content/object-cache.php"):
        put(f"{src}/{name}", b"x")
    env.resync(src, dest, "--preset", "wordpress")
    there = {p.decode() for p, e in snapshot(dest).items() if e["type"] == "file"}
    check_equal(there, {"wp-content/plugins/p/cache/f", "wp-content/object-cache.php"}, "there")


@case
def test_max_delete_holds_until_forced(env):
    src, dest = places(env)
    for i in range(600):
        put(f"{src}/d{i % 6}/f{i}", b"%d" % i)
    level(env, src, dest)
    before = snapshot(dest)
    for i in range(3):
        remove(f"{src}/d{i}")
    env.resync(src, dest, code=5).says("--force", "30[0-9]")
    check_equal(snapshot(dest), before, "DEST after the refusal")
    env.resync(src, dest, "--max-delete", "10", code=5)
    level(env, src, dest, "--force")
    remove(f"{src}/d3")
    level(env, src, dest, "--max-delete", "80%")


@case
def test_rsync_options_are_accepted(env):
    src, dest = places(env)
    put(f"{src}/a", b"x")
    env.resync(src, dest, "-a", "-z", "--delete", "--stats")
    check_same(src, dest)
    put(f"{src}/b", b"x")
    env.resync(src, dest, "-az", "--compress", "none")
    check_same(src, dest)


@case
def test_compression_and_limits_of_rate(env):
    src, dest = places(env)
    put(f"{src}/text", b"the same words again and again\n" * 100000)
    said = level(env, src, dest, "--compress", "zstd")
    check(said["bytes"]["sent"] < 1000000, "not compressed:", said)
    put(f"{src}/more", os.urandom(200000))
    level(env, src, dest, "--bwlimit", "1M")


@case
def test_two_at_once_on_one_root(env):
    """One waits briefly, then says who holds it; or both succeed one after the other. Which of them is
    first is a matter of load."""
    src, dest = places(env)
    WordPress(src, 300)
    first = env.spawn([os.environ["MIRRORD"], "resync", *env.link_options(), src, env.at(dest)])
    r = env.resync(src, dest, code=None)
    check(r.code in (0, 6), r)
    if r.code == 6:
        r.says(str(first.pid))
    codes = sorted((r.code, first.wait(120)))
    check(codes in ([0, 0], [0, 6]), f"exit codes {codes}")
    check_same(src, dest)


@case
def test_sites_of_a_configuration(env):
    for i in (1, 2):
        put(env.path(f"site{i}", "f"), b"%d" % i)
        os.mkdir(env.path(f"far{i}"))
    config = env.config("".join(
        site_text(f"s{i}", env.path(f"site{i}"), [env.path(f"far{i}", n) for n in "23"])
        for i in (1, 2)))
    env.mirrord("resync", "-c", config, "--as", "web1", "s1", "web2")
    check_same(env.path("site1"), env.path("far1", "2"))
    made = [n for d in ("far1", "far2") for n in os.listdir(env.path(d)) if n[0] != "."]
    check_equal(made, ["2"], "made")
    env.mirrord("resync", "-c", config, "--as", "web1", "s1")
    check_same(env.path("site1"), env.path("far1", "3"))
    env.mirrord("resync", "-c", config, "--as", "web1")
    check_same(env.path("site2"), env.path("far2", "2"))
    check_same(env.path("site2"), env.path("far2", "3"))


@case
def test_a_site_whose_role_cannot_be_read(env):
    """It is no site that is level: the others are made so, and it is named."""
    for i in (1, 2):
        put(env.path(f"site{i}", "f"), b"%d" % i)
        os.mkdir(env.path(f"far{i}"))
    config = env.config("".join(
        site_text(f"s{i}", env.path(f"site{i}"), [env.path(f"far{i}", "2")]) for i in (1, 2)), ("web1", "web2"))
    ask = ("resync", "-c", config, "--as", "web1")
    env.mirrord(*ask)
    env.mirrord("promote", "-c", config, "--as", "web1", "s1")
    epochs = [os.path.join(top, "epoch") for top, _, names in os.walk(env.dir) if "epoch" in names
              and re.search("/site1-[^/]*$", top)]
    check_equal(len(epochs), 1, epochs)
    write_text(epochs[0], "nonsense\n")
    put(env.path("site2", "f"), b"other")
    r = env.mirrord(*ask, code=None)
    check(r.code not in (0, 4), r)
    r.says("site s1: ")
    check_same(env.path("site2"), env.path("far2", "2"))


@case
def test_a_fence_by_forced_command(env):
    """receive --root decides, whatever the other end asks for."""
    src, dest = places(env)
    put(f"{src}/f", b"x")
    with open(env.authorized_keys) as f:
        key = f.read()
    with open(env.authorized_keys, "w") as f:
        f.write(f'restrict,command="{env.remote} receive --root {dest}" {key}')
    env.resync(src, dest)
    check_same(src, dest)
    for place in (env.path("elsewhere"), env.path("dest", "..", "elsewhere")):
        env.resync(src, place, code=None).says("elsewhere|[.][.]")
        check(not os.path.exists(env.path("elsewhere")), "written outside the fence")


@case
def test_a_fence_above_several_roots(env):
    """receive --root of a directory that others lie in: each is served as one that stands alone, from its first
    time on."""
    src, far = env.path("src"), env.path("far")
    put(f"{src}/f", b"x")
    os.mkdir(far)
    remote = env.far_end("fenced", f"exec '{MIRRORD}' receive --root '{far}' --state-dir '{env.path('state-fenced')}'")
    for name in ("a", "b"):
        env.resync(src, f"{far}/{name}", "-n", remote=remote).prints("1 created")
        check(not os.path.exists(f"{far}/{name}"), "made by a dry run")
        env.resync(src, f"{far}/{name}", remote=remote).prints("1 created")
        env.resync(src, f"{far}/{name}", remote=remote).prints("0 created, 0 updated")
        check_same(src, f"{far}/{name}")
    os.mkdir(f"{far}/c")
    env.resync(src, f"{far}/c", "-n", remote=remote).prints("1 created")
    for options in ([], ["-n"]):
        env.resync(src, f"{far}/d/e", *options, remote=remote, code=1).says(rf"the directory {far}/d is missing")
    os.symlink(env.path("src"), f"{far}/link")
    env.resync(src, f"{far}/link", remote=remote, code=None).says("link")
    env.resync(src, env.path("elsewhere"), remote=remote, code=None).says("elsewhere is outside of")


@case
def test_a_wordpress_tree(env):
    """20,000 files with FULL=1."""
    files = 20000 if os.environ.get("FULL") else 500 if SANITIZED else 3000
    src, dest = places(env)
    WordPress(src, files)
    level(env, src, dest)
    check_equal(rsync_differences(src, dest), [], "rsync would change")
    check_counts(level(env, src, dest), created=0, updated=0, deleted=0)


if __name__ == "__main__":
    main()
