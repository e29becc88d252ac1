"""The receiver's fences, each without the others: a build with -Dfaults=true can be told not to
confine paths (MIRRORD_UNCONFINED), and which layers of the sandbox to leave out (MIRRORD_SANDBOX).
Somebody on the secondary puts a link to a directory outside in the place of one that is mirrored;
what is outside must stay as it is."""

import ctypes
import os
import stat
import struct
import subprocess

from harness import (MIRRORD, ROOT, SANITIZED, Skip, case, check, check_equal, descendants, main,
                     read_text, wait_for, write_text)
from pair import site_text
from trees import check_same, put, remove, snapshot


IN_OPEN = 0x20
libc = ctypes.CDLL(None, use_errno=True)
# Owner and others as before, and the user 1 may read.
ACL = "system.posix_acl_access", struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", tag, 4, number) for tag, number in
    ((1, 0xffffffff), (2, 1), (4, 0xffffffff), (16, 0xffffffff), (32, 0xffffffff)))


def has_acls(path):
    try:
        os.setxattr(path, *ACL)
    except OSError:
        return False
    os.removexattr(path, ACL[0])
    return True


class Opened:
    """Whether any of the files in a directory is opened."""

    def __init__(self, path):
        self.fd = libc.inotify_init1(os.O_NONBLOCK)
        check(libc.inotify_add_watch(self.fd, os.fsencode(path), IN_OPEN) > 0, "inotify")

    def any(self):
        """And no more is looked for."""
        try:
            data = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            data = b""
        finally:
            os.close(self.fd)
        names = []
        while data:
            n = struct.unpack_from("iIII", data)[3]
            names += [data[16:16 + n].rstrip(b"\0")]
            data = data[16 + n:]
        return any(names)  # that the directory itself is opened has none


class Attack:
    def __init__(self, env, name, exports, wrap=()):
        self.src, self.dest = env.path("src-" + name), env.path("far-" + name, "dest")
        self.outside, self.log = env.path("outside-" + name), env.path("log-" + name)
        os.mkdir(env.path("far-" + name))
        for path in ("changed", "goes", "mode", "owner", "times", "attributes", "../../other"):
            put(f"{self.src}/d/in/{path}", b"as it was", 0o444)
        self.acls = has_acls(f"{self.src}/d/in/attributes")
        put(f"{self.src}/d/in/large", b"as it was" * 300_000)
        far = env.far_end("far-" + name, f"{exports}exec '{MIRRORD}' \"$@\" --state-dir "
                          f"'{env.path('state-' + name)}' 2>>'{self.log}'")
        config = write_text(env.path(f"{name}.conf"), f"""state-dir = "{env.path("near-" + name)}"
            control = "{env.path("control-" + name)}"
            host web1 {{ }} host web2 {{ transport = child remote-command = "{far}" }}
            """ + site_text("example.com", self.src, [self.dest], "max-delete = \"100%\""))
        self.daemon = env.daemon(config, wrap=wrap)
        self.daemon.flush()

    def swap(self):
        """The mirrored directory goes, with the same content, where the link leads."""
        os.rename(f"{self.dest}/d", self.outside)
        os.symlink(self.outside, f"{self.dest}/d")
        self.before = snapshot(self.outside)
        self.opened = Opened(f"{self.outside}/in")

    def change(self):
        """In a directory beneath it: of the one that was swapped nothing is sent."""
        put(f"{self.src}/d/in/new", b"comes")
        put(f"{self.src}/d/in/changed", b"is something else now")
        put(f"{self.src}/d/in/large", b"as it was" * 300_000 + b" and more")
        os.chmod(f"{self.src}/d/in/mode", 0o600)
        if ROOT:
            os.chown(f"{self.src}/d/in/owner", 1, 1)
        os.utime(f"{self.src}/d/in/times", (10 ** 9, 10 ** 9))
        if self.acls:
            os.setxattr(f"{self.src}/d/in/attributes", *ACL)
        remove(f"{self.src}/d/in/goes")
        put(f"{self.src}/other", b"goes on")
        wait_for(lambda: read_text(f"{self.dest}/other") == "goes on", "the rest goes on")
        self.daemon.flush("--timeout", "2", code=None)

    def done(self):
        """What was done to what is outside."""
        opened, now = self.opened.any(), snapshot(self.outside)
        def differs(name, what):
            path = b"in/" + name.encode()
            return now.get(path, {}).get(what) != self.before.get(path, {}).get(what)
        out = {word for word, name, what in (
            ("written", "changed", "content"), ("made", "new", "type"), ("removed", "goes", "type"),
            ("mode", "mode", "mode"), ("owner", "owner", "uid"), ("times", "times", "mtime"),
            ("attributes", "attributes", "acl")) if differs(name, what)}
        if not out and now != self.before:
            out.add("something else")
        return out | ({"read"} if opened else set())

    def all(self):
        """That can be done to it."""
        return {"read", "written", "made", "removed", "mode", "times"} | \
            ({"owner"} if ROOT else set()) | ({"attributes"} if self.acls else set())

    def run(self):
        self.swap()
        self.change()
        done = self.done()
        far = self.daemon.status()["secondaries"][0]
        self.unconfined, self.lacks = far["unconfined"], far["sandbox_lacks"]
        self.said = self.daemon.ask("status", "--all", code=None).out
        check_equal(self.unconfined, "not confined by" in read_text(self.log), "what status says")
        self.daemon.stop()
        return done


MOUNTS_ALONE = 16  # sandbox.h
# As systemd has them: with others there is no mount namespace, and this machine's may be.
SHARED_MOUNTS = ("unshare", "-m", "--propagation", "shared")


def mounts_of(pid):
    """What is mounted where, by the mount's number."""
    return {int(line.split()[0]): line.split()[4]
            for line in read_text(f"/proc/{pid}/mountinfo").splitlines()}


def directories_of(pid):
    """The mounts' numbers of the directories that it has open, and its current one."""
    out = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if stat.S_ISDIR(os.stat(f"/proc/{pid}/fd/{fd}").st_mode):
                text = read_text(f"/proc/{pid}/fdinfo/{fd}")
                out += [int(line.split()[1]) for line in text.splitlines()
                        if line.startswith("mnt_id:")]
        except FileNotFoundError:  # closed meanwhile
            pass
    return out


def is_elsewhere(pid, than):
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt") != than
    except FileNotFoundError:
        return False


def exports(**settings):
    return "".join(f"export {k}={v}; " for k, v in settings.items())


@case
def test_paths_without_confinement(env):
    """The sandbox alone; and with the sandbox off, the confined paths alone: nothing outside is read,
    written, made or removed, nor has its mode, owner, times or attributes changed."""
    check_equal(Attack(env, "landlock", exports(MIRRORD_UNCONFINED=1)).run(), set(), "the sandbox holds")
    paths = Attack(env, "paths", exports(MIRRORD_SANDBOX=0))
    check_equal(paths.run(), set(), "the paths hold")
    check(paths.unconfined, "the primary knows that there is no sandbox")
    check_equal(paths.lacks, ["landlock", "system-calls"], "what it says is missing")
    check("it lacks Landlock (" in paths.said, paths.said)
    neither = Attack(env, "neither", exports(MIRRORD_UNCONFINED=1, MIRRORD_SANDBOX=0))
    check_equal(neither.run(), neither.all(), "without both the attack works: the other two say something")


LABEL = "security.selinux"


def label(path):
    try:
        return os.getxattr(path, LABEL).decode()
    except OSError:
        return None


EXPECTED = {
    "": "root", "up": "up", "up/f": "up f", "up/deep/new": "deep", "up/new": "up", "up/new/dir": "up",
    "up/new/dir/f": "up", "top": None, "units/u": "u", "units/u/code": "code", "units/u/code/f": "code f",
    "units/u/g": "u", "units/u/new": "u", "units/u/new/f": "u", "units/other": "units", "units/other/f": "units"}


class Labelled:
    """A secondary that has labels, which root may set where no security module handles them."""

    def __init__(self, env, name, exports):
        self.env, self.src, self.dest = env, env.path("src-" + name), env.path("far-" + name, "dest")
        self.log = env.path("log-" + name)
        os.mkdir(env.path("far-" + name))
        for path in ("up/f", "up/deep/f", "units/u/code/f", "units/u/g", "top"):
            put(f"{self.src}/{path}", b"as it was")
        far = env.far_end("far-" + name, f"{exports}exec '{MIRRORD}' \"$@\" --state-dir "
                          f"'{env.path('state-' + name)}' 2>>'{self.log}'")
        self.config = write_text(env.path(f"{name}.conf"), f"""state-dir = "{env.path("near-" + name)}"
            control = "{env.path("control-" + name)}"
            host web1 {{ }} host web2 {{ transport = child remote-command = "{far}" }}
            """ + site_text("example.com", self.src, [self.dest], "unit = {\"units/*\"} settle = 100ms"))
        daemon = env.daemon(self.config)
        daemon.flush()
        daemon.stop()
        for path, text in (("", "root"), ("up", "up"), ("up/f", "up f"), ("up/deep", "deep"), ("units", "units"),
                           ("units/u", "u"), ("units/u/code", "code"), ("units/u/code/f", "code f")):
            os.setxattr(os.path.join(self.dest, path), LABEL, text.encode())

    def change(self):
        daemon = self.env.daemon(self.config)
        for path in ("up/f", "up/deep/new", "up/new/dir/f", "units/u/code/f", "units/u/g", "units/u/new/f",
                     "units/other/f"):
            put(f"{self.src}/{path}", b"is something else now")
        daemon.flush()
        check_same(self.src, self.dest)
        daemon.stop()

    def labels(self):
        return {path: label(os.path.join(self.dest, path)) for path in EXPECTED}


@case(sshd=False)
def test_security_labels_are_those_of_the_place(env):
    here = put(env.path("labelled"), b"")
    try:
        os.setxattr(here, LABEL, b"any")
    except OSError as e:
        raise Skip(f"{LABEL}: {e.strerror}") from None
    free = Labelled(env, "free", exports(MIRRORD_SANDBOX=0))
    free.change()
    check_equal(free.labels(), EXPECTED, "labels")
    check("security label" not in read_text(free.log), read_text(free.log))
    # Confined it may where SELinux decides; else only who administers the system may: all arrives, and it is said once.
    confined = Labelled(env, "confined", "")
    confined.change()
    said = read_text(confined.log).count("security label of its place")
    check_equal(said, 0 if confined.labels() == EXPECTED else 1, f"{confined.labels()}\n{read_text(confined.log)}")


def process_status(pid):
    try:
        return dict(line.split(":\t", 1) for line in read_text(f"/proc/{pid}/status").splitlines()
                    if ":\t" in line)
    except FileNotFoundError:
        return {}


KEPT = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 28  # CHOWN, DAC_OVERRIDE, FOWNER, FSETID, LEASE


@case(sshd=False)
def test_confined_before_the_first_byte(env):
    """The process that will read it, while nobody has sent anything."""
    if SANITIZED:
        raise Skip("a build with sanitizers has no list of system calls")
    os.mkdir(env.path("far"))
    receiver = env.spawn([MIRRORD, "receive", "--root", env.path("far", "root"), "--state-dir", env.path("state-far")],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    lists = int(process_status(receiver.pid)["Seccomp_filters"])  # this machine may have one for everything

    def confined():
        found = [s for s in map(process_status, descendants(receiver.pid))
                 if int(s.get("Seccomp_filters", 0)) > lists]
        return found[0] if found else None
    wait_for(confined, "a process with a list of system calls")
    child = confined()
    check_equal(child["NoNewPrivs"], "1", "no new privileges")
    check_equal(int(child["CapEff"], 16) & ~KEPT, 0, "capabilities")
    check_equal(int(child["CapPrm"], 16), int(child["CapEff"], 16), "none can be taken up again")
    check(not os.path.exists(env.path("far", "root")), "nothing was asked for")
    receiver.stdin.close()
    check_equal(receiver.wait(), 0, "the stream's end")


@case
def test_what_the_receiver_sees(env):
    """Its mount namespace has the directory of the root, the state and nothing else; alone it is a
    fence, too."""
    if not ROOT:
        raise Skip("needs root")
    attack = Attack(env, "mounts", exports(MIRRORD_UNCONFINED=1, MIRRORD_SANDBOX=MOUNTS_ALONE),
                    SHARED_MOUNTS)
    theirs = os.readlink(f"/proc/{attack.daemon.process.pid}/ns/mnt")
    inside = [p for p in descendants(attack.daemon.process.pid) if is_elsewhere(p, theirs)]
    if not inside:
        check("mount namespace" in read_text(attack.log), "what it lacks is said")
        attack.daemon.stop()
        raise Skip("no mount namespaces here")
    pid, mounts = inside[0], mounts_of(inside[0])
    shown = {env.path("far-mounts"), env.path("state-mounts")}
    check_equal(set(mounts.values()),
                shown | {"/", "/proc/self/fd", "/proc/sys/kernel/random/boot_id"})
    check(not os.path.lexists(f"/proc/{pid}/root/etc"), "no /etc")
    check_equal({env.path(name) for name in os.listdir(f"/proc/{pid}/root{env.dir}")}, shown)
    check(set(directories_of(pid)) <= set(mounts), "nothing open that is not in it")
    check_equal(os.readlink(f"/proc/{pid}/cwd"), "/")
    check_equal(attack.run(), set(), "the mounts hold")


@case
def test_replaced_where_it_cannot_see(env):
    """Another directory takes the place of the one that the root's is in: in its mount namespace the
    receiver still has the former one, and must not go on there."""
    attack = Attack(env, "moved", "", SHARED_MOUNTS if ROOT else ())
    os.rename(env.path("far-moved"), env.path("before"))
    os.makedirs(attack.dest)
    before = snapshot(env.path("before", "dest"))
    put(f"{attack.src}/other", b"goes nowhere")
    wait_for(lambda: "is not the directory any more" in attack.daemon.text(), "the site is closed")
    check(snapshot(env.path("before", "dest")) == before, "nothing is written to the former one")
    attack.daemon.stop()


if __name__ == "__main__":
    main()
