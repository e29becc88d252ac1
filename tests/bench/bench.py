"""Measures mirrord against its peers and prints a table; see run.sh.

Usage: MIRRORD=BUILD/mirrord/mirrord bench.py [--quick] [--rounds N] [--list] [SCENARIO…]

--quick makes small trees: it shows that everything works, its figures mean nothing.
"""

import argparse
import os
import platform
import signal
import subprocess
import sys
import time

import copies
import deltas
import disks
import lab
import live
import plugins
import scenario

SCENARIOS = copies.SCENARIOS + deltas.SCENARIOS + live.SCENARIOS + plugins.SCENARIOS + disks.SCENARIOS


def arguments():
    p = argparse.ArgumentParser(description="Measures mirrord against rsync and lsyncd.")
    p.add_argument("--quick", action="store_true", help="small trees: to see that it works")
    p.add_argument("--rounds", type=int, help="timed runs of each tool")
    p.add_argument("--list", action="store_true", help="names the scenarios")
    p.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    o = p.parse_args()
    known = [s.name for s in SCENARIOS]
    for name in o.scenarios:
        if name not in known:
            p.error(f"there is no scenario {name}; there are {', '.join(known)}")
    return o


def first_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split("\n")[0].strip()
    except FileNotFoundError:
        return f"no {argv[0]}"


def machine():
    with open("/proc/cpuinfo") as f:
        model = next((x.split(":")[1].strip() for x in f if x.startswith("model name")), platform.machine())
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) >> 20
    print(f"{time.strftime('%Y-%m-%d %H:%M')}, {os.cpu_count()} × {model}, {memory} GiB, Linux {platform.release()}")
    print(f"{first_line('rsync', '--version')}; {first_line('lsyncd', '--version')}; mirrord {lab.MIRRORD}")
    print("load of the machine before: %.2f %.2f %.2f" % os.getloadavg(), flush=True)


def run(kind, options):
    started, where = time.monotonic(), lab.Lab(options.quick)
    s = kind(where, options.rounds)
    print(f"\n{s.name}: {s.title}", flush=True)
    try:
        rows = s.measure()
        print(scenario.HEAD)
        for row in rows.values():
            print(scenario.line(row))
        print("\n".join(scenario.verdicts(s, rows)))
        return True
    except lab.Skip as why:
        print(f"  not run: {why}")
        return True
    except (lab.Failed, AssertionError) as why:
        print(f"  FAILED: {why}")
        return False
    finally:
        s.close()
        where.close()
        print(f"  ({time.monotonic() - started:.0f} s in all)", flush=True)


def main():
    o = arguments()
    if o.list:
        for s in SCENARIOS:
            print(f"{s.name:22} {s.title}")
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda n, _: sys.exit(128 + n))  # so that what was made is removed
    machine()
    chosen = [s for s in SCENARIOS if s.name in o.scenarios or not o.scenarios]
    good = [run(s, o) for s in chosen]
    print("\nload of the machine after: %.2f %.2f %.2f" % os.getloadavg())
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
