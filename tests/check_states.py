"""Holds examples/docs/states-and-errors.md against the source: each state that status shows, each reason of the
protocol and each error that tells an operator to do something stands in it. Usage: check_states.py SOURCE"""

import pathlib
import re
import sys

PAGE = "examples/docs/states-and-errors.md"
STRING = r'"((?:[^"\\]|\\.)*)"'
CODES = "REFUSED|TEMPORARY|PARTIAL|BEHIND"
KEY_MAX, LETTERS_MIN = 48, 12


def read(top, path):
    return (top / path).read_text(encoding="utf-8")


def body(text, name):
    """Of the function with this name."""
    start = re.search(rf"^[^\n;]*\b{name}\([^;{{]*\)\n{{\n", text, re.M).end()
    return text[start:text.index("\n}\n", start)]


def returned(text, name):
    return re.findall(rf"(?:return|\?|:)\s*{STRING}", body(text, name))


def key(text):
    """What of a message is looked for: its beginning, with … for what differs each time."""
    text = re.sub(r"%[-+ 0-9.*]*(?:ll|z|l|h)?[a-zA-Z]", "…", text.replace("%%", "\0")).replace("\0", "%")
    text = text.replace('\\"', '"')
    if len(text) > KEY_MAX:
        text = text[:KEY_MAX + 1].rsplit(" ", 1)[0]
    text = re.sub(r"…+", "…", text)
    return re.sub(r"[…\s:;,.(%]+$", "", re.sub(r"^[…\s:,]+", "", text))


def literals(text, pattern):
    for m in re.finditer(pattern + rf"\s*,\s*((?:{STRING}\s*)+)", text):
        yield "".join(re.findall(STRING, m.group(1)))


def errors(top):
    for path in sorted((top / "mirrord").rglob("*.c")):
        text = path.read_text(encoding="utf-8")
        pattern = r"ERR_[A-Z]+" if path.name == "reason.c" else rf"ERR_(?:{CODES})"
        for found in literals(text, pattern):
            if sum(c.isalpha() for c in key(found)) >= LETTERS_MIN:
                yield path.name, key(found)


def states(top):
    status = read(top, "mirrord/primary/daemon/status.c")
    for name in ("peer_state_name", "at_state_name", "scan_state_name"):
        yield from ((name, f"`{s}`") for s in returned(status, name))
    yield from (("state", f"`{s}`") for call in re.findall(r'json_set_text\(\s*j, "state",([^;]*);', status)
                for s in re.findall(STRING, call))
    table = read(top, "protocol/msg_table.c")
    yield from (("reasons", f"`{s}`") for s in re.findall(rf"{{REASON_[A-Z_]+, {STRING}}}", table)
                if s not in ("none", "malformed"))
    yield from (("unit", key(s)) for s in
                re.findall(STRING, body(read(top, "mirrord/primary/unrest.c"), "rest_ms")))
    yield from (("flush", key(s)) for s in
                re.findall(rf"\[PEER_SITE_\w+\] = {STRING}", read(top, "mirrord/primary/daemon/flush/flush_target.c")))
    yield from (("piecemeal", s) for s in
                returned(read(top, "mirrord/primary/push/push_site.c"), "push_site_piecemeal_text") +
                returned(read(top, "protocol/msg_table.c"), "msg_piecemeal_text") if s != "unknown")


def main():
    top = pathlib.Path(sys.argv[1])
    page = " ".join(read(top, PAGE).split()) if (top / PAGE).exists() else ""
    wanted = list(states(top)) + list(errors(top))
    lacking = [f"{where}: {what}" for where, what in wanted if what not in page]
    print(f"{len(wanted)} states and errors")
    if lacking or len(wanted) < 50:
        sys.exit(f"{PAGE} does not say what these mean and what to type:\n" + "\n".join(lacking))


if __name__ == "__main__":
    main()
