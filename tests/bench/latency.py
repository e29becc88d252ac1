"""How long an upload takes to appear on a secondary: 200 files of 5 to 200 KB, 5 a second, written
to a running daemon over a private sshd on the loopback. Prints median, p99 and the slowest. It is
not a test.

Usage: MIRRORD=BUILD/mirrord/mirrord latency.py [UPLOADS [PER-SECOND]]
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e"))

from harness import Env  # noqa: E402 (the path comes first)
from pair import Pair  # noqa: E402


def upload(pair, number, rng):
    """Seconds from the close of the file to its appearance on the secondary."""
    name = f"uploads/2024/01/picture-{number}.jpg"
    there = f"{pair.dests[0]}/{name}"
    data = rng.randbytes(rng.randrange(5000, 200001))
    with open(f"{pair.src}/{name}", "wb") as f:
        f.write(data)
        f.flush()
        start = time.monotonic()
    while not os.path.exists(there):
        if time.monotonic() - start > 60:
            sys.exit(f"{name} did not come in 60 s\n{pair.daemon.text()[-3000:]}")
        time.sleep(0.0002)
    taken = time.monotonic() - start
    with open(there, "rb") as f:
        if f.read() != data:
            sys.exit(f"{name} is not what was written")
    return taken


def main():
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 5
    env, rng = Env(), random.Random(1)
    try:
        pair = Pair(env, secondaries=1, fill=lambda s: os.makedirs(f"{s}/uploads/2024/01"))
        taken, start = [], time.monotonic()
        for i in range(count):
            time.sleep(max(0, start + i / rate - time.monotonic()))
            taken.append(upload(pair, i, rng) * 1000)
        pair.daemon.stop()
    finally:
        env.close()
    taken.sort()
    print(f"{count} uploads, {rate:g} a second: median {taken[count // 2]:.1f} ms, "
          f"p99 {taken[min(count - 1, count * 99 // 100)]:.1f} ms, slowest {taken[-1]:.1f} ms")


if __name__ == "__main__":
    main()
