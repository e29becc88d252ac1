"""Crashes at every step. A build with -Dfaults=true has a fault point before and after each call
that changes state, at both ends (see mirrord/base/fault.h). A resync that turns one tree into
another is run once to see which points it passes; then again and again, each time with one of the
processes killed at one of them, or with one call failing. At that moment every file must be whole,
old or new; after another resync the trees must be equal and nothing may be left over.

CRASH_POINTS=all goes through every point, CRASH_POINTS=N through N of them in each case; SEED
chooses which, and the order."""

import collections
import os
import random
import re
import shutil
import signal

from harness import MIRRORD, case, check, check_equal, main, read_text, wait_for, write_text
from hosts import Hosts
from trees import differences, put, remove, set_mtime, snapshot

POINTS = os.environ.get("CRASH_POINTS")
SEED = int(os.environ.get("SEED", 20240229))
STAMP = 1_600_000_000_000_000_000
ERRORS = ("EIO", "ENOSPC", "EACCES")


# The two trees -----------------------------------------------------------------------------------

def blob(seed, size):
    return random.Random(seed).randbytes(size)


def trees():
    """{path: content, or a link's target in a tuple, or None for an empty directory}, twice."""
    a, b = {}, {}
    for i in range(6):
        a[f"same/{i}"] = b[f"same/{i}"] = blob(i, 2000)
        a[f"changed/{i}"], b[f"changed/{i}"] = b"old %d" % i, b"new, and longer: %d" % i
        a[f"gone/deep/{i}"] = b"goes %d" % i
        b[f"whole/new/{i}"] = b"comes %d" % i
        a[f"moved/{i}"] = b[f"there/{i}"] = blob(100 + i, 6000)
    large = blob(7, 700_000)
    a["delta"], b["delta"] = large, large[:200_000] + b"inserted" + large[200_000:]
    a["large-goes"], b["large-comes"] = blob(8, 400_000), blob(9, 400_000)
    a["file-moved"] = b["changed/file-moved"] = blob(10, 9000)
    a["becomes-file/in"], b["becomes-file"] = b"in a directory", b"a file"
    a["becomes-dir"], b["becomes-dir/in"] = b"a file", b"in a directory"
    a["becomes-link"], b["becomes-link"] = b"a file", ("same/0",)
    a["link-becomes-file"], b["link-becomes-file"] = ("same/1",), b"a file"
    a["link"], b["link"] = ("old target",), ("new target",)
    for i in range(8):
        a[f"units/changed/{i}"], b[f"units/changed/{i}"] = b"1.%d" % i, b"2.%d" % i
        a[f"units/goes/{i}"], b[f"units/comes/{i}"] = b"1.%d" % i, b"2.%d" % i
        a[f"units/changed/same/{i}"] = b[f"units/changed/same/{i}"] = b"same %d" % i
    a["units/changed/dropped"], b["units/changed/added"] = b"1", b"2"
    a["empty-goes"], b["empty-comes"] = None, None
    a["mode"] = b["mode"] = b"only the mode changes"
    return a, b


def fill(root, tree, late):
    """Makes root hold exactly this tree. Times depend on the path, and on the tree where `late`."""
    os.makedirs(root, exist_ok=True)
    for name in os.listdir(root):
        remove(os.path.join(root, name))
    for path, content in tree.items():
        at = os.path.join(root, path)
        if content is None:
            os.makedirs(at)
        elif isinstance(content, tuple):
            os.makedirs(os.path.dirname(at), exist_ok=True)
            os.symlink(content[0], at)
        else:
            put(at, content)
    os.chmod(os.path.join(root, "mode"), 0o600 if late else 0o644)
    for top, dirs, files in os.walk(root, topdown=False):
        for name in dirs + files:
            at = os.path.join(top, name)
            same = name == "same" or "/same/" in at or name in ("moved", "there") or name.isdigit()
            set_mtime(at, STAMP + len(name) * 1_000_000 + (0 if same else late * 10**10))
    set_mtime(root, STAMP + late)


# One environment ---------------------------------------------------------------------------------

class Sweep:
    """A site on web1 whose secondary is a child process. It is turned back and forth between the
    two trees, so that one environment serves for many points."""

    OPTIONS = ""

    def __init__(self, env):
        self.env, self.src, self.dest = env, env.path("src"), env.path("far/dest")
        self.list = {"near": env.path("near.list"), "far": env.path("far.list")}
        self.trees, self.late = trees(), 0
        os.mkdir(env.path("far"))
        hosts = "".join(f'host {h} {{ transport = child remote-command = "{env.path("remote-" + h)}" }}\n'
                        for h in ("web1", "web2"))
        self.config = write_text(env.path("mirrord.conf"), f"""state-dir = "{env.state}"
            control = "{env.path("control")}"
            {hosts} site "s" {{ root = "{self.src}" primary = web1 hosts = {{web1, web2}}
            unit = {{"units/*"}} settle = 100ms max-delete = "100%" {self.OPTIONS}
            at web2 {{ root = "{self.dest}" }} }}\n""")
        self.counts = collections.Counter()

    def begin(self):
        fill(self.src, self.trees[0], 0)

    def turn(self):
        """The primary's tree becomes the other one."""
        self.before = snapshot(self.src) if os.path.isdir(self.src) else {}
        self.late = 1 - self.late
        fill(self.src, self.trees[self.late], self.late)
        self.after = snapshot(self.src)

    def environments(self, end, fault, listed, boot=None):
        """The near end's; the far end's is written into the script that starts it. There the fault
        happens in one session only."""
        near, far = {}, "unset MIRRORD_FAULT MIRRORD_FAULT_LIST MIRRORD_BOOT_ID\n"
        if fault and end == "near":
            near["MIRRORD_FAULT"] = fault
        elif fault:
            once = write_text(self.env.path("once"), "")
            far += f"if rm '{once}' 2>/dev/null; then export MIRRORD_FAULT='{fault}'; fi\n"
        if listed:
            near["MIRRORD_FAULT_LIST"] = self.list["near"]
            far += f"export MIRRORD_FAULT_LIST='{self.list['far']}'\n"
        if boot:
            near["MIRRORD_BOOT_ID"] = boot
            far += f"export MIRRORD_BOOT_ID='{boot}'\n"
        far += f"exec '{MIRRORD}' \"$@\" --state-dir '{self.env.path('state-web2')}'"
        self.env.far_end("web2", far)
        return near

    def run(self, end=None, fault=None, listed=False, boot=None, code=None):
        """A resync; `fault` happens at this end."""
        near = self.environments(end, fault, listed, boot)
        return self.env.mirrord("resync", "-c", self.config, "--as", "web1", "s", code=code,
                                environ=near, timeout=60)

    def listed(self):
        """What was passed since the lists were read last: [(end, name, how often)]."""
        out = []
        for end, path in self.list.items():
            passed = collections.Counter(read_text(path).split("\n"))
            passed.pop("", None)
            check(passed, f"no fault points at the {end} end: is this a build with -Dfaults=true?")
            out += [(end, name, n) for name, n in sorted(passed.items())]
            os.unlink(path)
        return out

    def points(self):
        """What a turn passes."""
        self.turn()
        self.run(listed=True, code=0)
        self.is_level()
        return self.listed()

    def there(self):
        return snapshot(self.dest) if os.path.isdir(self.dest) else {}

    def torn(self):
        """Files that are neither as they were nor as they are to be."""
        out = []
        now = self.there()
        for path, is_now in now.items():
            if is_now["type"] != "file" or path.startswith(b".mirrord-"):
                continue
            versions = [t[path] for t in (self.before, self.after) if path in t]
            if not any(v["type"] == "file" and v["content"] == is_now["content"] for v in versions):
                out.append(f"{path!r}: {is_now}")
        return out + self.torn_units(now)

    def torn_units(self, now):
        """Units of which some is as it was and some as it is to be. Metadata on shared inodes is
        set after the switch, so only names and contents count."""
        def unit_of(tree, unit):
            return {p: (e["type"], e.get("content")) for p, e in tree.items()
                    if p == unit or p.startswith(unit + b"/")}
        out = []
        for unit in {b"/".join(p.split(b"/")[:2]) for p in now if p.startswith(b"units/")}:
            got = unit_of(now, unit)
            if got not in (unit_of(self.before, unit), unit_of(self.after, unit)):
                out.append(f"the unit {unit!r} is a mixture: {got}")
        return out

    def is_level(self):
        found = differences(snapshot(self.src), snapshot(self.dest))
        check(not found, "not level:", *found)

    def left_over(self):
        """In the stage: what was staged or is dead, and what was set aside although it was ours."""
        out = []
        for name in os.listdir(self.env.path("far")):
            stage = self.env.path("far", name)
            if name == "dest":
                continue
            out += [n for n in os.listdir(stage) if n[0] in "nd"]
            aside = os.path.join(stage, "trash/foreign")
            if os.path.isdir(aside):
                out += [read_text(os.path.join(aside, n, "path")) for n in os.listdir(aside)]
        return out

    def empty_trash(self):
        """What cannot be done away with as usual may be set aside: it is kept, not lost."""
        for name in os.listdir(self.env.path("far")):
            stage = self.env.path("far", name)
            shutil.rmtree(f"{stage}/trash/foreign", ignore_errors=True)
            for kept in os.listdir(stage):
                if name != "dest" and kept[0] == "k":
                    shutil.rmtree(f"{stage}/{kept}")

    def is_kept(self, what):
        """What somebody else put there."""

    def crash(self, end, name, fault):
        self.turn()
        was = self.run(end, fault)
        torn = self.torn()
        check(not torn, f"{end} {fault}: torn:", *torn)
        again = self.run(code=None)
        found = differences(self.after, snapshot(self.dest))
        check(again.code == 0 and not found, f"{end} {fault} (exit {was.code}): then exit "
              f"{again.code}\n{was.err}\n{again.err}", *found)
        self.is_kept(f"{end} {fault}")
        if "=" in fault:
            self.empty_trash()
        left = self.left_over()
        check(not left, f"{end} {fault}: left over: {left}\n{was.err}\n{again.err}")
        self.counts["killed" if "=" not in fault else "failed"] += 1


def choose(points, usual):
    """All, as many as asked for, or as many as usual, in an order of the seed's."""
    points = list(points)
    random.Random(SEED).shuffle(points)
    return points if POINTS == "all" else points[:int(POINTS or usual)]


class Others(Sweep):
    """What somebody else does on the secondary meets what moves here: files in the way, files added to
    what is replaced or deleted, a backup by hard links; names exchanged, owners, sparse files; and
    what is replaced is kept."""

    OPTIONS = "keep-deleted = 1 unit-grace = 0"

    def __init__(self, env):
        super().__init__(env)
        self.planted, self.turns = {}, 0
        os.mkdir(env.path("backups"))

    def begin(self):
        for i in range(4):
            put(f"{self.src}/swap/a/{i}", blob(i, 20_000))
            put(f"{self.src}/swap/b/{i}", blob(10 + i, 20_000))
            put(f"{self.src}/units/u/{i}", b"0.%d" % i)
            put(f"{self.src}/changed/{i}", b"first %d" % i)
        for path in ("here/moved", "shared/f", "shared/owner"):
            put(f"{self.src}/{path}", blob(len(path), 60_000))
        os.makedirs(f"{self.src}/there")
        put(f"{self.src}/new-0/f", b"first")
        put(f"{self.src}/sparse", bytes(400_000) + b"0")

    def plant(self, path):
        data = b"somebody else's %d %s" % (self.turns, path.encode())
        self.planted[path.encode()] = data
        put(f"{self.dest}/{path}", data)

    def turn(self):
        self.before, self.planted = snapshot(self.src), {}
        self.turns += 1
        t, src = self.turns, self.src
        for a, b in (("a", "spare"), ("b", "a"), ("spare", "b")):
            os.rename(f"{src}/swap/{a}", f"{src}/swap/{b}")
        here, there = ("here", "there") if t % 2 else ("there", "here")
        os.rename(f"{src}/{here}/moved", f"{src}/{there}/moved")
        for i in range(4):
            put(f"{src}/changed/{i}", b"turn %d, %d" % (t, i))
            put(f"{src}/units/u/{i}", b"%d.%d" % (t, i))
        os.chmod(f"{src}/shared/f", 0o600 + t % 2 * 0o40)
        if os.geteuid() == 0:
            os.chown(f"{src}/shared/owner", t % 2, t % 2)
        put(f"{src}/sparse", bytes(300_000 + t % 2 * 200_000) + b"%d" % t)
        shutil.rmtree(f"{src}/new-{t - 1}")
        put(f"{src}/new-{t}/f", b"turn %d" % t)
        put(f"{src}/in-the-way", b"turn %d" % t)
        self.after = snapshot(src)
        if os.path.isdir(f"{self.dest}/new-{t - 1}"):
            self.plant(f"new-{t - 1}/planted")
            self.plant("units/u/planted")
            self.plant("in-the-way")
            self.plant("changed/planted")
            for name in ("f", "owner"):
                os.link(f"{self.dest}/shared/{name}", self.env.path("backups", f"{t}-{name}"))
            self.contents = {p: e.get("content") for p, e in snapshot(self.dest).items()}

    def there(self):
        """Without what was planted, as long as it stands there."""
        return {p: e for p, e in super().there().items()
                if p not in self.planted or self.contents[p] != e.get("content")}

    def left_over(self):
        return [n for n in os.listdir(self.env.path("far")) if n != "dest"
                for n in os.listdir(self.env.path("far", n)) if n[0] in "nd"]

    def is_kept(self, what):
        """In the trash; or, where there was no room for that, the whole unit that was replaced."""
        found = set()
        for name in os.listdir(self.env.path("far")):
            for top, _, files in os.walk(self.env.path("far", name) if name != "dest" else ""):
                for f in files:
                    with open(os.path.join(top, f), "rb") as content:
                        found.add(content.read())
        lost = [path for path, data in self.planted.items() if data not in found]
        check(not lost, f"{what}: what somebody else put there is not kept: {lost}")
        self.empty_trash()


class Damaged(Sweep):
    """The secondary's database is garbage at each turn, though the power was not lost: what it held is
    put back from its copy and the ledger, however often that is interrupted, and nothing that
    mirrord put there is set aside."""

    def turn(self):
        super().turn()
        roots = self.env.path("state-web2", "roots")
        for name in os.listdir(roots):
            with open(os.path.join(roots, name, "manifest/data.mdb"), "r+b") as f:
                f.write(random.Random(SEED).randbytes(50_000))


def while_it_is_put_back(end, name, often):
    files = ("former.c", "ledger.c", "io.c", "store.c")
    return kills(end, name, often) + failures(end, name, often) if end == "far" and name.startswith(files) else []


def sweep(env, faults, usual, kind=Sweep):
    s = kind(env)
    s.begin()
    s.run(code=0)
    s.is_level()
    points = s.points()
    every = [f for p in points for f in faults(*p)]
    for end, name, fault in choose(every, usual):
        s.crash(end, name, fault)
    names = len({(end, name) for end, name, _ in points})
    print(f"# seed {SEED}: {names} points, {len(every)} faults, of these "
          f"{s.counts['killed']} kills and {s.counts['failed']} failures were made")


def kills(end, name, often):
    """At the first passing, at the last, and at some in between."""
    return [(end, name, f"{name}:{n}") for n in sorted({often, *range(1, often, often // 4 + 1)})]


def failures(end, name, often):
    if not name.endswith("<"):
        return []
    rng = random.Random(name)
    return [(end, name, f"{name}:{rng.randint(1, often)}={rng.choice(ERRORS)}")]


@case(sshd=False)
def test_killed_at_every_point(env):
    sweep(env, kills, 80)


@case(sshd=False)
def test_calls_fail_at_every_point(env):
    sweep(env, failures, 25)


@case(sshd=False)
def test_killed_while_others_are_at_work(env):
    sweep(env, kills, 12, Others)


@case(sshd=False)
def test_calls_fail_while_others_are_at_work(env):
    sweep(env, failures, 6, Others)


@case(sshd=False)
def test_killed_while_a_damaged_manifest_is_put_back(env):
    sweep(env, while_it_is_put_back, 12, Damaged)


@case(sshd=False)
def test_first_contact_is_killed(env):
    """Nothing is there yet: root, marker, stage and manifest are made."""
    s = Sweep(env)
    fill(s.src, {"d/f": b"content", "mode": b"m"}, 0)

    def fresh():
        for path in (env.path("far"), env.path("state-web2"), env.path("state")):
            shutil.rmtree(path)
            os.mkdir(path, 0o700)

    s.run(listed=True, code=0)
    s.is_level()
    points = [(end, fault) for p in s.listed() for end, _, fault in kills(*p)]
    chosen = choose(points, 30)
    for end, fault in chosen:
        fresh()
        was = s.run(end, fault)
        again = s.run()
        found = differences(snapshot(s.src), snapshot(s.dest))
        check(again.code == 0 and not found, f"{end} {fault}: {was}\n{again}", *found)
    print(f"# seed {SEED}: {len(points)} kills at first contact, {len(chosen)} made")


def change_live(src, turn):
    """What happens to a tree while the daemon watches: back and forth, with each turn."""
    here, there = ("moved", "elsewhere/moved") if turn % 2 else ("elsewhere/moved", "moved")
    os.makedirs(f"{src}/elsewhere", exist_ok=True)
    if os.path.isdir(f"{src}/{here}"):
        os.rename(f"{src}/{here}", f"{src}/{there}")
    put(f"{src}/changed/1", b"turn %d" % turn)
    put(f"{src}/upload.new", blob(turn, 90_000))
    os.rename(f"{src}/upload.new", f"{src}/upload")
    put(f"{src}/{there}/2", b"changed after the move %d" % turn)
    with open(f"{src}/delta", "r+b") as f:
        f.seek(1000)
        f.write(b"turn %d" % turn)
    os.chmod(f"{src}/mode", 0o640 + turn % 2)
    shutil.rmtree(f"{src}/whole-{turn - 1}", ignore_errors=True)
    for i in range(4):
        put(f"{src}/whole-{turn}/deep/{i}", b"turn %d" % turn)
    type_of = f"{src}/type"
    if turn % 2:
        shutil.rmtree(type_of, ignore_errors=True)
        put(type_of, b"a file")
    else:
        os.unlink(type_of)
        put(f"{type_of}/in", b"in a directory")


def live(s, turn, end=None, fault=None, listed=False):
    """The daemon sees the changes of a turn; then, with what was killed started again, the trees
    become equal. True when the daemon was killed."""
    # A kill leaves its socket behind; whether this one is ready its log tells.
    daemon = s.env.daemon(s.config, ready=False, environ=s.environments(end, fault, listed))
    wait_for(lambda: daemon.is_ready() or daemon.process.poll() is not None, "the daemon is ready")
    change_live(s.src, turn)
    r = s.env.mirrord("flush", "-c", s.config, "--timeout", "30", "--all", code=None)
    killed = daemon.process.poll() is not None
    if not killed:
        daemon.stop(code=None)
        killed = end == "near" and daemon.process.returncode == -signal.SIGKILL
        check(killed or (daemon.process.returncode == 0 and r.code == 0), f"{end} {fault}: "
              f"{daemon.process.returncode}\n{r}\n{daemon.text()[-3000:]}")
    if killed:
        daemon = s.env.daemon(s.config, environ=s.environments(None, None, False))
        r = s.env.mirrord("flush", "-c", s.config, "--timeout", "30", "--all", code=0)
        daemon.stop()
    found = differences(snapshot(s.src), snapshot(s.dest))
    check(not found, f"{end} {fault}: {r}\n{daemon.text()[-3000:]}", *found)
    return killed


@case(sshd=False)
def test_live_changes_while_something_is_killed(env):
    s = Sweep(env)
    fill(s.src, s.trees[0], 0)
    live(s, 1)
    live(s, 2, listed=True)
    points = [(end, fault) for p in s.listed() for end, _, fault in kills(*p)]
    chosen = choose(points, 12)
    daemons = sum(live(s, 3 + i, *point) for i, point in enumerate(chosen))
    left = s.left_over()
    check(not left, f"left over: {left}")
    print(f"# seed {SEED}: {len(points)} kills while changes are live, {len(chosen)} made, "
          f"{daemons} of the daemon")


def lose_power(state):
    """The last clean mark was not written, and the database is garbage."""
    for root in os.listdir(os.path.join(state, "roots")):
        mark = os.path.join(state, "roots", root, "mark")
        version, was, rest = read_text(mark).split(" ", 2)
        check(was == "3", f"the mark is not clean: {read_text(mark)}")
        write_text(mark, f"{version} 1 {rest}")
        with open(os.path.join(state, "roots", root, "manifest", "data.mdb"), "r+b") as f:
            f.write(random.Random(SEED).randbytes(50_000))


@case(sshd=False)
def test_power_is_lost_at_both_ends(env):
    """The machines come back with another boot: what was written last is damaged under its old
    size and time, and so are the databases."""
    s = Sweep(env)
    fill(s.src, s.trees[0], 0)
    s.run(code=0, boot="first")
    s.is_level()
    same = s.run(code=0, boot="second")  # a clean end
    check("power" not in same.err and "clean end" not in same.err, same)
    for path in ("changed/0", "file-moved", "same/3"):
        at = os.path.join(s.dest, path)
        st = os.stat(at)
        with open(at, "r+b") as f:
            f.write(b"\0\0\0\0")
        os.utime(at, ns=(st.st_atime_ns, st.st_mtime_ns))
    for state in ("state", "state-web2"):
        lose_power(env.path(state))
    r = s.run(code=0, boot="third").says("without a clean end: the manifest is rebuilt")
    sent = re.search(r"sent ([\d.]+) (\w+)", r.out)
    check(sent and sent[2] == "KB" and float(sent[1]) < 100, f"only what is damaged is sent again: {r}")
    s.is_level()
    again = s.run(code=0, boot="third")
    check("clean end" not in again.err, again)


@case
def test_a_handover_is_killed(env):
    """The command, at each of its moments: the daemon there goes on, and nothing is lost."""
    h = Hosts(env, run=("web1", "web2"))
    h.arrives("web1", ("web2", "web3"))
    listed = env.path("moments")
    old, new = "web1", "web2"
    h.ask(old, "handover", "example.com", new, environ={"MIRRORD_FAULT_LIST": listed})
    moments = [line for line in read_text(listed).split() if line.startswith("handover.c:")]
    check(len(moments) == 3, moments)
    for i, moment in enumerate(moments):
        old, new = new, old
        h.write(old, f"first-{i}")
        h.arrives(old, (new, "web3"))  # it is the primary indeed
        h.write(old, f"last-{i}", b"written before the handover")
        r = h.ask(old, "handover", "example.com", new, code=None,
                  environ={"MIRRORD_FAULT": moment})
        check_equal(r.code, -signal.SIGKILL, f"{moment}: {r}")
        env.mirrord("reload", "-c", h.configs[old], code=0)
        wait_for(lambda: h.is_primary(new) and not h.is_primary(old), f"{moment}: {new} has it", 20)
        check(os.path.exists(f"{h.roots[new]}/last-{i}"), "nothing is lost")


if __name__ == "__main__":
    main()
