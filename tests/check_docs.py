"""Holds what the documents and the program itself tell a person to type against the program: each `mirrord …` line of
the README, examples/, the manual pages, the alerts and the source's own "type: …" has options and operands that are
taken, and each piece of a configuration is one. Usage: check_docs.py SOURCE MIRRORD"""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

NOWHERE = "/nonexistent/mirrord.conf"
# Behind a command may come where and why it is typed.
COMMAND = r"(?<![\w/@.-])mirrord ([a-z][a-z-]*)\b((?:(?!,? (?:on|or|for|and|here|there|to|with)\b|, )[^\n`\";&#()])*)"
# What a document has in place of a name or a number.
BLANKS = {"HOST": "web2", "DAYS": "3", "FILE": "/srv/mirrord.prom", "SECONDS": "10", "COMMAND": '"/bin/true"'}
HOSTS = ("web1", "web2", "web3")
# Where a setting may stand: in place of the @.
PLACES = ("@", "host web1 { @ }",
          'site "s" { root = /srv/s hosts = {web1, web2, web3} primary = web1 @ }',
          'site "s" { root = /srv/s primary = web1 @ }',
          'site "s" { root = /srv/s hosts = {web1, web2} @ }',
          'site "s" { hosts = {web1, web2} primary = web1 @ }',
          'site "s" { root = /srv/s hosts = {web1, web2, web3} primary = web1 at web2 { @ } }',
          'sites "s" { hosts = {web1, web2} primary = web1 @ }')
OTHERS = r"(?:archive|times|target|delete|init) ="  # lsyncd's, on the page for who comes from there
SETTING = r"(?:[a-z][a-z-]+ *=|include\(|(?:host|site|sites|at|defaults)\b.*\{[^}]*[={])"


# What there is ---------------------------------------------------------------------------------------------------

def markdown(text):
    """(indented blocks, pieces of code within lines)"""
    blocks, prose, before = [], [], ""
    for line in text.splitlines():
        indented = re.match(r" {4,}\S", line)
        if indented and (not before.strip() or blocks and blocks[-1][-1] == before):
            blocks += [] if blocks and blocks[-1][-1] == before and before.strip() else [[]]
            blocks[-1].append(line)
        else:
            prose.append(line)
        before = line
    inline = re.findall(r"`([^`]+)`", re.sub(r"``[^\n]*?``", "", "\n".join(prose)))
    return ["\n".join(b) for b in blocks], [" ".join(code.split()) for code in inline]


def manual(text):
    """The literal blocks of a page in mdoc, and its lines to be typed."""
    blocks = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)\n\.Ed", text, re.M | re.S)
    lines = re.findall(r"^\.Dl (.*)$", text, re.M)
    quoted = re.findall(r"^\.Ql (mirrord .*?)(?: [;:,.])?$", text, re.M)
    clean = [re.sub(r"\\e", r"\\", re.sub(r"\\&", "", b)).replace("\\\n", "") for b in blocks]
    # A word that stands for something, and what mdoc does to the space before a mark.
    return clean, lines + [re.sub(r"\b(?:Ar|No|Fl) ", "", q) for q in quoted]


def advice(text):
    """What the source prints behind "type:", in the lines beneath that, and in `backquotes`."""
    for literal in re.findall(r'"((?:[^"\\]|\\.)*)"', text):
        literal = re.sub(r"%[-0-9.*]*(?:ll|z)?[a-z]", "example", literal.replace("\\n", "\n"))
        yield from re.findall(r"(?:type:? (?:there: )?|^ {6,}|`)(mirrord [a-z][^`\n]*)", literal, re.M)


def texts(top):
    """(where, blocks, inline)"""
    for path in [top / "README.md", *sorted((top / "examples").rglob("*.md")), *sorted((top / "tests").rglob("*.md"))]:
        yield path.relative_to(top), *markdown(path.read_text(encoding="utf-8"))
    for path in sorted((top / "mirrord/man").iterdir()):
        yield path.relative_to(top), *manual(path.read_text(encoding="utf-8"))
    rules = (top / "examples/prometheus/mirrord.rules.yml").read_text(encoding="utf-8")
    yield "alerts", [], re.findall(r"(?<=[:;] )mirrord [a-z][^;.']*", re.sub(r"\{\{ \$labels\.\w+ \}\}", "x", rules))
    for path in sorted((top / "mirrord").rglob("*.c")):
        yield path.relative_to(top), [], list(advice(path.read_text(encoding="utf-8")))


# Trying it -------------------------------------------------------------------------------------------------------

class Tried:
    def __init__(self, mirrord):
        self.mirrord, self.bad, self.commands, self.settings = mirrord, [], 0, 0
        self.known = set(re.findall(r"^  ([a-z-]+) ", self.run("--help")[1], re.M)) | {"help"}
        self.scratch = tempfile.TemporaryDirectory(prefix="mirrord-docs-")

    def run(self, *argv):
        p = subprocess.run([self.mirrord, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        return p.returncode, p.stdout, p.stderr

    def command(self, where, name, rest):
        """Its options are taken, and its operands; what it would do needs a configuration, which is nowhere."""
        rest = re.sub(r"\.{3}|…|[\[\]]|\\", " ", rest)
        try:
            words = shlex.split(rest)
        except ValueError:
            words = rest.split()
        if name not in self.known:
            self.bad.append(f"{where}: there is no command: mirrord {name}")
            return
        self.commands += 1
        if not words:
            return
        if name in ("help", "init") or "--root" in words or "--agent" in words or any(":" in w[:-1] for w in words):
            code, _, said = self.run(name, *words, "--help")
            fine = code == 0
        else:
            code, _, said = self.run(name, *words, "-c", NOWHERE)
            fine = NOWHERE in said
        if not fine:
            self.bad.append(f"{where}: mirrord {name} {' '.join(words)}\n    {said.strip()}")

    def commands_of(self, where, text):
        for name, rest in re.findall(COMMAND, text):
            self.command(where, name, rest)

    def is_configuration(self, text):
        """'' or what is wrong with it."""
        hosts = [f"host {h} {{}}\n" for h in HOSTS if not re.search(rf"\bhost {h}\b", text)]
        path = f"{self.scratch.name}/mirrord.conf"
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(hosts) + text + "\n")
        code, _, said = self.run("check", "--offline", "-c", path, "--as", "web1")
        return "" if code != 2 else said.strip()

    def setting(self, where, text):
        """It may stand somewhere."""
        self.settings += 1
        for name, value in BLANKS.items():
            text = re.sub(rf"\b{name}\b", value, text)
        said = [self.is_configuration(place.replace("@", text)) for place in PLACES]
        if all(said):
            self.bad.append(f"{where}: {text}\n    {said[0]}\n    {said[2]}")

    def block(self, where, text):
        lines = [re.sub(r"\s+#.*$", "", line.strip()) for line in text.splitlines() if line.strip() not in ("", "…")]
        if not lines or not re.match(SETTING, lines[0]):
            self.commands_of(where, text)
            return
        text = "\n".join(lines)
        if not self.is_configuration(text):
            self.settings += 1
            return
        # A piece of one: its lines by themselves, blocks in braces as one.
        for piece in re.findall(r"^[^\n]*\{\n.*?^\}|^[^\n]+", text, re.M | re.S):
            self.setting(where, piece)

    def inline(self, where, text):
        if re.match(OTHERS, text) and "lsyncd" in str(where):
            return
        if re.match(SETTING, text) and "…" not in text and not text.endswith("="):
            self.setting(where, text)
        elif text.startswith("mirrord "):
            self.commands_of(where, text)


def main():
    top = pathlib.Path(sys.argv[1])
    t = Tried(sys.argv[2])
    for where, blocks, inline in texts(top):
        for text in blocks:
            t.block(where, text)
        for text in inline:
            t.inline(where, text)
    for path in sorted((top / "examples").glob("*.conf")):
        if path.name.startswith("mirrord"):
            said = t.is_configuration(path.read_text(encoding="utf-8"))
            t.bad += [f"{path.name}: {said}"] if said else []
    print(f"{t.commands} commands, {t.settings} pieces of configuration")
    if t.bad or t.commands < 150 or t.settings < 30:
        sys.exit("\n".join(t.bad) or "they are not found any more")


if __name__ == "__main__":
    main()
