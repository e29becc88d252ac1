"""The last line of a soak, from the lines that the tests printed. Usage: LOG FAILED-ROUNDS"""

import re
import sys

with open(sys.argv[1], encoding="utf-8", errors="replace") as f:
    text = f.read()


def total(pattern):
    return sum(int(n) for found in re.findall(pattern, text, re.M) for n in re.findall(r"\d+", found))


operations = total(r"^# seed \d+, operations: (\[.*?\])")
injected = total(r"^# killed: (.*)$")
crashes = total(r"of these (\d+) kills") + total(r"^# seed \d+: \d+ kills [a-z ]+, (\d+) made")
failures = total(r"and (\d+) failures were made")
torn = len(re.findall(r": torn:", text)) + total(r"^# torn reads: (\d+) of")
reads = total(r"^# torn reads: \d+ of (\d+)")
mixed, passes = total(r"^# mixed passes: (\d+) of"), total(r"^# mixed passes: \d+ of (\d+)")
lost = len(re.findall(r"^ *b?'[^\n]*(?:only here|only there| -> )", text, re.M))
print(f"{operations} operations, {injected + failures} faults injected, {crashes} crash points hit, "
      f"{torn} torn of {reads} reads, {mixed} mixed of {passes} passes over units, "
      f"{lost} lost or differing paths, {sys.argv[2]} failed rounds")
