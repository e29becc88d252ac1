"""Copies a file by two threads, as a floor for what a delta can take. Usage: copy.py FROM TO"""

import os
import sys
import threading

PIECE = 1 << 20


def copy(source, sink, start, end):
    at = start
    while at < end:
        data = os.pread(source, min(PIECE, end - at), at)
        if not data:
            return
        at += os.pwrite(sink, data, at)


def main():
    source = os.open(sys.argv[1], os.O_RDONLY)
    sink = os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    size = os.fstat(source).st_size
    half = size // 2
    threads = [threading.Thread(target=copy, args=(source, sink, *part)) for part in ((0, half), (half, size))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


if __name__ == "__main__":
    main()
