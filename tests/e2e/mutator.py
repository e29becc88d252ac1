"""Stands between mirrord's two ends as --remote-command and does what no honest link does: drops,
doubles, reorders, shortens and changes messages, in both directions, as its seed says.

Usage: mutator.py SEED LOG REMOTE-COMMAND ARGUMENT…     a line in LOG for each message that it touched

Instead of a seed, "back:trickle:49" or "there:drop:17": the first message of that type and direction
is left out, or announced longer than it is, and nothing else.
"""

import os
import random
import select
import subprocess
import sys
import threading

FRAME_MAX = 65536
HELLO = 1


def frames(fd):
    """(type, payload) of each whole frame of a stream; type None: none comes just now."""
    pending = b""
    while True:
        while len(pending) >= 4:
            length = int.from_bytes(pending[:4], "little")
            if len(pending) < 4 + length:
                break
            yield pending[4], pending[5:4 + length]
            pending = pending[4 + length:]
        if select.select([fd], [], [], 0.05)[0]:
            more = os.read(fd, 1 << 16)
            if not more:
                return
            pending += more
        else:
            yield None, b""  # nothing comes for a while


def frame(kind, payload):
    return (len(payload) + 1).to_bytes(4, "little") + bytes([kind]) + payload


class Mutator:
    """One direction. Few messages are touched, so that a session gets far enough to have a middle."""

    def __init__(self, rng, log, name):
        self.rng, self.log, self.name = rng, log, name
        self.every = rng.choice((8, 30, 120))
        self.held = None

    def pick(self):
        """What is dropped is waited for, for seconds: it comes seldom."""
        if self.rng.randrange(64) == 0:
            return "drop"
        return self.rng.choice(("double", "hold", "flip", "flip", "cut", "type", "number", "noise",
                                "length"))

    def _flip(self, payload):
        out = bytearray(payload)
        for _ in range(self.rng.choice((1, 1, 3))):
            if out:
                out[self.rng.randrange(len(out))] ^= 1 << self.rng.randrange(8)
        return bytes(out)

    def _number(self, payload):
        """One of the extremes where numbers usually are."""
        at = self.rng.randrange(max(1, min(len(payload), 64)))
        value = self.rng.choice((b"\xff" * 8, b"\0" * 8, b"\xff" * 7 + b"\x7f", b"\1\0\0\0"))
        return payload[:at] + value + payload[at + len(value):]

    def touched(self, kind, payload):
        what = self.pick()
        self.log.write(f"{self.name} {what} {kind} {len(payload)}\n")
        if what == "drop":
            return b""
        if what == "double":
            return frame(kind, payload) * 2
        if what == "hold":
            self.held, before = frame(kind, payload), self.held or b""
            return before
        if what == "flip":
            return frame(kind, self._flip(payload))
        if what == "cut":
            return frame(kind, payload[:self.rng.randrange(len(payload) + 1)])
        if what == "type":
            return frame(self.rng.randrange(64), payload)
        if what == "number":
            return frame(kind, self._number(payload)[:FRAME_MAX - 5])
        if what == "noise":
            return frame(kind, payload) + frame(self.rng.randrange(64), self.rng.randbytes(
                self.rng.randrange(200)))
        length = self.rng.choice((0, FRAME_MAX, 1 << 31, self.rng.randrange(FRAME_MAX)))
        return length.to_bytes(4, "little") + frame(kind, payload)[4:]

    def wants(self, kind):
        mine = kind not in (None, HELLO) or (kind == HELLO and self.rng.randrange(10) == 0)
        return mine and self.rng.randrange(self.every) == 0

    def relay(self, source, to):
        try:
            for kind, payload in frames(source):
                if self.wants(kind):
                    out = self.touched(kind, payload)
                else:
                    out, self.held = (frame(kind, payload) if kind is not None else b"") + (
                        self.held or b""), None
                while out:
                    out = out[os.write(to, out):]
        except OSError:
            pass
        os.close(to)


class Scripted(Mutator):
    def __init__(self, script, log, name):
        super().__init__(random.Random(0), log, name)
        direction, self.what, kind = script.split(":")
        self.kind = int(kind) if direction == name else None

    def wants(self, kind):
        found = kind is not None and kind == self.kind
        if found:
            self.kind = None
        return found

    def touched(self, kind, payload):
        self.log.write(f"{self.name} {self.what} {kind} {len(payload)}\n")
        whole = frame(kind, payload)
        return b"" if self.what == "drop" else (FRAME_MAX - 4).to_bytes(4, "little") + whole[4:]


def main():
    script, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)
    far = subprocess.Popen(sys.argv[3:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if ":" in script:
        there, back = Scripted(script, log, "there"), Scripted(script, log, "back")
    else:
        rng = random.Random(int(script))
        there = Mutator(random.Random(rng.random()), log, "there")
        back = Mutator(random.Random(rng.random()), log, "back")
    t = threading.Thread(target=there.relay, args=(0, os.dup(far.stdin.fileno())), daemon=True)
    far.stdin.close()
    t.start()
    back.relay(far.stdout.fileno(), 1)
    code = far.wait()
    log.write(f"end {code}\n")
    os._exit(code if code >= 0 else 128 - code)


main()
