"""A TCP proxy between a primary and an sshd, for tests of bad networks. It cuts a connection after
so many bytes of one direction, stalls it (no bytes, no reset), delays what passes, or lets through
only so many bytes a second. It knows nothing of SSH.

Directions are UP (to the sshd) and DOWN. What is set counts for connections made from then on.
"""

import collections
import os
import queue
import socket
import struct
import threading
import time

from pair import Pair
from trees import put

UP, DOWN = "up", "down"


class _Pump:
    """One direction of a connection: a thread reads at once, another writes when it is due."""

    def __init__(self, link, direction, source, sink):
        self.link, self.direction, self.source, self.sink = link, direction, source, sink
        self.waiting = queue.Queue(maxsize=4 if link.proxy.rate else 64)
        for work in (self.read, self.write):
            threading.Thread(target=work, daemon=True).start()

    def read(self):
        data = b"-"
        while data:
            try:
                data = self.source.recv(4096 if self.link.proxy.rate else 64 * 1024)
            except OSError:
                data = b""
            self.waiting.put((time.monotonic() + self.link.proxy.delay, data))

    def write(self):
        while True:
            due, data = self.waiting.get()
            if due > time.monotonic():
                time.sleep(due - time.monotonic())
            try:
                if not data:
                    raise OSError("closed")
                self.pass_on(data)
            except OSError:
                self.link.flowing.wait()
                self.link.end()
                return

    def pass_on(self, data):
        link, rate = self.link, self.link.proxy.rate
        room = link.room(self.direction)
        data = data if room is None else data[:room]
        link.flowing.wait()
        self.sink.sendall(data)
        link.passed[self.direction] += len(data)
        if rate:
            time.sleep(len(data) / rate)
        if link.room(self.direction) == 0:
            link.reach_limit()


class _Link:
    """One connection through the proxy."""

    def __init__(self, proxy, client, server, limit):
        self.proxy, self.client, self.server = proxy, client, server
        self.limit = limit  # (what, direction, bytes), or None
        self.passed = collections.Counter()
        self.flowing = threading.Event()
        self.flowing.set()
        self.lock, self.over = threading.Lock(), False
        _Pump(self, UP, client, server)
        _Pump(self, DOWN, server, client)

    def room(self, direction):
        """Bytes that may still pass; None: all."""
        if not self.limit or self.limit[1] != direction:
            return None
        return max(self.limit[2] - self.passed[direction], 0)

    def reach_limit(self):
        what, self.limit = self.limit[0], None
        self.proxy.reached.append(what)
        if what == "cut":
            self.end()
        else:
            self.flowing.clear()

    @staticmethod
    def reset(s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        try:
            s.shutdown(socket.SHUT_RD)  # wakes whoever reads
        except OSError:
            pass
        s.close()

    def end(self):
        """A reset for both ends."""
        with self.lock:
            if not self.over:
                self.over = True
                self.reset(self.server)
                if self.client.fileno() >= 0:
                    self.reset(self.client)
        self.flowing.set()

    def leave_behind(self):
        """A reset for the primary; the sshd's side stays open and silent."""
        self.flowing.clear()
        self.reset(self.client)


class Proxy:
    """Listens on a port of its own for `sshd`, whose host key is trusted there too."""

    def __init__(self, env, sshd, rate=0, delay=0):
        self.address = sshd.address
        self.env, self.sshd, self.rate, self.delay = env, sshd, rate, delay
        self.links, self.limits, self.reached = [], collections.deque(), []
        self.listener = socket.create_server((sshd.address, 0))
        if rate:  # what waits is to wait at the sender
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        self.port = self.listener.getsockname()[1]
        with open(sshd.host_key + ".pub") as f:
            kind, key = f.read().split()[:2]
        with open(env.known_hosts, "a") as f:
            f.write(f"[{sshd.address}]:{self.port} {kind} {key}\n")
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection((self.sshd.address, self.sshd.port))
            except OSError:
                client.close()
                continue
            limit = self.limits.popleft() if self.limits else None
            self.links.append(_Link(self, client, server, limit))

    def cut_next(self, direction, count):
        """The next connection that has no such order yet is reset after so many bytes."""
        self.limits.append(("cut", direction, count))

    def stall_next(self, direction, count):
        """Likewise, but nothing passes any more, in neither direction, and nobody is told."""
        self.limits.append(("stall", direction, count))

    def stall(self):
        """Now, what there is; connections made later pass."""
        for link in self.links:
            link.flowing.clear()

    def cut(self):
        for link in self.links:
            link.end()

    def leave_behind(self):
        for link in self.links:
            link.leave_behind()

    def passed(self, direction):
        return sum(link.passed[direction] for link in self.links)

    def close(self):
        self.listener.close()
        self.cut()


# What the tests with it share --------------------------------------------------------------------

def fill(src):
    """Some of everything a session has: small files, a transfer, many directories."""
    for i in range(150):
        put(f"{src}/d{i % 12}/s{i % 5}/f{i}", os.urandom(100 * i))
    put(f"{src}/medium", os.urandom(300_000))
    put(f"{src}/large", os.urandom(1_500_000))
    os.symlink("medium", f"{src}/link")


def through(env, count, **options):
    """A proxy for each secondary, and the ports for a Pair."""
    proxies = [Proxy(env, env.sshd, **options) for _ in range(count)]
    return proxies, {f"web{i + 2}": p.port for i, p in enumerate(proxies)}


def close(proxies):
    for p in proxies:
        p.close()


def forget(env, p):
    """As if there had been no secondary yet."""
    if p.daemon.process.poll() is None:
        p.daemon.stop()
    env.run("rm", "-rf", env.state, *p.dests, *(env.path(f"state-web{i + 2}") for i in range(len(p.dests))))
    os.mkdir(env.state, 0o700)


def measure(env):
    """Bytes each way of a whole first resync, which is then forgotten."""
    proxies, ports = through(env, 1)
    p = Pair(env, 1, fill=fill, ports=ports)
    total = {d: proxies[0].passed(d) for d in (UP, DOWN)}
    close(proxies)
    forget(env, p)
    return total
