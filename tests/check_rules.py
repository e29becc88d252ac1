"""Prints what is promised and the tests of each (rules.txt), and fails where a test that is named does
not exist, or a rule has neither test nor a word about it. Usage: RULES"""

import os
import re
import sys

RULES = 27
CASES = {}


def cases(path):
    """The names of a file's cases, without test_: what it hands to cmocka, or marks as a case."""
    if path not in CASES:
        text = open(path, encoding="utf-8").read()
        if path.endswith(".py"):
            found = re.findall(r"^@case\b.*\ndef (\w+)\(", text, re.M)
        else:
            table = text[text.rindex("struct CMUnitTest "):]
            found = re.findall(r"\b(?:cmocka_unit_test\w*|[A-Z]\w*)\(\s*(\w+)[,)]", table)
        CASES[path] = {name.removeprefix("test_") for name in found}
    return CASES[path]


def read(path):
    """[(ID, promise, [(file, [case…])…], [what is not there…])…]"""
    out = []
    for line in open(path, encoding="utf-8"):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if not line[0].isspace():
            out.append((words[0], " ".join(words[1:]), [], []))
        elif words[:2] == ["none", "yet:"]:
            out[-1][3].append(" ".join(words[2:]))
        else:
            out[-1][2].append((words[0], words[1:]))
    return out


def check(table, top):
    bad = [f"rule {n} is missing" for n in range(1, RULES + 1)
           if str(n) not in [row[0] for row in table]]
    for name, _, tests, lacks in table:
        if not tests and not lacks:
            bad.append(f"{name}: no test, and no word about it")
        for file, names in tests:
            path = os.path.join(top, file)
            if not os.path.exists(path):
                bad.append(f"{name}: there is no {file}")
                continue
            if not names:
                bad.append(f"{name}: {file}: which case?")
            bad += [f"{name}: {file} has no case {n}" for n in names if n not in cases(path)]
    return bad


def show(table):
    for name, promise, tests, lacks in table:
        print(f"{name:4} {promise}")
        for file, names in tests:
            print(f"       {file}: {', '.join(names)}")
        for what in lacks:
            print(f"       NONE YET: {what}")


def main():
    path = sys.argv[1]
    table = read(path)
    show(table)
    bad = check(table, os.path.dirname(os.path.abspath(path)))
    tested = sum(1 for row in table if row[2])
    named = len({(f, n) for row in table for f, names in row[2] for n in names})
    print(f"{len(table)} promises: {tested} with tests ({named} cases), "
          f"{sum(1 for r in table if not r[2])} without; "
          f"{sum(len(r[3]) for r in table)} things have none yet")
    if bad:
        sys.exit("\n".join(bad))


if __name__ == "__main__":
    main()
