"""What every end-to-end test stands on: a throwaway environment with a private sshd, mirrord's two
ends on one machine, and a runner. It knows nothing of mirrord beyond its command line; what trees
are and whether two are equal is in trees.py.

A case is a function that takes an Env. The environment is made for it under /dev/shm and removed
after it, with every process that was started in it. Nothing here waits for time, only for
conditions, with a deadline.
"""

import atexit
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

MIRRORD = os.path.abspath(os.environ.get("MIRRORD", "mirrord"))
SANITIZED = os.environ.get("MIRRORD_SANITIZED") == "1"
SLOW = int(os.environ.get("MIRRORD_E2E_SLOW", 4 if SANITIZED else 1))
COMM = os.environ.get("MIRRORD_E2E_COMM", os.path.basename(MIRRORD))[:15]  # under valgrind it is valgrind's
VALGRIND = COMM.startswith("memcheck")
MARK = "MIRRORD_E2E"  # in the environment of every process of an Env: how leftovers are found
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
ROOT = os.geteuid() == 0
USER = "root" if ROOT else os.environ.get("USER") or subprocess.check_output(
    ["id", "-un"], text=True).strip()


class Skip(Exception):
    """The machine lacks what the case needs."""


def wait_for(condition, what, seconds=20):
    """Polls until condition() is true and returns what it returned. What takes long to ask is asked less
    often: who waits leaves two thirds of a core to what is waited for."""
    end = time.monotonic() + seconds * SLOW
    while True:
        begin = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > end:
            raise AssertionError(f"not in {seconds * SLOW} s: {what() if callable(what) else what}")
        time.sleep(min(max(0.01, 2 * (now - begin)), 0.25))


def check(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(w) for w in what))


def check_equal(got, wanted, what=""):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, expected {wanted!r}")


def scratch_dir():
    """On tmpfs, unless that is a container's small one."""
    for base in ("/dev/shm", os.environ.get("TMPDIR"), "/tmp"):
        if base and os.access(base, os.W_OK):
            st = os.statvfs(base)
            if st.f_bavail * st.f_frsize > 2 << 30 and (not st.f_files or st.f_favail > 200_000):
                return tempfile.mkdtemp(prefix="mirrord-e2e-", dir=base)
    raise Skip("no place with 2 GiB for files")


# Processes ---------------------------------------------------------------------------------------

def processes():
    """{pid: (parent's pid, comm)} of everything that runs; zombies are left out."""
    out = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as f:
                    text = f.read().decode(errors="replace")
            except OSError:
                continue
            comm, rest = text.split("(", 1)[1].rsplit(")", 1)
            fields = rest.split()
            if fields[0] not in "ZX":
                out[int(name)] = (int(fields[1]), comm)
    return out


def children(pid, table=None):
    return [p for p, (parent, _) in (table or processes()).items() if parent == pid]


def descendants(pid, table=None):
    table = table or processes()
    out, todo = [], [pid]
    while todo:
        found = children(todo.pop(), table)
        out += found
        todo += found
    return out


def marked(mark):
    """The processes that run in the environment with this mark."""
    wanted = f"{MARK}={mark}".encode()
    out = []
    for pid in processes():
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if wanted in f.read().split(b"\0"):
                    out.append(pid)
        except OSError:
            pass
    return [p for p in out if p != os.getpid()]


def send(pid, number):
    """Signals a process that may be gone already."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def peak_kib(pid):
    """The largest resident size so far; 0 once it is gone."""
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


class Result:
    def __init__(self, argv, code, out, err):
        self.argv, self.code, self.bytes = argv, code, out
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError:
            raise AssertionError(f"not one JSON object:\n{self}") from None

    def says(self, *patterns):
        """Each pattern is somewhere in standard error, whatever the case."""
        for p in patterns:
            check(re.search(p, self.err, re.I | re.S), f"nothing like {p!r} in the errors\n{self}")
        return self

    def prints(self, *patterns):
        """Likewise in standard output."""
        for p in patterns:
            check(re.search(p, self.out, re.I | re.S), f"nothing like {p!r} in the output\n{self}")
        return self

    def __str__(self):
        return (f"$ {' '.join(self.argv)}\nexit {self.code}\n"
                f"--- stdout\n{self.out[-3000:]}\n--- stderr\n{self.err[-3000:]}")


# sshd --------------------------------------------------------------------------------------------

def free_port(address="127.0.0.1"):
    """Below the range that the kernel gives to outgoing connections, so that a stopped sshd
    can come back to its port."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(200):
        port = random.SystemRandom().randrange(12000, 32000)
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((address, port))
                return port
            except OSError:
                continue
    raise Skip(f"no free port on {address}")


def keygen(path, kind="ed25519", *more):
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "key", "-f", path, *more],
                   check=True, stdin=subprocess.DEVNULL)
    return path


def root_is_locked():
    """sshd without PAM refuses an account whose password field begins with '!'."""
    try:
        with open("/etc/shadow") as f:
            return any(line.startswith("root:!") for line in f)
    except OSError:
        return False


class Sshd:
    """A private sshd in the foreground. `options` are lines for its configuration."""

    def __init__(self, env, address="127.0.0.1", options=(), host_key=None):
        self.env, self.address, self.options = env, address, list(options)
        self.dir = env.path(f"sshd{len(env.servers)}")
        os.mkdir(self.dir, 0o700)
        self.log = os.path.join(self.dir, "log")
        self.host_key = host_key or keygen(os.path.join(self.dir, "host_ed25519"))
        self.process = None
        env.servers.append(self)
        for _ in range(5):
            self.port = free_port(address)
            if self.start():
                break
        check(self.process, f"sshd does not start:\n{read_text(self.log)}")
        self.trust()

    def trust(self):
        """Adds the host key to the environment's known_hosts."""
        with open(self.host_key + ".pub") as f:
            kind, key = f.read().split()[:2]
        with open(self.env.known_hosts, "a") as f:
            f.write(f"[{self.address}]:{self.port} {kind} {key}\n")

    def start(self):
        if ROOT:
            os.makedirs("/run/sshd", 0o755, exist_ok=True)
        config = os.path.join(self.dir, "config")
        write_text(config, "\n".join(self.options + [
            f"Port {self.port}", f"ListenAddress {self.address}", f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.env.authorized_keys}", "PidFile none", "StrictModes no",
            f"UsePAM {'yes' if ROOT and root_is_locked() else 'no'}",
            "PermitRootLogin prohibit-password", "PasswordAuthentication no",
            "KbdInteractiveAuthentication no", "MaxStartups 1000", "MaxSessions 1000",
            "UseDNS no", "PrintMotd no", "X11Forwarding no", "LogLevel VERBOSE",
            f"SetEnv HOME={self.env.path('home')}",  # not what a person's shell does first there
            ""]))
        offset = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            p = subprocess.Popen([SSHD, "-D", "-e", "-f", config], stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, env=self.env.environ())
        wait_for(lambda: p.poll() is not None or "Server listening" in read_text(self.log, offset),
                 "sshd listens")
        self.process = p if p.poll() is None else None
        return self.process

    def sessions(self):
        """The sshd process of each connection."""
        table = processes()
        return [p for p in children(self.process.pid, table) if table[p][1].startswith("sshd")]

    def receivers(self):
        """The mirrord processes that serve the connections."""
        table = processes()
        return [p for p in descendants(self.process.pid, table) if table[p][1] == COMM]

    def cut(self):
        """Ends all connections, as a network that fails does."""
        for pid in self.sessions():
            send(pid, signal.SIGKILL)

    def stop(self):
        """Listener and connections."""
        if self.process:
            self.process.send_signal(signal.SIGSTOP)  # no new session between list and kill
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self):
        """On the same port."""
        self.stop()
        check(wait_for(self.start, "the port is free again"), read_text(self.log))


# The environment ---------------------------------------------------------------------------------

def read_text(path, offset=0):
    try:
        with open(path, "rb") as f:
            f.seek(offset)
            return f.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def write_text(path, text, mode=0o600):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)
    return path


_environments = []


def mounted_beneath(path):
    """Mount points in a directory, the innermost first."""
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as f:
        points = [line.split()[1] for line in f]
    return [p for p in reversed(points) if p.startswith(path + "/")]


class Env:
    """A directory with keys, an sshd and both ends' states. The far end is started through a script
    (remote) that gives it a state directory of its own."""

    def __init__(self, options=(), address="127.0.0.1", sshd=True):
        self.dir = scratch_dir()
        _environments.append(self)
        self.mark = os.path.basename(self.dir)
        self.servers, self.daemons, self.started = [], [], []
        for name in ("home", "state"):
            os.mkdir(self.path(name), 0o700)
        self.state = self.path("state")
        self.known_hosts = write_text(self.path("known_hosts"), "")
        self.key = keygen(self.path("id_ed25519"))
        self.authorized_keys = self.path("authorized_keys")
        shutil.copy(self.key + ".pub", self.authorized_keys)
        self.remote = self.far_end("far")
        self.sshd = Sshd(self, address, options) if sshd else None

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def environ(self, **more):
        out = {k: v for k, v in os.environ.items()
               if not k.startswith(("SSH_", "XDG_", "MIRRORD_SANI"))}
        out.update({"HOME": self.path("home"), "LC_ALL": "C", MARK: self.mark})
        if SANITIZED:
            log = f"log_path={self.path('sanitizer')}:exitcode=99"
            out.update({"ASAN_OPTIONS": log + ":detect_stack_use_after_return=0",
                        # A receiver forks twice, and its child has workers.
                        "TSAN_OPTIONS": log + ":second_deadlock_stack=1:die_after_fork=0",
                        "UBSAN_OPTIONS": log + ":halt_on_error=1:print_stacktrace=1"})
        out.update(more)
        return out

    def far_end(self, name, command=None):
        """A script for --remote-command: mirrord with a state directory of its own."""
        os.makedirs(self.path(f"state-{name}"), 0o700, exist_ok=True)
        keep = ("HOME", "LC_ALL", MARK, "ASAN_OPTIONS", "TSAN_OPTIONS", "UBSAN_OPTIONS", "MIRRORD_UNCONFINED",
                "MIRRORD_SANDBOX", "MIRRORD_SLOW")
        lines = ["#!/bin/sh"]
        lines += [f"export {k}='{v}'" for k, v in self.environ().items() if k in keep]
        state = self.path(f"state-{name}")
        lines.append(command or f"exec '{MIRRORD}' \"$@\" --state-dir '{state}'")
        script = self.path(f"remote-{name}")  # a new file: whoever was killed may be executing it
        os.replace(write_text(f"{script}.new", "\n".join(lines) + "\n", 0o700), script)
        return script

    def spawn(self, argv, **more):
        """A process that ends with the environment."""
        environ = self.environ(**more.pop("environ", {}))
        more.setdefault("stdin", subprocess.DEVNULL)
        p = subprocess.Popen(argv, env=environ, **more)
        self.started.append(p)
        return p

    def run(self, *argv, code=0, timeout=120, environ=None, input=b""):
        """A command to its end; code is what its exit code must be (None: any)."""
        argv = [os.fsdecode(a) for a in argv]
        p = self.spawn(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       environ=environ or {})
        try:
            out, err = p.communicate(input, timeout=timeout * SLOW)
        except subprocess.TimeoutExpired:
            p.kill()
            out, err = p.communicate()
            err += f"\n[killed after {timeout * SLOW} s]".encode()
        r = Result(argv, p.returncode, out, err)
        if code is not None and r.code != code:
            raise AssertionError(f"exit {r.code} instead of {code}\n{r}\n"
                                 f"--- sshd\n{self.sshd_log()}")
        return r

    def sshd_log(self):
        return "\n".join(read_text(s.log)[-2000:] for s in self.servers)

    def mirrord(self, *argv, **more):
        return self.run(MIRRORD, *argv, **more)

    def link_options(self, key=None, remote=None, server=None):
        return ["-p", str((server or self.sshd).port), "-i", key or self.key,
                "--known-hosts", self.known_hosts, "--remote-command", remote or self.remote,
                "--state-dir", self.state]

    def at(self, dest, server=None):
        """DEST as an operand: [USER@]HOST:DEST."""
        address = (server or self.sshd).address
        return f"{USER}@{f'[{address}]' if ':' in address else address}:{os.fsdecode(dest)}"

    def resync(self, src, dest, *options, code=0, key=None, remote=None, server=None, **more):
        return self.mirrord("resync", *self.link_options(key, remote, server), *options, src,
                            self.at(dest, server), code=code, **more)

    def resync_json(self, src, dest, *options, **more):
        return self.resync(src, dest, "--json", *options, **more).json()

    def config(self, text, hosts=("web1", "web2", "web3"), extra_host="", name="mirrord.conf",
               ports=None):
        """A configuration whose hosts are all this machine, each with its own far end. `ports` has
        those of hosts that are reached elsewhere than at the sshd."""
        out = [f'state-dir = "{self.state}"', f'control = "{self.path("control")}"',
               f'identity = "{self.key}"', f'known-hosts = "{self.known_hosts}"']
        for h in hosts:
            port = (ports or {}).get(h, self.sshd.port)
            out.append(f'host {h} {{ address = "{self.sshd.address}" port = {port} '
                       f'user = "{USER}" remote-command = "{self.far_end(h)}" {extra_host} }}')
        return write_text(self.path(name), "\n".join(out) + "\n" + text)

    def daemon(self, config, name="web1", ready=True, environ=None, wrap=(), options=("-v",)):
        """`wrap` is what runs it: a command that ends in an exec of its arguments."""
        d = Daemon(self, config, name, environ or {}, wrap, options)
        self.daemons.append(d)
        if ready:
            d.wait_ready()
        return d

    def sanitizer_reports(self):
        """Valgrind makes its file at once: there it is lines of its own that count."""
        found = [(n, read_text(self.path(n))) for n in sorted(os.listdir(self.dir))
                 if n.startswith(("sanitizer.", "valgrind."))]
        return [text for n, text in found if n.startswith("s") or re.search("^==", text, re.M)]

    def settle(self):
        """Ends what runs. The far ends must go by themselves once their connections are cut."""
        for p in self.started:
            if p.poll() is None:
                p.terminate()
        for p in self.started:
            try:
                p.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for s in self.servers:
            s.stop()
        try:
            wait_for(lambda: not marked(self.mark), "every far end is gone", 10)
        finally:
            for pid in marked(self.mark):
                send(pid, signal.SIGKILL)

    def close(self, keep=False):
        """Removes everything, whatever state it is in."""
        if self in _environments:
            _environments.remove(self)
        for p in self.started:
            if p.poll() is None:
                p.kill()
                p.wait()
        for s in self.servers:
            s.stop()
        for pid in marked(self.mark):
            send(pid, signal.SIGKILL)
        wait_for(lambda: not marked(self.mark), "killed processes are gone", 10)
        if keep:
            print(f"# kept: {self.dir}", flush=True)
            return
        for path in mounted_beneath(self.dir):
            subprocess.run(["umount", "-l", path], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)


class Daemon:
    """`mirrord run`, in the background."""

    def __init__(self, env, config, name, environ, wrap=(), options=()):
        self.env, self.config, self.name = env, config, name
        self.log = env.path(f"daemon{len(env.daemons)}.log")
        with open(self.log, "ab") as log:
            self.process = env.spawn([*wrap, MIRRORD, "run", "-c", config, "--as", name, *options],
                                     stdout=log, stderr=log, environ=environ)

    def text(self):
        return read_text(self.log)

    def wait_ready(self, seconds=60):
        wait_for(lambda: self.is_ready() or self.process.poll() is not None,
                 lambda: f"the daemon is ready\n{self.text()[-4000:]}", seconds)
        check(self.is_ready(),
              f"the daemon ended with {self.process.poll()}\n{self.text()[-4000:]}")

    def is_ready(self):
        return re.search(r"\bready\b", self.text()) is not None

    def ask(self, command, *more, code=0, timeout=90):
        return self.env.mirrord(command, "-c", self.config, *more, code=code, timeout=timeout)

    def flush(self, *more, code=0, seconds=60):
        r = self.ask("flush", "--timeout", str(seconds * SLOW), *more, code=None,
                     timeout=seconds + 30)
        check(code is None or r.code == code,
              f"flush: exit {r.code} instead of {code}\n{r}\n--- status\n"
              f"{self.ask('status', code=None).out}\n--- daemon\n{self.text()[-4000:]}")
        return r

    def status(self, code=None):
        return self.ask("status", "--json", code=code).json()

    def stop(self, code=0, number=signal.SIGTERM, seconds=20):
        """Ends it and expects this exit code (None: any)."""
        self.process.send_signal(number)
        try:
            got = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"alive {seconds * SLOW} s after signal {number}\n"
                                 f"{self.text()[-4000:]}") from None
        check(code is None or got == code,
              f"the daemon ended with {got} instead of {code}\n{self.text()[-4000:]}")


# The runner --------------------------------------------------------------------------------------

_cases = []


def case(*options, **env_options):
    """Registers a test. `@case` gives it a plain Env, `@case(…)` one made with these
    arguments, `@case(env=False)` none."""
    def register(function, wants_env=True, made_with=None):
        name = function.__name__.removeprefix("test_")
        _cases.append((name, function, wants_env, made_with or {}))
        return function
    if options:
        return register(options[0])
    wanted = env_options.pop("env", True)
    return lambda function: register(function, wanted, env_options)


def _run_case(function, wants_env, made_with):
    if not wants_env:
        function()
        return
    env = Env(**made_with)
    passed = False
    try:
        function(env)
        env.settle()
        reports = env.sanitizer_reports()
        check(not reports, "a sanitizer complains:\n" + "\n".join(reports)[:6000])
        passed = True
    except AssertionError:
        for report in env.sanitizer_reports():
            print(report[:6000])
        raise
    finally:
        env.close(keep=not passed and bool(os.environ.get("KEEP")))


def _clean_up():
    for env in list(_environments):
        env.close()


def explain(error):
    """What was expected and the line of the test that expected it; all frames of a surprise."""
    if not isinstance(error, AssertionError):
        return "".join(traceback.format_exception(error))
    lines = [f"{os.path.basename(f.filename)}:{f.lineno}: {f.line}"
             for f in traceback.extract_tb(error.__traceback__)
             if os.path.basename(f.filename) != "harness.py"]
    return "\n".join(lines + [str(error)])


def main():
    """Runs the cases named on the command line, or all. The last line is the count."""
    atexit.register(_clean_up)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))
    counts = {"ok": 0, "FAIL": 0, "skip": 0}
    for name, function, wants_env, made_with in _cases:
        if sys.argv[1:] and name not in sys.argv[1:]:
            continue
        start, note = time.monotonic(), ""
        try:
            _run_case(function, wants_env, made_with)
            outcome = "ok"
        except Skip as reason:
            outcome, note = "skip", f": {reason}"
        except Exception as error:  # whatever goes wrong in a case is its failure
            outcome = "FAIL"
            print(explain(error))
        counts[outcome] += 1
        print(f"{outcome} {name}{note} ({time.monotonic() - start:.1f} s)", flush=True)
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    print(f"{counts['ok']} passed, {counts['FAIL']} failed{skipped}")
    sys.exit(1 if counts["FAIL"] or not any(counts.values()) else 0)
