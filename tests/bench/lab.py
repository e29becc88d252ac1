"""Where tools are run and measured: one environment of tests/e2e with its sshd, a place for each tool, a
counting proxy, and what a run costs at either end. Knows commands, not scenarios.

CPU of the near end is that of the command and all it waited for; of the far end, that of everything sshd
did for the connection, encryption included. Memory is of the largest process of each end, sampled in a
run of its own, through the proxy, which is also where bytes are counted: neither disturbs what is timed.
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

import harness  # noqa: E402 (the path comes first)
from harness import MIRRORD, USER, Env, Sshd, children, processes, wait_for  # noqa: E402
from relay import Relay  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.005
GCM = "Ciphers aes128-gcm@openssh.com"
PR_SET_CHILD_SUBREAPER = 36


class Skip(Exception):
    """The machine lacks what the scenario needs."""


class Failed(Exception):
    """A tool failed, or left trees that differ."""


class Run:
    """What one run took; None where it was not looked at."""

    def __init__(self, wall=None, near=None, far=None, load=None):
        self.wall, self.near, self.far, self.load = wall, near, far, load
        self.up = self.down = self.near_rss = self.far_rss = self.near_anon = self.far_anon = None


def reaped_cpu(pid):
    """Seconds of the children that a process has waited for."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / TICK


def used_cpu(pid):
    """Seconds of a process, threads that have ended included."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def threads_cpu(pid):
    """The same of the threads it has now, to the nanosecond: a tick is much for one that does next to nothing."""
    used = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            used += int(f.read().split()[0])
    return used / 1e9


def ended_children():
    """Of this process, those that wait to be waited for."""
    out = []
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/children") as f:
                pids = f.read().split()
        except FileNotFoundError:  # a thread of a proxy, which has ended
            continue
        for pid in pids:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")", 1)[1].split()[0] == "Z":
                    out.append(int(pid))
    return out


def busy_cpu():
    """Seconds that all processors together were busy since boot."""
    with open("/proc/stat") as f:
        n = [int(x) for x in f.readline().split()[1:]]
    return (sum(n[:3]) + sum(n[5:8])) / TICK


def memory(pid):
    """(the command's name, peak resident, anonymous now), in KiB; zeros once it is gone."""
    name, peak, anon = "", 0, 0
    try:
        with open(f"/proc/{pid}/status") as f:
            for line in f:
                if line.startswith("Name:"):
                    name = line.split()[1]
                elif line.startswith("VmHWM:"):
                    peak = int(line.split()[1])
                elif line.startswith("RssAnon:"):
                    anon = int(line.split()[1])
    except OSError:
        pass
    return name, peak, anon


class Watch(threading.Thread):
    """Samples the memory of what was started by some processes (themselves left out) until it is stopped."""

    def __init__(self, near, far):
        super().__init__(daemon=True)
        self.roots, self.over = {"near": near, "far": far}, threading.Event()
        self.rss, self.anon = {"near": 0, "far": 0}, {"near": 0, "far": 0}
        self.start()

    def descend(self, pid):
        try:
            with open(f"/proc/{pid}/task/{pid}/children") as f:
                found = [int(p) for p in f.read().split()]
        except OSError:
            return []
        return found + [q for p in found for q in self.descend(p)]

    def run(self):
        while not self.over.wait(SAMPLE_SECONDS):
            for end, root in self.roots.items():
                for pid in self.descend(root) + ([root] if end == "near" else []):
                    name, rss, anon = memory(pid)
                    if end == "far" and name.startswith("sshd"):
                        continue
                    self.rss[end] = max(self.rss[end], rss)
                    self.anon[end] = max(self.anon[end], anon)

    def stop(self):
        self.over.set()
        self.join()


def mount_tmpfs():
    """A tmpfs of its own, where that is allowed: a million files three times over would leave nobody else
    an inode of the machine's. None where it is not."""
    path = tempfile.mkdtemp(prefix="mirrord-bench-", dir="/dev/shm")
    how = ["mount", "-t", "tmpfs", "-o", "size=90%,nr_inodes=0,mode=700", "mirrord-bench", path]
    if subprocess.run(how, stderr=subprocess.DEVNULL, check=False).returncode == 0:
        return path
    os.rmdir(path)
    return None


class Lab:
    def __init__(self, quick=False):
        self.quick = quick
        self.mount = mount_tmpfs()
        if self.mount:
            harness.scratch_dir = lambda: tempfile.mkdtemp(prefix="lab-", dir=self.mount)
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # a far end may outlive its connection
        self.env = Env(sshd=False)
        bare = f"SetEnv HOME={self.env.path('home')}"  # what a login shell reads there is not measured
        self.env.sshd = Sshd(self.env, options=[bare])
        self.gcm = Sshd(self.env, options=[bare, GCM])
        self.proxies = []

    def close(self):
        for p in self.proxies:
            p.close()
        self.env.close()
        if self.mount:
            subprocess.run(["umount", "-l", self.mount], check=True)
            os.rmdir(self.mount)

    def need_inodes(self, count):
        st = os.statvfs(self.env.dir)
        if st.f_files and st.f_favail < count * 2:
            raise Skip(f"needs {count} inodes on a tmpfs of its own")

    def path(self, *names):
        return self.env.path(*names)

    def clear(self, path):
        if os.path.isdir(path):
            shutil.rmtree(path)

    def sshd(self, tool):
        return self.gcm if tool.gcm else self.env.sshd

    def proxy(self, server, **how):
        """A proxy whose port is known to all tools as this server's."""
        p = Relay((server.address, server.port), **how)
        with open(server.host_key + ".pub") as f:
            kind, key = f.read().split()[:2]
        with open(self.env.known_hosts, "a") as f:
            f.write(f"[127.0.0.1]:{p.port} {kind} {key}\n")
        self.proxies.append(p)
        return p

    def ssh(self, port):
        return ["ssh", "-F", "none", "-p", str(port), "-i", self.env.key, "-o", "IdentitiesOnly=yes",
                "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.env.known_hosts}"]

    def quiet(self, server):
        """Waits until all connections of the server have ended, and what ran there: seconds that those used
        that sshd has not waited for."""
        mine = {s.process.pid for s in self.env.servers} | {p.pid for p in self.env.started}
        used = 0.0

        def ended():
            nonlocal used
            table = processes()
            left = children(server.process.pid, table)
            for pid in set(ended_children()) - mine:
                _, _, usage = os.wait4(pid, 0)
                used += usage.ru_utime + usage.ru_stime
            return not left and not set(children(os.getpid(), table)) - mine
        wait_for(ended, "the connections have ended", 30)
        return used

    def wait(self, p, argv):
        """The process's end: its usage. Fails with what it said."""
        out = p.stdout.read()
        _, status, usage = os.wait4(p.pid, 0)
        p.returncode = os.waitstatus_to_exitcode(status)
        if p.returncode:
            raise Failed(f"{' '.join(argv)[:300]}: exit {p.returncode}\n{out.decode(errors='replace')[-2000:]}")
        return usage

    def execute(self, tool, argv, watch=False):
        server = self.sshd(tool)
        far, busy, start = reaped_cpu(server.process.pid), busy_cpu(), time.monotonic()
        p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             env=self.env.environ())
        watching = Watch(p.pid, server.process.pid) if watch else None
        usage = self.wait(p, argv)
        run = Run(time.monotonic() - start, usage.ru_utime + usage.ru_stime)
        if watching:
            watching.stop()
            run.near_rss, run.near_anon = watching.rss["near"], watching.anon["near"]
            run.far_rss, run.far_anon = watching.rss["far"], watching.anon["far"]
        busy = busy_cpu() - busy
        run.far = self.quiet(server) + reaped_cpu(server.process.pid) - far
        run.load = max(0.0, busy - run.near - run.far) / run.wall
        return run

    def timed(self, tool, src, dest, proxy=None):
        return self.execute(tool, tool.command(self, proxy.port if proxy else self.sshd(tool).port, src, dest))

    def counted(self, tool, src, dest, **how):
        """A run through a proxy, for bytes and memory."""
        proxy = self.proxy(self.sshd(tool), **how)
        run = self.execute(tool, tool.command(self, proxy.port, src, dest), watch=True)
        run.up, run.down = proxy.up, proxy.down
        return run


class Tool:
    """One way to bring DEST level. `place` is its own directory: DEST, and what it remembers."""
    gcm = False
    compared = "aH"  # what of the trees must be equal, as options of rsync

    def __init__(self, name, lab, *options):
        self.name, self.options = name, list(options)
        self.word = re.sub(r"\W+", "-", name)
        self.place = lab.path(f"at-{self.word}")
        os.makedirs(self.place, exist_ok=True)

    @property
    def dest(self):
        return f"{self.place}/dest"

    def forget(self, lab):
        """Removes what it remembers of earlier runs."""

    def cold(self, lab):
        self.forget(lab)
        for name in os.listdir(self.place):
            lab.clear(f"{self.place}/{name}")


class Rsync(Tool):
    def command(self, lab, port, src, dest):
        return ["rsync", "-a", "--delete", *self.options, "-e", " ".join(lab.ssh(port)), f"{src}/",
                f"{USER}@127.0.0.1:{dest}/"]


class Mirrord(Tool):
    def __init__(self, name, lab, *options, gcm=False):
        super().__init__(name, lab, *options)
        self.gcm = gcm
        self.near = lab.path(f"near-{self.word}")
        self.far_name = f"far-{self.word}"
        self.remote = lab.env.far_end(self.far_name)

    def command(self, lab, port, src, dest):
        return [MIRRORD, "resync", "-q", "-p", str(port), "-i", lab.env.key, "--known-hosts", lab.env.known_hosts,
                "--remote-command", self.remote, "--state-dir", self.near, *self.options, src,
                f"{USER}@127.0.0.1:{dest}"]

    def forget(self, lab):
        lab.clear(self.near)
        lab.clear(lab.path(f"state-{self.far_name}"))


class Tar(Tool):
    def __init__(self, name, lab, gcm=False):
        super().__init__(name, lab)
        self.gcm = gcm

    def command(self, lab, port, src, dest):
        far = f"mkdir -p {dest} && tar -xpf - -C {dest}"
        return ["sh", "-c", f"tar -cf - -C {src} . | {' '.join(lab.ssh(port))} {USER}@127.0.0.1 '{far}'"]


class Cat(Tool):
    """The bytes of a single file."""

    def command(self, lab, port, src, dest):
        return ["sh", "-c", f"cat {src}/* | {' '.join(lab.ssh(port))} {USER}@127.0.0.1 "
                            f"'mkdir -p {dest} && cat >{dest}/all'"]


class Floor(Tool):
    """A login, and a copy of the file at the far end by two threads: what no delta goes below."""

    def command(self, lab, port, src, dest):
        copy = os.path.join(os.path.dirname(os.path.abspath(__file__)), "copy.py")
        return [*lab.ssh(port), f"{USER}@127.0.0.1", f"mkdir -p {dest} && python3 -B {copy} {src}/file {dest}/file"]
