"""Adds up what `meson test` logged. Cases are counted where a program says how many it ran (cmocka's
and the end-to-end tests'), other programs as one. The last line is the sum.

Usage: summary.py DIRECTORY-OF-BUILD-DIRECTORIES [BUILD THAT FAILED…]
"""

import glob
import json
import os
import re
import sys


def cases(test):
    """(passed, failed, skipped) of one program."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    counts = [0, 0, 0]
    own = re.findall(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$", text, re.M)
    if own:
        counts = [int(n or 0) for n in own[-1]]
    else:
        for i, word in enumerate(("PASSED", "FAILED", "SKIPPED")):
            found = re.search(rf"\[\s*{word}\s*\] (\d+) test\(s\)", text)
            counts[i] = int(found[1]) if found else 0
    if test["result"] == "SKIP":
        return [0, 0, max(1, counts[2])]
    if test["result"] in ("OK", "EXPECTEDFAIL"):
        return [max(counts[0], 0 if counts[2] else 1), 0, counts[2]]
    return [counts[0], max(1, counts[1]), counts[2]]


def main():
    work, broken = sys.argv[1], sys.argv[2:]
    total = [0, len(broken), 0]
    for build in broken:
        print(f"FAIL {build}: does not build")
    logs = sorted(glob.glob(os.path.join(work, "*", "meson-logs", "testlog.json")))
    for log in logs:
        build = log.split(os.sep)[-3]
        with open(log, encoding="utf-8", errors="replace") as f:
            for line in f:
                test = json.loads(line)
                counts = cases(test)
                total = [a + b for a, b in zip(total, counts)]
                if counts[1]:
                    print(f"FAIL {build}: {test['name']} ({test['result'].lower()})")
                for name, why in re.findall(r"^skip (\w+): (.*?)(?: \([\d.]+ s\))?$", test.get("stdout", ""), re.M):
                    print(f"skipped {build}: {test['name'].split(' / ')[-1]}: {name}: {why}")
    if not logs:
        total[1] += 1
        print("FAIL: no test was run")
    skipped = f", {total[2]} skipped" if total[2] else ""
    print(f"{total[0]} passed, {total[1]} failed{skipped}")
    sys.exit(1 if total[1] else 0)


if __name__ == "__main__":
    main()
