"""The daemon under the restrictions of its systemd unit does all that it does without them."""

import ctypes.util
import os
import pwd
import shutil
import subprocess
import sys

from harness import ROOT, Skip, case, check, check_equal, main, read_text, wait_for
from pair import site_text
from trees import check_same, put

HERE = os.path.dirname(os.path.abspath(__file__))
UNIT = os.path.join(HERE, "..", "..", "examples", "mirrord.service")
OWNER = "www-data"


def wrapped(env, *writable):
    """What runs the daemon so."""
    if not ROOT:
        raise Skip("needs root")
    if not shutil.which("systemd-analyze") or not ctypes.util.find_library("seccomp"):
        raise Skip("needs systemd-analyze and libseccomp")
    try:
        pwd.getpwnam(OWNER)
    except KeyError:
        raise Skip(f"no user {OWNER}") from None
    wrap = [sys.executable, "-B", os.path.join(HERE, "confined.py"), UNIT, ":".join(writable)]
    tried = subprocess.run([*wrap, "/bin/true"], capture_output=True, text=True)
    if tried.returncode != 0:
        raise Skip(f"cannot be confined here: {tried.stderr.strip()}")
    return wrap


class Service:
    def __init__(self, env, transport):
        self.env, self.src, self.dest = env, env.path("src"), env.path("dest2")
        self.run, self.numbers = env.path("run"), env.path("numbers")
        for d in (self.run, self.numbers):
            os.mkdir(d, 0o711)
        os.chmod(env.dir, 0o711)
        put(f"{self.src}/wp-config.php", b"a secret", 0o600)
        put(f"{self.src}/closed/inside", b"another one", 0o600)
        for path in (self.src, f"{self.src}/wp-config.php", f"{self.src}/closed", f"{self.src}/closed/inside"):
            shutil.chown(path, OWNER, OWNER)
        os.chmod(f"{self.src}/closed", 0o700)
        text = env.config(site_text("example.com", self.src, [self.dest]), ("web1", "web2"),
                          f"transport = {transport}")
        with open(text) as f:
            whole = f.read().replace(env.path("control"), f"{self.run}/control")
        self.config = env.path("service.conf")
        put(self.config, (f'metrics = "{self.numbers}/mirrord.prom"\n' + whole).encode())
        self.wrap = wrapped(env, env.state, self.run, self.numbers)

    def daemon(self):
        return self.env.daemon(self.config, wrap=self.wrap)


def powers(pid):
    """(effective capabilities, no_new_privs, seccomp) of a process."""
    fields = dict(line.split(":", 1) for line in read_text(f"/proc/{pid}/status").splitlines())
    return int(fields["CapEff"], 16), fields["NoNewPrivs"].strip(), fields["Seccomp"].strip()


@case
def test_reads_sends_and_tells(env):
    s = Service(env, "auto")
    daemon = s.daemon()
    check_equal(powers(daemon.process.pid), (1 << 0 | 1 << 2 | 1 << 28, "1", "2"),
                "CAP_CHOWN, CAP_DAC_READ_SEARCH, CAP_LEASE; no_new_privs; a filter")
    daemon.flush()
    check_same(s.src, s.dest)
    upload = f"{s.src}/upload.jpg"
    with open(upload, "wb") as f:  # another user's, open for writing: not before it is closed
        os.fchown(f.fileno(), *pwd.getpwnam(OWNER)[2:4])
        os.fchmod(f.fileno(), 0o600)
        f.write(b"half")
        f.flush()
        r = daemon.flush("example.com", "upload.jpg", code=4, seconds=1)
        check("upload.jpg" in r.out + r.err, r)
        check(not os.path.exists(f"{s.dest}/upload.jpg"), "sent while it was being written")
        f.write(b" and half")
    daemon.flush()
    check_same(s.src, s.dest)
    sockets = [e for e in os.scandir(f"{s.run}/sites") if e.name == "example.com"]
    check_equal([e.stat(follow_symlinks=False).st_uid for e in sockets], [pwd.getpwnam(OWNER).pw_uid],
                "the owner of the site's socket")
    wait_for(lambda: "mirrord_" in read_text(f"{s.numbers}/mirrord.prom"), "numbers are written")
    daemon.stop()


@case
def test_killed_and_started_again(env):
    """What it left lies in its directories as it was; ssh(1) is started this time."""
    s = Service(env, "openssh")
    daemon = s.daemon()
    daemon.flush()
    check("openssh" in daemon.status()["secondaries"][0]["link"], daemon.status())
    daemon.process.kill()
    daemon.process.wait()
    put(f"{s.src}/closed/later", b"x", 0o600)
    daemon = s.daemon()
    daemon.flush()
    check_same(s.src, s.dest)
    check("socket" not in daemon.text(), daemon.text())
    daemon.ask("reload")
    daemon.stop()


if __name__ == "__main__":
    main()
