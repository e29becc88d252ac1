"""Runs end-to-end tests with a mirrord that is watched (a sanitizer in it, or valgrind around it), and prints
what each file came to and one line of figures. Usage: watched.py TITLE LOGS FILE…

A file is a name (daemon), or a name and its cases (units:a_case,another). JOBS says how many run at once; what a
file that failed has printed is copied to the directory LOGS.
"""

import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

E2E = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "e2e")
REPORT = r"^(?:SUMMARY: |==\d+== (?=Invalid|Conditional|Use of|Syscall|Mismatched|[\d,]+ .*lost))(.*)"
KINDS = ("passed", "failed", "skipped")


def run(logs, word):
    name, _, cases = word.partition(":")
    start = time.monotonic()
    with open(f"{logs}/e2e-{name}.log", "w+", encoding="utf-8", errors="replace") as log:
        code = subprocess.run(
            [sys.executable, "-B", f"{E2E}/test_{name}.py", *filter(None, cases.split(","))],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode
        log.seek(0)
        text = log.read()
    counts = collections.Counter({kind: int(n) for n, kind in re.findall(
        r"(\d+) (passed|failed|skipped)", text.rstrip().rsplit("\n", 1)[-1])})
    if code and not counts["failed"]:
        counts["failed"] = 1  # it did not come to its end
    return name, counts, text, time.monotonic() - start


def main():
    title, logs, words = sys.argv[1], sys.argv[2], sys.argv[3:]
    total, reports = collections.Counter(), collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count()))) as pool:
        for name, counts, text, seconds in pool.map(lambda word: run(logs, word), words):
            total += counts
            reports.update(re.findall(REPORT, text, re.M))
            print(f"{name}: {', '.join(f'{counts[k]} {k}' for k in KINDS)} ({seconds:.0f} s)", flush=True)
            for line in re.findall(r"^(?:FAIL|skip) .*", text, re.M):
                print(f"  {line}", flush=True)
            if counts["failed"] and os.environ.get("LOGS"):
                shutil.copy(f"{logs}/e2e-{name}.log", os.environ["LOGS"])
    for what, n in reports.most_common():
        print(f"{n} times: {what}")
    print(f"{title}: {len(words)} files, {', '.join(f'{total[k]} cases {k}' for k in KINDS)}, "
          f"{sum(reports.values())} reports")
    sys.exit(1 if total["failed"] or reports or not total["passed"] else 0)


main()
