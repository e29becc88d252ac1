"""A TCP proxy on the loopback that counts the bytes each way, and can make a distant link of it: a
delay, and a rate with the queue that a router has. One thread a direction; without delay and rate
the bytes go through splice(2) and are not looked at.
"""

import collections
import fcntl
import os
import socket
import threading
import time

PIECE = 1 << 20  # of a splice
PACKET = 16384  # what a link sends at once
QUEUE_SECONDS = 0.04  # of the rate: what waits in the router before the sender is stopped
F_SETPIPE_SZ = 1031


class Relay:
    """Listens on self.port and connects to `to`. `delay` is one way, in seconds; `rate` in bytes a
    second each way. self.up and self.down count what came from the client and from the server."""

    def __init__(self, to, delay=0.0, rate=0):
        self.to, self.delay, self.rate = to, delay, rate
        self.reset()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def reset(self):
        self.up = self.down = self.turns = 0
        self.server_spoke = True

    def close(self):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.join, args=(client,), daemon=True).start()

    def join(self, client):
        if self.delay:
            time.sleep(2 * self.delay)  # the handshake of a connection takes a round trip
        server = socket.create_connection(self.to)
        for s in (client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        carry = self.carry_far if self.delay or self.rate else self.carry
        other = threading.Thread(target=carry, args=(server, client, self.count_down), daemon=True)
        other.start()
        carry(client, server, self.count_up)
        other.join()
        client.close()
        server.close()

    def count_up(self, n):
        self.up += n
        self.turns += self.server_spoke
        self.server_spoke = False

    def count_down(self, n):
        self.down += n
        self.server_spoke = True

    def carry(self, source, sink, count):
        inlet, outlet = os.pipe2(os.O_CLOEXEC)
        try:
            fcntl.fcntl(outlet, F_SETPIPE_SZ, PIECE)
            while n := os.splice(source.fileno(), outlet, PIECE):
                count(n)
                while n:
                    n -= os.splice(inlet, sink.fileno(), n)
        except OSError:
            pass
        finally:
            os.close(inlet)
            os.close(outlet)
        end(source, sink)

    def carry_far(self, source, sink, count):
        """Reads what the queue has room for, and hands each packet on when it would have arrived."""
        queue, ready = collections.deque(), threading.Condition()
        threading.Thread(target=self.arrive, args=(sink, queue, ready), daemon=True).start()
        free = time.monotonic()  # when the link has sent all it was given
        while True:
            try:
                data = source.recv(PACKET)
            except OSError:
                data = b""
            count(len(data))
            now = time.monotonic()
            free = max(free, now) + (len(data) / self.rate if self.rate else 0)
            with ready:
                queue.append((free + self.delay, data))
                ready.notify()
            if not data:
                return
            if free - now > QUEUE_SECONDS:
                time.sleep(free - now - QUEUE_SECONDS)

    @staticmethod
    def arrive(sink, queue, ready):
        while True:
            with ready:
                while not queue:
                    ready.wait()
                due, data = queue.popleft()
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            if not data:
                end(sink, sink)
                return
            try:
                sink.sendall(data)
            except OSError:
                return


def end(source, sink):
    for s, how in ((source, socket.SHUT_RD), (sink, socket.SHUT_WR)):
        try:
            s.shutdown(how)
        except OSError:
            pass
