"""What is wrong is said in its own sentence, with its own exit code, and changes nothing."""

import os
import signal
import socket
import struct
import subprocess

from harness import (MIRRORD, ROOT, SLOW, Skip, case, check, check_equal, keygen, main,
                     wait_for, write_text)
from pair import Pair, site_text
from trees import put, snapshot


class Untouched:
    """A SRC with one file and a DEST that must stay as it is."""

    def __init__(self, env):
        self.src, self.dest = env.path("src"), env.path("dest")
        put(f"{self.src}/new", b"new")
        os.mkdir(self.dest)
        self.before = snapshot(self.dest)

    def check(self):
        check_equal(snapshot(self.dest), self.before, "DEST")


def refused(env, code, *says, options=(), src=None, dest=None, **more):
    """A resync that fails with this code and these words, and leaves DEST alone."""
    t = Untouched(env)
    r = env.resync(src or t.src, dest or t.dest, *options, code=code, **more).says(*says)
    t.check()
    check_equal(r.out, "", "standard output")
    return r


@case
def test_missing_key_file(env):
    refused(env, None, "no-such-key", "no key file|No such file", key=env.path("no-such-key"))


@case
def test_key_file_that_is_none(env):
    refused(env, 1, "garbage", key=write_text(env.path("garbage"), "not a key\n"))


@case
def test_wrong_key(env):
    r = refused(env, 1, "authorized_keys|not accept|refused|denied", "127.0.0.1",
                key=keygen(env.path("other")))
    check("/other" in r.err, f"the key that was offered is not named\n{r}")


@case
def test_unknown_host_key(env):
    write_text(env.known_hosts, "")
    refused(env, 1, "SHA256:[A-Za-z0-9+/]{43}", "ssh-keyscan", str(env.sshd.port), "known_hosts")


@case
def test_changed_host_key(env):
    other = keygen(env.path("other_host_key"))
    with open(other + ".pub") as f:
        kind, key = f.read().split()[:2]
    write_text(env.known_hosts, f"[127.0.0.1]:{env.sshd.port} {kind} {key}\n")
    refused(env, 5, "changed", "SHA256:[A-Za-z0-9+/]{43}", "ssh-keygen -R")


@case
def test_refused_port(env):
    env.sshd.stop()
    refused(env, 6, "127.0.0.1", str(env.sshd.port), "Connection refused: does its sshd run")


@case
def test_unknown_name(env):
    t = Untouched(env)
    env.mirrord("resync", *env.link_options(), t.src, "no-such-host.invalid:/x",
                code=6).says("no-such-host.invalid")


@case
def test_a_server_that_is_not_ssh(env):
    with socket.create_server(("127.0.0.1", 0)) as s:
        pid = os.fork()
        if pid == 0:
            signal.alarm(60)
            c, _ = s.accept()
            c.sendall(b"220 mail.example.com ESMTP\r\n")
            c.close()
            os._exit(0)
        t = Untouched(env)
        options = env.link_options()
        options[1] = str(s.getsockname()[1])
        r = env.mirrord("resync", *options, t.src, env.at(t.dest), code=None)
        os.waitpid(pid, 0)
    check(r.code in (1, 6), r)
    r.says("127.0.0.1")
    t.check()


@case
def test_no_mirrord_on_the_far_end(env):
    refused(env, 1, "no-such-mirrord", "not found|No such file", "--remote-command|install",
            remote="/opt/no-such-mirrord")


@case
def test_far_end_that_says_why(env):
    remote = env.far_end("sad", "echo 'this account is closed' >&2; exit 1")
    refused(env, 1, "this account is closed", remote=remote)


@case
def test_far_end_that_talks_before_the_protocol(env):
    """A profile that prints: what came is shown."""
    remote = env.far_end("chatty", "echo 'Welcome to web2!'; sleep 1")
    refused(env, 1, "Welcome to web2", remote=remote)


def fake_receiver(env, answer):
    """A far end that answers with these bytes and reads on until it is cut."""
    path = env.path("answer")
    with open(path, "wb") as f:
        f.write(answer)
    return env.far_end("fake", f"cat '{path}'; exec cat >/dev/null")


def frame(kind, payload):
    return struct.pack("<IB", len(payload) + 1, kind) + payload


@case
def test_version_mismatch(env):
    text = b"this end speaks 7 to 9"
    answer = frame(2, struct.pack("<HH", 2, len(text)) + text)
    refused(env, 1, "version", "this end speaks 7 to 9", remote=fake_receiver(env, answer))


@case
def test_garbage_instead_of_hello(env):
    refused(env, 1, "127.0.0.1|protocol|mirrord", remote=fake_receiver(env, b"\xff" * 1000))
    refused_again = frame(1, b"short")
    t = env.path("src")
    env.resync(t, env.path("dest"), code=1, remote=fake_receiver(env, refused_again))


@case
def test_missing_src(env):
    refused(env, 2, "nowhere", "No such file", src=env.path("nowhere"))


@case
def test_src_is_a_file(env):
    refused(env, 2, "plain", "not a directory", src=put(env.path("plain"), b"x"))


@case
def test_src_is_a_symbolic_link(env):
    os.symlink("src", env.path("current"))
    refused(env, 2, "symbolic link|symlink", src=env.path("current"))


@case
def test_dest_is_a_file(env):
    refused(env, None, "plain", "not a directory", dest=put(env.path("plain"), b"x").decode())
    with open(env.path("plain")) as f:
        check_equal(f.read(), "x", "the file")


@case
def test_parent_of_dest_missing(env):
    r = refused(env, None, "missing/deeper", dest=env.path("missing", "deeper"))
    check_equal(r.err.count("missing/deeper"), 1, f"said once\n{r}")
    check(not os.path.exists(env.path("missing")), "made the parent")


@case
def test_dest_not_writable(env):
    for place in ("/proc/mirrord-test", "/sys/mirrord-test"):
        refused(env, None, place.replace("/", "."), dest=place)
        os.unlink(env.path("src", "new"))
        os.rmdir(env.path("src"))
        os.rmdir(env.path("dest"))


@case
def test_dest_not_writable_for_this_user(env):
    if ROOT:
        raise Skip("root writes anywhere")
    os.mkdir(env.path("closed"), 0o500)
    refused(env, None, "closed", "Permission denied", dest=env.path("closed", "dest"))


@case(sshd=False)
def test_usage(env):
    for argv in ([], ["no-such-command"], ["resync", "--no-such-option"], ["resync", "/only-one"],
                 ["resync", "/tmp", "host:"], ["resync", "-p", "x", "/tmp", "h:/x"],
                 ["resync", "-p", "70000", "/tmp", "h:/x"],
                 ["resync", "--max-delete", "many", "/tmp", "h:/x"],
                 ["resync", "--transport", "carrier-pigeon", "/tmp", "h:/x"],
                 ["resync", "--preset", "drupal", "/tmp", "h:/x"],
                 ["resync", "--exclude", "", "/tmp", "h:/x"],
                 ["resync", "--bwlimit", "fast", "/tmp", "h:/x"], ["run", "operand"],
                 ["receive", "--root", "/x", "-c", "/y"]):
        state = ["--state-dir", env.state] if argv[:1] == ["resync"] else []
        r = env.mirrord(*argv, *state, code=2)
        check(r.err.strip(), f"nothing is said\n{r}")


@case(sshd=False)
def test_an_option_that_is_almost_right_is_named(env):
    env.mirrord("resync", "--no-such-option", "/tmp", "h:/x", code=2).says("no-such-option")


SITE = ('host web1 {{ address = "127.0.0.1" }}\nhost web2 {{ address = "127.0.0.1" }}\n'
        'site "s" {{\n  root = "/nowhere"\n  hosts = {{web1, web2}}\n  primary = web1\n  {}\n}}\n')


@case(sshd=False)
def test_configuration_errors_name_file_and_line(env):
    path = env.path("bad.conf")
    for text, line, says in (
            (SITE.format('exlude = {"x"}'), 7, "exlude.*exclude"),
            ('stat-dir = "/x"\n', 1, "stat-dir.*state-dir"),
            (SITE.format("max-delete = lots"), 7, "max-delete"),
            (SITE.format("").replace("primary = web1", "primary = web9"), 3, "web9"),
            (SITE.format("").replace("web1, web2", "web1, web9"), 3, "web9"),
            (SITE.format('preset = "drupal"'), 7, "drupal"),
            ('host web1 { address = "x"\n', 1, "")):
        write_text(path, text)
        for command in ("check", "run"):
            more = ["--state-dir", env.state, "--control", env.path("control")]
            r = env.mirrord(command, "-c", path, "--as", "web1", *(more if command == "run" else []),
                            code=2, timeout=10)
            if says:
                r.says(says)
            check(f"{path}:" in r.err, f"file and line are not named\n{r}")
            check(abs(int(r.err.split(f"{path}:", 1)[1].split(":")[0]) - line) <= 4,
                  f"line {line} is meant\n{r}")


@case(sshd=False)
def test_missing_configuration(env):
    for command in ("run", "check", "status", "flush", "reload"):
        env.mirrord(command, "-c", env.path("none.conf"), code=2).says("none.conf", "No such file")


@case
def test_a_host_that_is_not_in_the_configuration(env):
    config = env.config("")
    env.mirrord("run", "-c", config, "--as", "web99", code=2).says("web99")


@case
def test_asking_without_a_daemon(env):
    config = env.config("")
    for command in ("flush", "reload"):
        r = env.mirrord(command, "-c", config, code=None)
        check(r.code in (1, 6), r)
        r.says("control", "run|daemon")


@case
def test_unknown_site_or_host(env):
    put(env.path("src", "f"), b"x")
    config = env.config(site_text("s", env.path("src"), [env.path("dest")]))
    env.mirrord("resync", "-c", config, "--as", "web1", "nosite", code=2).says("nosite")
    env.mirrord("resync", "-c", config, "--as", "web1", "s", "nohost", code=2).says("nohost")
    d = env.daemon(config)
    d.ask("flush", "nosite", code=2).says("nosite")
    d.stop()


@case
def test_a_second_daemon_on_the_same_state(env):
    put(env.path("src", "f"), b"x")
    config = env.config(site_text("s", env.path("src"), [env.path("dest")]))
    d = env.daemon(config)
    env.mirrord("run", "-c", config, "--as", "web1", code=6).says(str(d.process.pid))
    check_equal(d.process.poll(), None, "the first daemon")
    put(env.path("src", "g"), b"x")
    d.flush()
    check(os.path.exists(env.path("dest", "g")))
    d.stop()


@case
def test_receive_by_hand(env):
    """Without a peer on standard input it ends at once."""
    os.mkdir(env.path("dest"))
    before = snapshot(env.path("dest"))
    env.mirrord("receive", "--root", env.path("dest"), "--state-dir", env.path("state"), code=None)
    check_equal(snapshot(env.path("dest")), before, "DEST")


def hello(oldest, newest):
    texts = b"".join(struct.pack("<H", len(t)) + t for t in (b"a test", b"here"))
    return frame(1, struct.pack("<IHHQ", 0x4452494d, oldest, newest, 1) + b"\0" * 16 + texts)


@case(sshd=False)
def test_malformed_messages_end_the_session(env):
    """The receiver names the error to its own log and in an ERROR frame to the other side."""
    dest = env.path("dest")
    put(f"{dest}/f", b"x")
    before = snapshot(dest)
    receive = ["receive", "--root", dest, "--state-dir", env.path("state")]
    good = hello(1, 1)
    env.mirrord(*receive, input=good + frame(5, b""))
    for bad, word in ((b"\0\0\0\0\0", "malformed|limit|frame"),
                      (b"\xff" * 64, "malformed|limit|frame"),
                      (frame(99, b""), "malformed|HELLO|legal"), (frame(1, b"x"), "malformed|HELLO"),
                      (hello(900, 999), "version"), (good + good, "HELLO|legal"),
                      (good + frame(18, struct.pack("<II", 1, 7)), "malformed|BATCH|legal|site"),
                      (good + frame(77, b"what"), "malformed|unknown|legal")):
        r = env.mirrord(*receive, input=bad, code=None).says(word)
        check(r.code in (1, 5), r)
        check(frame(2, b"")[4:] in r.bytes, f"no ERROR went back\n{r}")
        check_equal(snapshot(dest), before, "DEST")


def short(data):
    return struct.pack("<H", len(data)) + data


def open_message(root, name=b""):
    return frame(16, struct.pack("<I", 1) + short(name) + short(root) + b"\0" * 57)


def delete_message(atom, path):
    return frame(22, struct.pack("<II", 1, atom) + short(path))


def next_type(stream):
    """Reads one frame; its type."""
    length, kind = struct.unpack("<IB", stream.read(5))
    stream.read(length - 1)
    return kind


@case(sshd=False)
def test_a_refused_path_ends_the_session_by_its_name(env):
    """Not as malformed: ERROR(path) to the other side, and the same in the receiver's log."""
    dest = env.path("dest")
    put(f"{dest}/f", b"x")
    put(env.path("outside"), b"x")
    before = snapshot(dest)
    receive = ["receive", "--root", dest, "--state-dir", env.path("state")]
    begin = frame(18, struct.pack("<II", 1, 1))
    told = struct.pack("<BH", 2, 3)
    for bad in (begin + delete_message(1, b"f") + delete_message(2, b"../outside"),
                begin + delete_message(1, b"f/../../outside"), begin + delete_message(1, b"/f"),
                begin + delete_message(1, b".mirrord-x"), begin + delete_message(1, b"n" * 256),
                frame(17, struct.pack("<II", 1, 1) + short(b"..") + b"\0" * 4)):
        p = env.spawn([MIRRORD, *receive], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE)
        p.stdin.write(hello(1, 1) + open_message(dest.encode()))
        p.stdin.flush()
        while next_type(p.stdout) != 48:  # OPENED
            pass
        out, err = p.communicate(bad, timeout=20 * SLOW)
        check_equal(p.returncode, 5, err)
        check(b"refused path" in err, err)
        check(told in out, f"no ERROR(path) went back: {out}")
        check_equal(snapshot(dest), before, "DEST")
    for bad in (open_message(dest.encode() + b"/../x"), open_message(dest.encode(), b"a/b")):
        r = env.mirrord(*receive, input=hello(1, 1) + bad, code=5).says("refused path")
        check(told in r.bytes, f"no ERROR(path) went back\n{r}")
        check_equal(snapshot(dest), before, "DEST")
        check(os.path.exists(env.path("outside")), "removed beside the root")


@case
def test_a_far_end_that_lists_a_refused_path(env):
    """The primary's log has it, and the far end is told before it is left."""
    heard = env.path("heard")
    item = short(b"../x") + struct.pack("<BBHqIQ", 1, 0, 0o644, 0, 0, 1) + short(b"") * 5
    listing = frame(49, struct.pack("<IBBHHI", 1, 1, 0, 1, 0, len(item)) + item)
    remote = env.far_end("fake", f"""exec python3 -c '
import os
hello = os.read(0, 65536)
n = int.from_bytes(hello[:4], "little") + 4
chosen = hello[:9] + 2 * hello[11:13] + hello[13:n]  # of the versions the newest
os.write(1, chosen + bytes.fromhex("{listing.hex()}"))
heard = os.open("{heard}", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
while os.write(heard, os.read(0, 65536)): pass'""")
    put(env.path("src", "f"), b"x")
    env.resync(env.path("src"), env.path("dest"), code=5, remote=remote).says("refused path")
    told = struct.pack("<BH", 2, 3)
    wait_for(lambda: os.path.exists(heard) and told in open(heard, "rb").read(),
             "the far end was told")


@case
def test_recover_begins_nothing_after_its_time(env):
    """The web server waits for it. What is left is the receiver's, which does the same."""
    p = Pair(env, 1)
    p.daemon.stop()
    recover = ("recover", "-c", p.config, "--as", "web2", "--state-dir", env.path("state-web2"))
    env.mirrord(*recover, "--timeout", "0", code=6).says("example.com", "not begun within 0 s")
    env.mirrord(*recover)


if __name__ == "__main__":
    main()
