"""`mirrord run` with two secondaries: each operation on files and directories, and the daemon's own
life: flush, status, reload, secondaries that go and come back, signals."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import time

from harness import (MIRRORD, ROOT, SLOW, Env, Skip, Sshd, case, check, check_equal, main, processes, read_text, send,
                     wait_for, write_text)
from pair import Pair, site_text
from terminal import type_at
from trees import WordPress, check_same, inodes, put, remove, set_mtime, snapshot


# Operations --------------------------------------------------------------------------------------

def fill(src):
    for i in range(6):
        put(f"{src}/dir/sub{i % 2}/f{i}", b"content %d" % i * 100)
        put(f"{src}/f{i}", os.urandom(3000))
    put(f"{src}/large", os.urandom(3 << 19))
    put(f"{src}/closed", b"x", 0o600)
    os.symlink("f0", f"{src}/link")


def linked_with(library):
    """False also of a script that starts the program."""
    return library in subprocess.run(["ldd", MIRRORD], stdout=subprocess.PIPE, text=True, check=False).stdout


def append(path, data):
    with open(path, "ab") as f:
        f.write(data)


def replace(src):
    put(f"{src}/f0.tmp", b"replaced by rename")
    os.rename(f"{src}/f0.tmp", f"{src}/f0")


def overwrite_in_place(src):
    with open(f"{src}/large", "r+b") as f:
        f.seek(1 << 20)
        f.write(b"in the middle")


def mkdir_chains(src):
    """Files written at once into directories that were not there: nothing may fall between the new
    directory and its watch."""
    for i in range(40):
        put(f"{src}/chain{i}/a/b/c/d/e/file", b"%d" % i)
        put(f"{src}/chain{i}/a/b/file", b"%d" % i)


def copy_in(src):
    shutil.copytree(f"{src}/dir", f"{src}/copy of dir")


def move_in(src):
    outside = os.path.join(os.path.dirname(src), "outside")
    for i in range(20):
        put(f"{outside}/s{i % 3}/f{i}", b"from outside %d" % i)
    os.rename(outside, f"{src}/moved in")


def move_out(src):
    os.rename(f"{src}/dir", os.path.join(os.path.dirname(src), "moved out"))


def renamed_and_changed(src):
    """A file of some size moves, and is written again before anybody has looked."""
    os.rename(f"{src}/large", f"{src}/larger")
    append(f"{src}/larger", b"a little more")
    os.rename(f"{src}/dir", f"{src}/new dir")
    put(f"{src}/new dir/sub0/f0", b"other content")
    os.chmod(f"{src}/new dir", 0o750)


def exchange_dirs(src):
    put(f"{src}/other/x", b"x")
    os.rename(f"{src}/dir", f"{src}/tmp")
    os.rename(f"{src}/other", f"{src}/dir")
    os.rename(f"{src}/tmp", f"{src}/other")


def rename_dir_and_write_in_it(src):
    os.rename(f"{src}/dir", f"{src}/renamed")
    put(f"{src}/renamed/sub0/f0", b"written after the rename")
    put(f"{src}/renamed/new/f", b"made after the rename")
    put(f"{src}/dir/f", b"the old name again")


def rename_over_and_over(src):
    for i in range(50):
        os.rename(f"{src}/f1" if i == 0 else f"{src}/n{i - 1}", f"{src}/n{i}")


def change_owner(src):
    os.chown(f"{src}/f0", 33, 33)
    os.chown(f"{src}/dir", 1, 33)
    os.chown(f"{src}/link", 33, 33, follow_symlinks=False)


def type_changes(src):
    for name in ("f0", "dir", "link"):
        remove(f"{src}/{name}")
    put(f"{src}/f0/now/a", b"directory")
    put(f"{src}/dir", b"file")
    os.mkdir(f"{src}/link")


def odd_names(src):
    for name in (b"new\nline", b"\xff\xfe", b"-rf", b"y" * 255, b"quote'\"`$(x)"):
        put(os.path.join(os.fsencode(src), name, name), name)


def nearly_everything_at_once(src):
    remove(f"{src}/dir")
    mkdir_chains(src)
    replace(src)
    move_in(src)
    rename_over_and_over(src)
    os.chmod(f"{src}/f2", 0o600)


OPERATIONS = {
    "create": lambda s: put(f"{s}/new", b"new file"),
    "create_empty": lambda s: put(f"{s}/nothing in it", b""),
    "write": lambda s: put(f"{s}/f0", b"written anew"),
    "write_in_place": overwrite_in_place,
    "append": lambda s: append(f"{s}/f1", b"more"),
    "truncate": lambda s: os.truncate(f"{s}/f2", 100),
    "truncate_to_nothing": lambda s: os.truncate(f"{s}/f2", 0),
    "grow_by_truncate": lambda s: os.truncate(f"{s}/f3", 100000),
    "chmod": lambda s: (os.chmod(f"{s}/f0", 0o600), os.chmod(f"{s}/dir", 0o700)),
    "chmod_root": lambda s: os.chmod(s, 0o711),
    "touch": lambda s: (os.utime(f"{s}/f0"), set_mtime(f"{s}/f1", 1500000000_000000001)),
    "touch_dir": lambda s: set_mtime(f"{s}/dir/sub0", 1500000000_000000002),
    "touch_link": lambda s: set_mtime(f"{s}/link", 1500000000_000000003),
    "rename": lambda s: os.rename(f"{s}/f0", f"{s}/dir/f0 renamed"),
    "rename_over": lambda s: os.rename(f"{s}/f0", f"{s}/f1"),
    "rename_chain": rename_over_and_over,
    "rename_dir": lambda s: os.rename(f"{s}/dir", f"{s}/renamed"),
    "rename_dir_below": lambda s: (os.mkdir(f"{s}/up"), os.rename(f"{s}/dir/sub0", f"{s}/up/sub")),
    "rename_dir_and_write_in_it": rename_dir_and_write_in_it,
    "exchange_dirs": exchange_dirs,
    "hard_link": lambda s: os.link(f"{s}/f0", f"{s}/dir/hard"),
    "symlink": lambda s: (os.symlink("dir", f"{s}/to dir"), os.symlink("/no/where", f"{s}/abs")),
    "symlink_switch": lambda s: (os.symlink("f5", f"{s}/l2"), os.rename(f"{s}/l2", f"{s}/link")),
    "delete": lambda s: (os.unlink(f"{s}/f0"), os.unlink(f"{s}/link")),
    "rm_rf": lambda s: remove(f"{s}/dir"),
    "mkdir": lambda s: os.makedirs(f"{s}/a/b/c"),
    "mkdir_chains": mkdir_chains,
    "copy_in": copy_in,
    "move_in": move_in,
    "move_out": move_out,
    "renamed_and_gone": lambda s: (os.rename(f"{s}/dir", f"{s}/tmp"), remove(f"{s}/tmp")),
    "renamed_and_changed": renamed_and_changed,
    "replace_by_rename": replace,
    "type_changes": type_changes,
    "odd_names": odd_names,
    "made_and_gone": lambda s: (put(f"{s}/t/x", b"x"), remove(f"{s}/t"), put(f"{s}/end", b"y")),
    "made_gone_and_made": lambda s: (put(f"{s}/t/x", b"x"), remove(f"{s}/t"), put(f"{s}/t", b"y")),
    "everything": nearly_everything_at_once,
}
if ROOT:
    OPERATIONS["chown"] = change_owner


class Stage:
    """One daemon for all operations: each starts from the same tree in a directory of its own
    (a site's root knows no difference). After a failure the next one gets a new daemon."""

    env = pair = None

    @classmethod
    def get(cls):
        if not cls.env:
            cls.env = Env()
            cls.pair = Pair(cls.env, fill=fill, options='max-delete = "100%"')
        return cls.pair

    @classmethod
    def reset(cls):
        """Back to the tree of the beginning."""
        p = cls.get()
        for name in os.listdir(p.src):
            remove(f"{p.src}/{name}")
        remove(cls.env.path("outside"))
        remove(cls.env.path("moved out"))
        os.chmod(p.src, 0o755)
        fill(p.src)
        p.flushed()
        return p

    @classmethod
    def drop(cls, clean):
        env, cls.env = cls.env, None
        if env:
            try:
                if clean:
                    cls.pair.daemon.stop()
                    env.settle()
                    check(not env.sanitizer_reports(), *env.sanitizer_reports())
            finally:
                env.close(keep=not clean and bool(os.environ.get("KEEP")))


def operation(name, function):
    def arrives_by_itself():
        try:
            p = Stage.reset()
            function(p.src)
            p.arrives()
        except BaseException:
            Stage.drop(clean=False)
            raise

    arrives_by_itself.__name__ = f"operation_{name}"
    case(env=False)(arrives_by_itself)


for _name, _function in OPERATIONS.items():
    operation(_name, _function)


@case(env=False)
def test_operations_with_flush():
    """All of them again: when flush returns, everything is there."""
    try:
        for name, function in OPERATIONS.items():
            p = Stage.reset()
            function(p.src)
            try:
                p.flushed()
            except AssertionError as e:
                raise AssertionError(f"after {name}: {e}") from None
    except BaseException:
        Stage.drop(clean=False)
        raise


@case(env=False)
def test_the_daemon_of_the_operations_ends_cleanly():
    if Stage.env:
        Stage.drop(clean=True)


# Moves and filters -------------------------------------------------------------------------------

@case
def test_a_renamed_directory_is_moved_not_sent(env):
    p = Pair(env, fill=lambda s: [put(f"{s}/old/f{i}", os.urandom(2000)) for i in range(50)])
    before = [inodes(d) for d in p.dests]
    os.rename(f"{p.src}/old", f"{p.src}/new name")
    p.flushed()
    for old, dest in zip(before, p.dests):
        new = inodes(dest)
        moved = [n for n in range(50) if new[b"new name/f%d" % n] == old[b"old/f%d" % n]]
        check_equal(len(moved), 50, f"files moved in {dest}")
    p.daemon.stop()


@case
def test_excluded_and_moved_in_from_there(env):
    p = Pair(env, options='exclude = {"/cache/", "*.log"}')
    put(f"{p.src}/cache/a/b", b"not mirrored")
    put(f"{p.src}/x.log", b"not mirrored")
    put(f"{p.src}/seen", b"mirrored")
    p.daemon.flush()
    for dest in p.dests:
        check_equal(sorted(os.listdir(dest)), ["first", "seen"], "there")
    os.rename(f"{p.src}/cache/a", f"{p.src}/plugin")
    os.rename(f"{p.src}/x.log", f"{p.src}/x.txt")
    p.daemon.flush()
    for dest in p.dests:
        check_equal(sorted(os.listdir(dest)), ["first", "plugin", "seen", "x.txt"], "there")
        check_equal(os.listdir(f"{dest}/plugin"), ["b"], "in plugin")
    os.rename(f"{p.src}/plugin", f"{p.src}/cache/plugin")
    p.daemon.flush()
    for dest in p.dests:
        check_equal(sorted(os.listdir(dest)), ["first", "seen", "x.txt"], "there")
    p.daemon.stop()


@case
def test_special_files_do_not_disturb(env):
    p = Pair(env)
    os.mkfifo(f"{p.src}/fifo")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f"{p.src}/socket")
    put(f"{p.src}/after", b"x")
    p.flushed()
    p.daemon.stop()


# Life --------------------------------------------------------------------------------------------

@case
def test_ready_after_the_first_level(env):
    """The ready line comes when every reachable secondary has everything."""
    p = Pair(env, fill=lambda s: WordPress(s, 500))
    check(not p.found(), *p.found())
    put(f"{p.src}/at once", b"x")
    p.arrives()
    p.daemon.stop()


@case
def test_changes_made_while_it_was_away(env):
    p = Pair(env, fill=fill)
    p.daemon.stop()
    put(f"{p.src}/meanwhile", b"x")
    os.unlink(f"{p.src}/f1")
    os.rename(f"{p.src}/dir", f"{p.src}/moved")
    p.restart()
    check(not p.found(), *p.found())
    p.daemon.stop()


@case
def test_killed_and_started_again(env):
    p = Pair(env, fill=fill)
    for i in range(3):
        put(f"{p.src}/big{i}", os.urandom(3 << 20))
        p.daemon.stop(code=-signal.SIGKILL, number=signal.SIGKILL)
        p.restart()
        p.flushed()
    p.daemon.stop()


@case
def test_killed_while_it_owes_what_only_content_tells(env):
    """Files edited in place that keep size and time, not sent when the daemon is killed."""
    p = Pair(env, fill=fill)
    p.flushed()
    env.sshd.stop()
    for name in ("f0", "large"):
        st = os.stat(f"{p.src}/{name}")
        with open(f"{p.src}/{name}", "r+b") as f:
            f.write(b"edited")
        set_mtime(f"{p.src}/{name}", st.st_mtime_ns)
    wait_for(lambda: all(f"{name} is owed" in p.daemon.text() for name in ("f0", "large")), "owed")
    p.daemon.stop(code=-signal.SIGKILL, number=signal.SIGKILL)
    env.sshd.restart()
    p.restart()
    p.flushed("--all")
    p.daemon.stop()


@case
def test_sigterm_in_the_middle(env):
    p = Pair(env)
    for i in range(300):
        put(f"{p.src}/f{i}", os.urandom(20000))
    p.daemon.stop(code=0)
    p.restart()
    p.flushed()
    p.daemon.stop(code=0, number=signal.SIGINT)


@case
def test_status(env):
    p = Pair(env, fill=fill)
    p.daemon.flush()
    r = p.daemon.ask("status")
    for name in ("web2", "web3"):
        check(name in r.out, r)
    check("\x1b" not in r.out, "colours, and no terminal", r)
    argv = ["env", "TERM=xterm", MIRRORD, "status", "-c", p.config]
    check("\x1b[32mall level\x1b[0m" in type_at(env, argv, []).out, "no colours on a terminal")
    check("\x1b" not in type_at(env, ["env", "NO_COLOR=1", *argv[1:]], []).out, "colours that nobody wants")
    said = p.daemon.status(code=0)
    check("web2" in str(said) and "web3" in str(said) and "example.com" in str(said), said)
    env.sshd.stop()
    put(f"{p.src}/while down", b"x" * 5000)
    wait_for(lambda: "refused" in p.daemon.ask("status", code=None).out, "status says why", 40)
    r = p.daemon.ask("status", code=4)
    for word in ("example.com", "web2", "mirrord check"):
        check(word in r.out, f"{word!r} is not in status\n{r}")
    check("refused" in str(p.daemon.status(code=4)), "the error is not in status --json")
    env.sshd.restart()
    wait_for(lambda: p.daemon.ask("status", code=None).code == 0, "status says level", 40)
    check(not p.found(), *p.found())
    p.daemon.stop()


@case
def test_level_is_said_of_nothing_that_is_not_there(env):
    """Without a flush: what was closed, renamed or moved away before status was asked counts, and the
    times of the directories."""
    p = Pair(env, secondaries=1)

    def is_level(what):
        said = p.daemon.status()["sites"][0]["secondaries"][0]["state"] == "level"
        found = p.found() if said else []
        check(not found, f"{what}: it is said to be level, but", *found)
        return said

    for i in range(8):
        for what, change in (("written", lambda: put(f"{p.src}/d/f{i}", b"content")),
                             ("renamed", lambda: os.rename(f"{p.src}/d/f{i}", f"{p.src}/d/g{i}")),
                             ("moved away", lambda: os.rename(f"{p.src}/d/g{i}", env.path("away")))):
            change()
            wait_for(lambda: is_level(what), f"{what}: level in the end")


@case
def test_status_without_a_daemon(env):
    p = Pair(env, start=False)
    p.env.mirrord("status", "-c", p.config, code=1).says("control", "mirrord run")


@case
def test_check(env):
    p = Pair(env, start=False)
    env.mirrord("check", "-c", p.config, "--as", "web1")
    r = env.mirrord("check", "-c", p.config, "--as", "web1", "--effective", "example.com")
    check(p.src in r.out, r)
    shutil.rmtree(p.src)
    r = env.mirrord("check", "-c", p.config, "--as", "web1", code=None)
    check(r.code not in (0, None) and "src" in r.out + r.err, r)


@case
def test_a_secondary_that_goes_and_comes_back(env):
    """web3 has its own sshd. Its absence delays neither web2 nor flush, which names it."""
    p = Pair(env, start=False)
    other = Sshd(env)
    head, tail = read_text(p.config).split("host web3", 1)
    tail = tail.replace(f"port = {env.sshd.port}", f"port = {other.port}", 1)
    write_text(p.config, head + "host web3" + tail)
    p.restart()
    p.flushed()
    other.stop()
    put(f"{p.src}/while away", os.urandom(100000))
    os.unlink(f"{p.src}/first")
    p.arrives(dests=p.dests[:1])
    r = p.daemon.flush(code=None)
    check("web3" in r.out + r.err, f"flush does not name who is away\n{r}")
    p.daemon.flush("--all", code=4, seconds=1)
    other.restart()
    p.arrives(seconds=60)
    p.daemon.flush("--all")
    p.daemon.stop()


@case
def test_starting_while_a_secondary_is_away(env):
    env.sshd.stop()
    p = Pair(env)
    put(f"{p.src}/x", b"x")
    env.sshd.restart()
    p.arrives(seconds=60)
    p.daemon.stop()


@case
def test_connections_that_are_cut(env):
    p = Pair(env)
    for i in range(4):
        for j in range(20):
            put(f"{p.src}/r{i}/f{j}", os.urandom(30000))
        env.sshd.cut()
    p.arrives(seconds=90)
    p.daemon.stop()


@case
def test_flush_waits_for_a_connection_lost_a_moment_ago(env):
    p = Pair(env)
    for i in range(3):
        env.sshd.cut()
        wait_for(lambda: p.daemon.text().count("trying again") >= 2 * (i + 1), "both are lost")
        put(f"{p.src}/f{i}", b"x")
        p.flushed()
    p.daemon.stop()


@case
def test_receivers_that_are_killed(env):
    p = Pair(env)
    for i in range(4):
        for j in range(20):
            put(f"{p.src}/r{i}/f{j}", os.urandom(30000))
        for pid in env.sshd.receivers():
            send(pid, signal.SIGKILL)
    p.arrives(seconds=90)
    p.daemon.stop()


# Control -----------------------------------------------------------------------------------------

@case
def test_flush_of_a_site_and_paths(env):
    p = Pair(env, fill=fill)
    put(f"{p.src}/dir/new", b"x")
    p.daemon.flush("example.com", "dir/new")
    for dest in p.dests:
        check(os.path.exists(f"{dest}/dir/new"))
    p.daemon.flush("example.com")
    p.daemon.stop()


@case
def test_flush_overtakes_nothing(env):
    """What was written before flush was asked is there when it answers."""
    p = Pair(env)
    for i in range(30):
        for j in range(20):
            put(f"{p.src}/d{i % 4}/r{i}/f{j}", b"%d %d" % (i, j))
        p.flushed()
    p.daemon.stop()


@case
def test_the_control_socket(env):
    p = Pair(env)
    control = env.path("control")
    st = os.stat(control)
    check(stat.S_ISSOCK(st.st_mode) and stat.S_IMODE(st.st_mode) == 0o600, oct(st.st_mode))
    p.daemon.stop(code=-signal.SIGKILL, number=signal.SIGKILL)
    check(os.path.exists(control), "a killed daemon leaves its socket")
    p.restart()
    p.flushed()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(control)
        s.sendall(b"\xff garbage \x00\n" * 100)
    p.flushed()
    p.daemon.stop()
    check(not os.path.exists(control), "the socket is still there")


@case
def test_pause_and_resume(env):
    """Of a site and of a host: over a restart, and nothing that happened meanwhile is lost."""
    p = Pair(env, options='unit = {"plugins/*"} settle = 100ms')
    p.daemon.ask("pause", "nobody", code=2).says("nobody")
    p.daemon.ask("pause", "--for", "soon", "web2", code=2).says("soon")
    p.daemon.ask("pause", "--reason", "moving disks", "example.com").prints("mirrord resume")
    put(f"{p.src}/held/back", b"x")
    put(f"{p.src}/plugins/a/x.php", b"x")
    r = p.daemon.ask("flush", "--timeout", "3", code=4).prints("paused")
    check(not os.path.exists(f"{p.dests[0]}/held"), r)
    p.daemon.stop()
    p.restart()  # "ready", although it is not level
    put(f"{p.src}/held/too", b"x")
    p.daemon.ask("status", code=4).prints("example.com is paused since",
                                          "moving disks")
    p.daemon.ask("flush", "--timeout", "3", code=4)
    for dest in p.dests:
        check(not os.path.exists(f"{dest}/held") and not os.path.exists(f"{dest}/plugins"), dest)
    p.daemon.ask("resume", "example.com")
    p.flushed()
    p.daemon.ask("resume", "example.com").prints("was not paused")
    p.daemon.ask("pause", "--for", f"{2 * SLOW}s", "web3")
    check_equal([s["paused"] for s in p.daemon.status()["secondaries"]], [False, True])
    put(f"{p.src}/to web2 only", b"x")
    wait_for(lambda: os.path.exists(f"{p.dests[0]}/to web2 only"), "the other host has it")
    p.arrives()
    check("a pause is over" in p.daemon.text(), "it did not end by time")
    p.flushed()
    p.daemon.stop()


def sites(env, count):
    text = ""
    for i in range(count):
        put(env.path("sites", f"s{i}", "f"), b"%d" % i)
        os.makedirs(env.path("far2"), exist_ok=True)
        text += site_text(f"s{i}", env.path("sites", f"s{i}"), [env.path("far2", f"s{i}")])
    return text


def receiver_parents(env):
    """Without the processes that are replaced when a site comes."""
    table, mine = processes(), env.sshd.receivers()
    return [p for p in mine if table[p][0] not in mine]


@case
def test_reload(env):
    """A new site goes live and the others stay as they are: neither is the connection another one,
    nor are they walked, which would find what somebody else put there. A site that goes changes no
    connection either; an error keeps the old configuration."""
    config = env.config(sites(env, 1), ("web1", "web2"))
    d = env.daemon(config)
    old = read_text(config)
    sessions, parents = env.sshd.sessions(), receiver_parents(env)
    put(env.path("far2", "s0", "stranger"), b"drift")
    env.config(sites(env, 2), ("web1", "web2"))
    d.ask("reload")
    wait_for(lambda: os.path.exists(env.path("far2", "s1", "f")), "the new site is mirrored")
    put(env.path("sites", "s1", "g"), b"x")
    put(env.path("sites", "s0", "g"), b"x")
    d.flush()
    check("stranger" not in d.text() and os.path.exists(env.path("far2", "s0", "stranger")),
          "the old site was walked", d.text)
    os.unlink(env.path("far2", "s0", "stranger"))
    put(env.path("sites", "s0", "h"), b"x")
    d.flush()
    for i in (0, 1):
        check_same(env.path("sites", f"s{i}"), env.path("far2", f"s{i}"))
    check_equal(env.sshd.sessions(), sessions, "connections with the new site")
    check_equal(receiver_parents(env), parents, "receivers")
    write_text(config, read_text(config) + "\nnonsense = 1\n")
    d.ask("reload", code=2).says(config, "nonsense")
    put(env.path("sites", "s1", "h"), b"x")
    d.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "nonsense" in d.text(), "the daemon's log names the error")
    write_text(config, old)
    d.process.send_signal(signal.SIGHUP)
    wait_for(lambda: [s["name"] for s in d.status()["sites"]] == ["s0"], "the site is gone again")
    put(env.path("sites", "s0", "last"), b"x")
    d.flush()
    check_same(env.path("sites", "s0"), env.path("far2", "s0"))
    check(not os.path.exists(env.path("far2", "s1", "last")))
    check_equal(env.sshd.sessions(), sessions, "connections at the end")
    d.stop()


@case
def test_a_site_added_by_sighup(env):
    """And what the service manager is told meanwhile: ready at once, not when all is level."""
    config = env.config(sites(env, 1), ("web1", "web2"))
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(env.path("notify"))
    manager.settimeout(20)
    environ = {"NOTIFY_SOCKET": env.path("notify"), "WATCHDOG_USEC": "400000"}
    env.sshd.stop()
    d = env.daemon(config, environ=environ, ready=False)

    def told(*wanted):
        """Up to messages that begin so, in any order; the heartbeats between them are counted."""
        heard, missing, end = [], list(wanted), time.monotonic() + 20 * SLOW
        while missing:
            check(time.monotonic() < end, f"{missing} in {heard}")
            heard.append(manager.recv(1000).decode())
            missing = [w for w in missing if not heard[-1].startswith(w)]
        return heard

    if not linked_with("libsystemd"):
        raise Skip("built without libsystemd")
    check_equal(told("READY=1"), ["READY=1"], "first words")
    told("WATCHDOG=1", "STATUS=1 site; 0 of 1 secondary connected")
    env.sshd.start()
    d.wait_ready()
    env.config(sites(env, 3), ("web1", "web2"))
    d.process.send_signal(signal.SIGHUP)
    told("RELOADING=1")
    told("READY=1")
    told("STATUS=3 sites; 1 of 1 secondary connected")
    for i in range(3):
        wait_for(lambda i=i: os.path.exists(env.path("far2", f"s{i}", "f")), f"s{i} is mirrored")
    d.stop()
    told("STOPPING=1")
    manager.close()


@case
def test_a_host_that_has_nothing_to_push(env):
    """The same file on every host: on a secondary the daemon serves status and waits."""
    p = Pair(env, start=False)
    d = env.daemon(p.config, name="web2")
    r = d.ask("status", code=None)
    check(r.code == 0, r)
    r.prints("web1 is the primary", "here: DOWN, lost: the root .*dest2")  # nothing came yet
    d.stop()


@case
def test_the_daemon_and_a_one_shot_resync_of_its_site(env):
    """`resync SITE` beside a running daemon asks the daemon."""
    p = Pair(env, fill=fill)
    put(f"{p.dests[0]}/f0", b"drift")
    env.mirrord("resync", "-c", p.config, "--as", "web1", "example.com")
    check(not p.found(), *p.found())
    p.daemon.stop()


@case
def test_a_vanished_root_wipes_nothing(env):
    p = Pair(env, fill=fill)
    before = snapshot(p.dests[0])
    os.rename(p.src, p.src + ".gone")
    os.mkdir(p.src)
    wait_for(lambda: p.daemon.ask("status", code=None).code in (4, 5), "status says so")
    check_equal(snapshot(p.dests[0]), before, "the secondary")
    p.daemon.stop(code=None)
    d = env.daemon(p.config, ready=False)
    wait_for(lambda: d.is_ready() or "example.com" in d.text(), "it says something of the site")
    check_equal(snapshot(p.dests[0]), before, "the secondary")
    d.stop(code=None)


@case
def test_nothing_is_left_behind(env):
    """Neither stages nor cookies, in the trees or beside them."""
    p = Pair(env, fill=fill)
    for i in range(3):
        nearly_everything_at_once(p.src) if i == 0 else replace(p.src)
        p.flushed()
    p.daemon.stop()
    env.settle()
    found = subprocess.run(["find", p.src, *p.dests, "-name", ".mirrord-*"], capture_output=True,
                           text=True, check=True).stdout
    check_equal(found, "", "found")


if __name__ == "__main__":
    main()
