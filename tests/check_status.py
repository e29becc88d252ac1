"""Holds the fields of `mirrord status --json`, as the daemon's source sets them, against mirrord(8):
each that is there is documented, and each that is documented is there. Usage: check_status.py SOURCE"""

import re
import sys

SETS = r'\b(?:json_set_\w+|set_count)\(\s*\w+,\s*"(\w+)"'


def text(top, path):
    with open(f"{top}/{path}", encoding="utf-8") as f:
        return f.read()


def documented(page):
    part = page[page.index(".Sh STATUS AS JSON"):]
    part = part[:part.index("\n.Sh ", 1)]
    return {name for line in re.findall(r"^\.It (.*)$", part, re.M)
            for name in re.findall(r"Va ([a-z_]+)|(?<=, )([a-z_]+)", line) for name in name if name}


def emitted(top):
    pausing = text(top, "mirrord/primary/daemon/pausing.c")
    return set(re.findall(SETS, text(top, "mirrord/primary/daemon/status.c") +
                          pausing[pausing.index("void pausing_describe"):]))


def main():
    said, there = documented(text(sys.argv[1], "mirrord/man/mirrord.8")), emitted(sys.argv[1])
    print(f"{len(there)} fields, {len(said)} documented")
    bad = [f"{name}: not in mirrord(8), STATUS AS JSON" for name in sorted(there - said)]
    bad += [f"{name}: documented, and set nowhere" for name in sorted(said - there)]
    if bad or not there:
        sys.exit("\n".join(bad) or "nothing found")


if __name__ == "__main__":
    main()
