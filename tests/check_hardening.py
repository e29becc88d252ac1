"""Looks whether a program was built so that a fault of memory is hard to use: position-independent, its
relocations read-only and made at the start, no executable stack, stack guards, checked library calls.
Usage: PROGRAM"""

import re
import subprocess
import sys


def readelf(*options):
    return subprocess.run(["readelf", "-W", *options], capture_output=True, check=True, text=True).stdout


def main():
    program = sys.argv[1]
    head, segments = readelf("-h", program), readelf("-l", program)
    dynamic, symbols = readelf("-d", program), readelf("--dyn-syms", program)
    stack = re.search(r"GNU_STACK\s.*\s([RWE ]+)\s+0x", segments)
    wanted = {
        "position-independent": "DYN" in re.search(r"Type:.*", head).group() and "INTERP" in segments,
        "read-only relocations": "GNU_RELRO" in segments,
        "… all made at the start": re.search(r"BIND_NOW|FLAGS.*\bNOW\b", dynamic),
        "no executable stack": stack and "E" not in stack.group(1),
        "stack guards": "__stack_chk_fail" in symbols,
        "checked library calls": len(set(re.findall(r"\b__\w+_chk\b", symbols)) - {"__stack_chk_fail"}) >= 5,
    }
    lacking = [what for what, there in wanted.items() if not there]
    for what in lacking:
        print(f"{program} lacks: {what}")
    print(f"{len(wanted) - len(lacking)} of {len(wanted)}")
    sys.exit(1 if lacking else 0)


main()
