"""Scenarios of a running daemon: how soon an upload is at the secondary, alone, behind bulk data, and a
thousand at once; what many directories cost; what four secondaries cost.
"""

import ctypes
import os
import random
import re
import shutil
import statistics
import struct
import subprocess
import sys
import threading
import time

from copies import WAN
from grove import Grove
from harness import USER, read_text, wait_for, write_text
from lab import Rsync, Run, Tool, memory, threads_cpu, used_cpu
from scenario import Row, Scenario, Target

IN_CLOSE_WRITE, IN_MOVED_TO = 0x8, 0x80
PIPE_END = """
import os, struct, sys
source, directory = sys.stdin.buffer, sys.argv[1]
print('ready', flush=True)
while head := source.read(8):
    name, size = struct.unpack('<II', head)
    name, data = source.read(name), source.read(size)
    with open(os.path.join(directory, name.decode()), 'wb') as f:
        f.write(data)
"""


class Arrivals(threading.Thread):
    """When each name was complete in a directory: closed, or renamed to there."""

    def __init__(self, directory):
        super().__init__(daemon=True)
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_CLOEXEC)
        if libc.inotify_add_watch(self.fd, directory.encode(), IN_CLOSE_WRITE | IN_MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")
        self.seen, self.news = {}, threading.Condition()
        self.start()

    def run(self):
        while True:
            data, now = os.read(self.fd, 65536), time.monotonic()
            with self.news:
                at = 0
                while at < len(data):
                    length = struct.unpack_from("iIII", data, at)[3]
                    name = data[at + 16:at + 16 + length].rstrip(b"\0").decode()
                    if not name.startswith("."):
                        self.seen[name] = now
                    at += 16 + length
                self.news.notify_all()

    def wait(self, names, seconds=60):
        """When the last of them was there."""
        with self.news:
            if not self.news.wait_for(lambda: all(n in self.seen for n in names), seconds):
                raise AssertionError(f"{sum(n not in self.seen for n in names)} of {len(names)} not there "
                                     f"in {seconds} s")
            return max(self.seen[n] for n in names)


class Feed(Tool):
    """A tool that runs all the time. SRC and DEST are equal when start returns."""
    process = daemon = None

    def start(self, lab, src, port):
        raise NotImplementedError

    def sent(self, path):
        """A file was closed."""

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait()


class MirrordFeed(Feed):
    secondaries = 1
    site_options = ""

    def far_end(self, lab, host):
        return lab.env.far_end(host)

    def config(self, lab, src, port):
        hosts = [f"web{i + 2}" for i in range(self.secondaries)]
        lines = [f'state-dir = "{self.place}/state"', f'control = "{self.place}/control"',
                 f'identity = "{lab.env.key}"', f'known-hosts = "{lab.env.known_hosts}"',
                 'host web1 { address = "127.0.0.1" }']
        for h in hosts:
            lines.append(f'host {h} {{ address = "127.0.0.1" port = {port} user = "{USER}" '
                         f'remote-command = "{self.far_end(lab, h)}" }}')
        lines.append(f'site "bench" {{ root = "{src}" primary = web1 hosts = {{web1, {", ".join(hosts)}}} '
                     f'{self.site_options}')
        lines += [f'  at {h} {{ root = "{self.place}/{"dest" if h == "web2" else h}" }}' for h in hosts]
        return write_text(f"{self.place}/mirrord.conf", "\n".join(lines + ["}", ""]))

    def run(self, lab, src, port):
        """As it is run: it does not log each file."""
        return lab.env.daemon(self.config(lab, src, port), options=())

    def start(self, lab, src, port):
        self.daemon = self.run(lab, src, port)
        self.process = self.daemon.process
        self.daemon.flush()

    def stop(self):
        if self.daemon:
            self.daemon.stop(code=None)


class LsyncdFeed(Feed):
    left_out = ()

    def start(self, lab, src, port):
        log, exclude = f"{self.place}/log", ", ".join(f'"{x}"' for x in self.left_out)
        config = write_text(f"{self.place}/lsyncd.lua", f"""
settings {{ nodaemon = true, logfile = "{log}", insist = true }}
sync {{ default.rsync, source = "{src}", target = "{USER}@127.0.0.1:{self.dest}", delay = 1,
       exclude = {{ {exclude} }}, rsync = {{ archive = true, rsh = "{" ".join(lab.ssh(port))}" }} }}
""")
        os.makedirs(self.dest, exist_ok=True)
        with open(f"{self.place}/out", "wb") as out:
            self.process = lab.env.spawn(["lsyncd", config], stdout=out, stderr=out)
        wait_for(lambda: re.search("tartup of .* finished", read_text(log)),
                 lambda: f"lsyncd is ready\n{read_text(log)}", 120)


class PipeFeed(Feed):
    """The file's bytes through ssh to a program that writes them down, without any safety."""
    compared = "r"

    def start(self, lab, src, port):
        shutil.copytree(src, self.dest)
        end = write_text(f"{self.place}/end.py", PIPE_END)
        self.process = subprocess.Popen(
            [*lab.ssh(port), f"{USER}@127.0.0.1", f"{sys.executable} -B {end} {self.dest}/uploads"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=lab.env.environ())
        self.process.stdout.readline()

    def sent(self, path):
        with open(path, "rb") as f:
            data = f.read()
        name = os.path.basename(path).encode()
        self.process.stdin.write(struct.pack("<II", len(name), len(data)) + name + data)
        self.process.stdin.flush()


class Live(Scenario):
    """Uploads into a watched directory."""

    def setup(self):
        os.makedirs(f"{self.src}/uploads", exist_ok=True)
        self.rng = random.Random(3)
        self.tools = [MirrordFeed("mirrord", self.lab), PipeFeed("bare pipe", self.lab),
                      LsyncdFeed("lsyncd", self.lab)]

    def port(self, tool):
        server = self.lab.sshd(tool)
        return self.lab.proxy(server, **self.link).port if self.link else server.port

    def begin(self, tool):
        tool.start(self.lab, self.src, self.port(tool))
        return Arrivals(f"{tool.dest}/uploads")

    def upload(self, tool, name, data):
        """Writes a file; when it was closed."""
        path = f"{self.src}/uploads/{name}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        os.write(fd, data)
        closed = time.monotonic()
        os.close(fd)
        tool.sent(path)
        return closed

    def measure(self):
        self.setup()
        rows = {}
        for tool in self.tools:
            rows[tool.name] = Row(tool)
            try:
                self.trial(tool, rows[tool.name])
            finally:
                tool.stop()
            self.check(tool)
        return rows


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Upload(Live):
    name, title = "upload", "one upload of 5-200 KB: closed to complete on the secondary"
    targets = [Target("median ms", None, 1.5), Target("p99 ms", None, 8), Target("median ms", "lsyncd", 0.003),
               Target("median ms", "bare pipe", 1.2)]
    count = 300

    def trial(self, tool, row):
        there = self.begin(tool)
        count = self.size(30 if isinstance(tool, LsyncdFeed) else self.count, 10)
        self.series(tool, row, there, lambda done: done < count)

    def series(self, tool, row, there, more):
        """Uploads one after the other, with pauses that have no beat."""
        taken = []
        while more(len(taken)):
            name = f"{tool.word}-{len(taken)}.jpg"
            closed = self.upload(tool, name, self.rng.randbytes(self.rng.randrange(5000, 200001)))
            taken.append((there.wait([name]) - closed) * 1000)
            time.sleep(self.rng.uniform(0.01, 0.06))
        row.values.update({"uploads": len(taken), "median ms": statistics.median(taken),
                           "p99 ms": percentile(taken, 0.99), "slowest ms": max(taken)})


class UploadBehindBulk(Upload):
    name, title = "upload-bulk", "the same while 2 GiB of bulk go to the same secondary"
    targets = [Target("p99 ms", None, 20)]
    bulk = 2 << 30

    def setup(self):
        super().setup()
        self.tools = self.tools[:1]

    def trial(self, tool, row):
        there = self.begin(tool)
        heap = Grove(self.lab.path("heap"))
        heap.big("bulk", self.size(self.bulk, 64 << 20))
        os.rename(f"{heap.root}/bulk", f"{self.src}/bulk")
        self.series(tool, row, there, lambda done: done < 20 or not os.path.exists(f"{tool.dest}/bulk"))


class FarUploadBehindBulk(UploadBehindBulk):
    name, title = "far-upload-bulk", "the same over 40 ms and 100 Mbit/s, 256 MiB of bulk"
    targets = [Target("median ms", None, 100)]
    link, bulk = WAN, 256 << 20


class Burst(Live):
    name, title = "burst", "1,000 uploads (106 MB) at once: last close to all there"
    targets = [Target("seconds", "lsyncd", 0.25), Target("seconds", "bare pipe", 0.9)]

    def trial(self, tool, row):
        there = self.begin(tool)
        taken = []
        for turn in range(self.rounds):
            files = {f"{tool.word}-{turn}-{n}.jpg": self.rng.randbytes(self.rng.randrange(12000, 200001))
                     for n in range(self.size(1000, 50))}
            for name, data in files.items():
                closed = self.upload(tool, name, data)
            taken.append(max(0.0, there.wait(files) - closed))
        row.values.update({"seconds": statistics.median(taken), "fastest": min(taken), "slowest": max(taken)})


class Directories(Live):
    name, title = "directories", "daemon with 100,000 directories: ready, memory, idle CPU"
    targets = [Target("ready s", "lsyncd", 0.35), Target("anonymous MiB idle", "lsyncd", 0.4),
               Target("idle CPU %", None, 0.2)]
    IDLE = 10  # seconds

    def setup(self):
        Grove(self.src).directories(self.size(100_000, 2000))
        self.tools = [MirrordFeed("mirrord", self.lab), LsyncdFeed("lsyncd", self.lab)]
        for tool in self.tools:
            shutil.copytree(self.src, tool.dest)
            shutil.copystat(self.src, tool.dest)

    def trial(self, tool, row):
        started = time.monotonic()
        if isinstance(tool, MirrordFeed):
            tool.daemon = tool.run(self.lab, self.src, self.port(tool))
            tool.process = tool.daemon.process
        else:
            tool.start(self.lab, self.src, self.port(tool))
        row.values["ready s"] = time.monotonic() - started
        if isinstance(tool, MirrordFeed):
            tool.daemon.flush()
        before, since = threads_cpu(tool.process.pid), time.monotonic()
        time.sleep(self.IDLE)
        used = (threads_cpu(tool.process.pid) - before) / (time.monotonic() - since)
        _, peak, anon = memory(tool.process.pid)
        row.values.update({"idle CPU %": used * 100, "anonymous MiB idle": anon / 1024, "peak RSS MiB": peak / 1024})


class FourSecondaries(Scenario):
    name, title = "four-secondaries", "first copy of the 100,000 text files to four secondaries, CPU of the primary"
    targets = [Target("near CPU", "four rsyncs", 0.7)]
    rounds = 3

    def setup(self):
        Grove(self.src).small_files(self.size(100_000, 2000))
        self.tools = [MirrordFeed("mirrord", self.lab), Rsync("four rsyncs", self.lab)]
        self.tools[0].secondaries = 4

    def measure(self):
        self.setup()
        ours, theirs = (Row(t) for t in self.tools)
        for _ in range(self.rounds):
            ours.runs.append(self.by_daemon(self.tools[0]))
            theirs.runs.append(self.by_rsyncs(self.tools[1]))
        return {"mirrord": ours, "four rsyncs": theirs}

    def by_daemon(self, tool):
        tool.cold(self.lab)
        for i in range(tool.secondaries):
            self.lab.clear(self.lab.path(f"state-web{i + 2}"))
        started = time.monotonic()
        tool.start(self.lab, self.src, self.lab.env.sshd.port)
        run = Run(time.monotonic() - started, used_cpu(tool.process.pid))
        tool.stop()
        self.check(tool)
        return run

    def by_rsyncs(self, tool):
        total = Run(0.0, 0.0, 0.0)
        for _ in range(4):
            tool.cold(self.lab)
            run = self.lab.timed(tool, self.src, tool.dest)
            total.wall, total.near, total.far = total.wall + run.wall, total.near + run.near, total.far + run.far
        self.check(tool)
        return total


SCENARIOS = [Upload, UploadBehindBulk, FarUploadBehindBulk, Burst, Directories, FourSecondaries]
