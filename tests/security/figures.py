"""Prints what tests/security/run.sh found: a line a fuzzer, the coverage, and one line of figures.

Usage: figures.py TOP WORK FOUND FUZZER…
"""

import json
import os
import re
import subprocess
import sys

COVERED = ("protocol/", "mirrord/primary/push/inbox/", "mirrord/secondary/session/",
           "mirrord/secondary/commit/batch.c", "mirrord/secondary/commit/atom.c", "mirrord/secondary/confine/asks.c",
           "mirrord/secondary/confine/renewal.c", "mirrord/secondary/site/listing.c")
WANTED = 90  # percent of lines


def read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def cpu_minutes(work, name):
    """What the shell's `times` said: user and system time as 1m2.3s, of itself and of its children."""
    spent = re.findall(r"(\d+)m([\d.]+)s", read(f"{work}/cpu-{name}"))
    return sum(int(m) + float(s) / 60 for m, s in spent)


def fuzzers(work, names):
    runs, broken = 0, []
    for name in names:
        text = read(f"{work}/fuzz-{name}.log")
        n = int((re.findall(r"number_of_executed_units: (\d+)", text) or [0])[-1])
        edges = (re.findall(r"cov: (\d+)", text) or ["0"])[-1]
        print(f"fuzz {name}: {n} executions in {cpu_minutes(work, name):.1f} minutes of CPU, {edges} edges")
        runs += n
        if "ERROR" in text or n == 0:
            broken.append(name)
    return runs, broken


def coverage(top, work):
    tests = []
    for directory, _, files in os.walk(f"{work}/coverage/tests"):
        tests += [os.path.join(directory, f) for f in files
                  if os.access(os.path.join(directory, f), os.X_OK) and f.startswith(("test_", "fuzz_"))]
    objects = [a for t in tests for a in ("-object", t)]
    out = subprocess.run(
        ["llvm-cov", "export", "-summary-only", f"-instr-profile={work}/profile", *objects],
        capture_output=True, check=True, text=True).stdout
    lines = {}
    for f in json.loads(out)["data"][0]["files"]:
        name = os.path.relpath(f["filename"], top)
        if name.startswith(COVERED) and name.endswith(".c"):
            s = f["summary"]["lines"]
            lines[name] = (s["covered"], s["count"])
    for prefix in COVERED:
        if not any(name.startswith(prefix) for name in lines):
            sys.exit(f"figures.py: nothing that was measured is called {prefix}: was it moved?")
    for name in sorted(lines):
        print(f"coverage {name}: {100 * lines[name][0] / lines[name][1]:.0f} %")
    return 100 * sum(c for c, _ in lines.values()) / max(1, sum(n for _, n in lines.values()))


def main():
    top, work, found, names = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    parts = os.environ["PARTS"].split()
    runs, broken = fuzzers(work, names)
    percent = coverage(top, work) if "coverage" in parts else None
    races, hostile = read(f"{work}/e2e-races.log"), read(f"{work}/e2e-hostile.log")
    swaps = sum(int(n) for n in re.findall(r"^# (\d+) swaps", races, re.M))
    sessions = sum(int(n) for n in re.findall(r"^# (\d+) sessions", hostile, re.M))
    failed = [n for n, text in (("races", races), ("hostile", hostile))
              if "swaps" in parts and ", 0 failed" not in text]
    kept = sorted(os.listdir(found))
    if kept:
        print(f"inputs that broke something: {found}")
    covered = "lines not counted" if percent is None else f"{percent:.1f} % of lines covered"
    print(f"{len(names)} fuzzers, {runs} executions, {len(broken)} broken; {covered}; "
          f"{swaps} swaps, {sessions} hostile sessions, "
          f"{len(failed)} of these failed; {len(kept)} inputs found")
    sys.exit(1 if broken or failed or kept or (percent is not None and percent < WANTED) else 0)


main()
