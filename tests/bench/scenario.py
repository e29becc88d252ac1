"""What a scenario is, how its tools take turns, and the lines that are printed of it."""

import statistics
import subprocess

from lab import Failed

MIB = 1 << 20


class Target:
    """`what` of mirrord may be at most `limit` times that of the tool `against`, or (against None) at most
    `limit` itself. `tool` is which mirrord."""

    def __init__(self, what, against, limit, tool="mirrord"):
        self.what, self.against, self.limit, self.tool = what, against, limit, tool


class Row:
    """A tool's runs in a scenario. `values` has other figures: name → (number, unit)."""

    def __init__(self, tool):
        self.tool, self.runs, self.counted, self.values = tool, [], None, {}

    def median(self, what):
        got = [getattr(r, what) for r in self.runs if getattr(r, what) is not None]
        return statistics.median(got) if got else None

    def spread(self, what):
        got = [getattr(r, what) for r in self.runs]
        return min(got), max(got)


def figure(rows, target):
    """(what mirrord has, in the target's terms, whether that meets it), or None where it was not measured."""
    ours, peer = rows.get(target.tool), rows.get(target.against)
    if ours is None or (target.against and peer is None):
        return None
    if target.what == "wall":
        value = statistics.median(a.wall / b.wall for a, b in zip(ours.runs, peer.runs))
    elif target.what == "near CPU":
        value = ours.median("near") / peer.median("near")
    elif target.what == "bytes":
        value = (ours.counted.up + ours.counted.down) / (peer.counted.up + peer.counted.down)
    elif target.what == "anonymous MiB":
        value = max(ours.counted.near_anon, ours.counted.far_anon) / 1024
    else:
        value = ours.values[target.what] / (peer.values[target.what] if peer else 1)
    return value, value <= target.limit


class Scenario:
    """Subclasses fill in tools and trees. `rounds` timed runs of each tool, taking turns."""
    name = title = ""
    rounds = 5
    targets = []
    content = True  # trees are compared by content; else by size and time
    left_out = ()  # patterns of what no tool is to mirror
    link = {}  # of a distant link: delay, rate

    def __init__(self, lab, rounds=None):
        self.lab, self.rounds = lab, rounds or (2 if lab.quick else self.rounds)
        self.src = lab.path("src")
        self.tools = []

    def size(self, full, quick):
        return quick if self.lab.quick else full

    def setup(self):
        """Makes the tree, self.tools, and brings those level that start so."""

    def close(self):
        """What was made outside of the lab goes."""

    def prepare(self, tool):
        """Before each run, not measured."""

    def check(self, tool):
        """The trees are equal."""
        p = subprocess.run(["rsync", f"-{tool.compared}ni{'c' if self.content else ''}", "--delete",
                            *(f"--exclude={x}" for x in self.left_out), f"{self.src}/", f"{tool.dest}/"],
                           capture_output=True, text=True, check=True)
        if p.stdout:
            raise Failed(f"{self.name}: {tool.name} left differences:\n{p.stdout[:2000]}")

    def level(self):
        """Each tool makes its DEST, not measured."""
        for tool in self.tools:
            self.lab.timed(tool, self.src, tool.dest)

    def count(self, row):
        self.prepare(row.tool)
        row.counted = self.lab.counted(row.tool, self.src, row.tool.dest, **self.link)
        self.check(row.tool)

    def measure(self):
        """{tool's name: Row}"""
        self.setup()
        rows = {t.name: Row(t) for t in self.tools}
        proxies = {t.name: self.lab.proxy(self.lab.sshd(t), **self.link) if self.link else None for t in self.tools}
        for row in rows.values():
            self.count(row)
        for i in range(self.rounds):
            turns = list(rows.values())
            for row in turns[::-1] if i % 2 else turns:
                self.prepare(row.tool)
                row.runs.append(self.lab.timed(row.tool, self.src, row.tool.dest, proxies[row.tool.name]))
                self.check(row.tool)
        self.derive(rows)
        return rows

    def derive(self, rows):
        """Other figures from those that are there."""


def seconds(x):
    return "-" if x is None else f"{x:.3f}" if x < 10 else f"{x:.2f}"


def size(n):
    if n is None:
        return "-"
    for unit, by in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if n >= by:
            return f"{n / by:.2f} {unit}"
    return f"{n} B"


HEAD = (f"{'':21} {'wall s':>8} {'min-max':>15} {'CPU near':>9} {'far':>7} {'RSS MiB':>11} {'anon MiB':>11} "
        f"{'up':>10} {'down':>10} {'others':>7}")


def line(row):
    """Of a tool: medians; `others` is how many processors the rest of the machine used meanwhile."""
    values = "".join(f"\n      {name}: {value:.3g}" for name, value in row.values.items())
    if not row.runs:
        return f"  {row.tool.name}{values}"
    c, (low, high) = row.counted, (seconds(x) for x in row.spread("wall"))
    pair = lambda a, b: "-" if a is None else f"{a / 1024:.1f}/{b / 1024:.1f}"  # noqa: E731
    text = (f"  {row.tool.name:19} {seconds(row.median('wall')):>8} {low + '-' + high:>15} "
            f"{seconds(row.median('near')):>9} {seconds(row.median('far')):>7} "
            f"{pair(c.near_rss, c.far_rss) if c else '-':>11} {pair(c.near_anon, c.far_anon) if c else '-':>11} "
            f"{size(c.up if c else None):>10} {size(c.down if c else None):>10} "
            f"{'-' if row.median('load') is None else format(row.median('load'), '.2f'):>7}")
    return text + values


def verdicts(scenario, rows):
    out = []
    for t in scenario.targets:
        got = figure(rows, t)
        against = f"{t.tool} / {t.against}" if t.against else t.tool
        if got is None:
            out.append(f"  {'not measured':12} {t.what}, {against}: target {t.limit:g}")
        else:
            out.append(f"  {'MET' if got[1] else 'not met':12} {t.what}, {against}: {got[0]:.3g}, target {t.limit:g}")
    return out
