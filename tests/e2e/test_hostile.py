"""Sessions whose messages are dropped, doubled, reordered and changed on the way, in both directions,
between a real pusher and a real receiver (mutator.py). Either end may refuse; neither may crash or
hang, no file may hold what was never a whole file, nothing outside the root may change, and an honest
session afterwards makes all equal. SESSIONS says how many (15; 2,000 with LONG=1), SEED the first."""

import os
import random
import re
import shutil
import sys

from harness import case, check, check_equal, main, read_text, write_text
from pair import site_text
from trees import differences, put, remove, snapshot

SESSIONS = int(os.environ.get("SESSIONS", 2000 if os.environ.get("LONG") else 15))
SEED = int(os.environ.get("SEED", 1))
HERE = os.path.dirname(os.path.abspath(__file__))
ENDS = {0, 1, 3, 5, 6}  # as mirrord(8) has them: anything else is a crash or a wrong word
PLUGIN = "wp-content/plugins/shop"


class Stage:
    """A tree that changes a little before each session, and all contents that its files ever had."""

    def __init__(self, env):
        self.env, self.src = env, env.path("src")
        self.dest, self.outside = env.path("far", "dest"), env.path("far", "outside")
        self.log = env.path("mutations")
        self.rng, self.known, self.refused = random.Random(SEED), set(), 0
        put(f"{self.outside}/file", b"nobody's business")
        for i in range(30):
            self.write(f"d{i % 5}/f{i}")
            self.write(f"{PLUGIN}/p{i}.php")
        self.write("large", 3 << 20)
        self.before = snapshot(self.outside)

    def write(self, name, size=None):
        data = self.rng.randbytes(size or self.rng.randrange(1, 9000))
        if size and os.path.exists(f"{self.src}/{name}"):  # a delta's worth of change
            with open(f"{self.src}/{name}", "rb") as f:
                old = f.read()
            at = self.rng.randrange(len(old))
            data = old[:at] + data[:5000] + old[at:]
        put(f"{self.src}/{name}", data)
        self.known.add(hash(data))

    def change(self):
        for _ in range(6):
            i, what = self.rng.randrange(30), self.rng.randrange(8)
            if what < 3:
                self.write(f"d{i % 5}/f{i}")
            elif what == 3:
                remove(f"{self.src}/d{i % 5}/f{i}")
            elif what == 4:
                self.write(f"d{i % 5}/new{i}")
            elif what == 5:
                other = f"{self.src}/d{self.rng.randrange(5)}/moved{i}"
                if os.path.exists(f"{self.src}/d{i % 5}/f{i}"):
                    os.rename(f"{self.src}/d{i % 5}/f{i}", other)
            elif what == 6:
                self.write(f"{PLUGIN}/p{i}.php")
                self.write(f"{PLUGIN}/p{(i + 1) % 30}.php")
            else:
                self.write("large", 3 << 20)

    def config(self, far, name):
        text = site_text("example.com", self.src, [self.dest],
                         'preset = wordpress max-delete = "100%"')
        return write_text(self.env.path(name), f"""state-dir = "{self.env.state}"
            control = "{self.env.path("control")}"
            host web1 {{ }}
            host web2 {{ transport = child keepalive = 1 remote-command = "{far}" }}
            """ + text)

    def resync(self, script):
        """With the mutator between the ends."""
        far = self.env.far_end("mutated", f"exec '{sys.executable}' -B '{HERE}/mutator.py' {script} "
                               f"'{self.log}' '{self.env.far_end('far')}' \"$@\"")
        return self.env.mirrord("resync", "-c", self.config(far, "mutated.conf"), "--as", "web1",
                                "example.com", code=None, timeout=60)

    def session(self, seed):
        r = self.resync(seed)
        check(r.code in ENDS, f"session {seed}:", r, read_text(self.log)[-2000:])
        self.refused += r.code != 0
        # A receiver that another signal than the cut ended, or a sanitizer.
        bad = [c for c in re.findall(r"^end (-?\d+)$", read_text(self.log), re.M)
               if int(c) not in ENDS | {-13, -15}]
        check(not bad, f"session {seed}: the receiver ended with {bad[-1:]}\n{r}")

    def whole(self, seed):
        for top, _, names in os.walk(self.dest):
            for name in names:
                path = os.path.join(top, name)
                if os.path.islink(path) or not os.path.isfile(path):
                    continue
                with open(path, "rb") as f:
                    check(hash(f.read()) in self.known, f"session {seed}: {path} is torn")
        check(snapshot(self.outside) == self.before, f"session {seed}: changes outside the root")

    def honest(self, seed):
        """What a session is refused for afterwards, epochs that were changed on the way, is undone as
        a person would: by starting afresh."""
        config = self.config(self.env.far_end("far"), "honest.conf")

        def resync(*options):
            return self.env.mirrord("resync", "-c", config, "--as", "web1", *options, "example.com",
                                    code=None)
        r = resync()
        if r.code == 5:
            for name in (self.env.state, self.env.path("state-far")):
                shutil.rmtree(name)
                os.mkdir(name, 0o700)
            r = resync("--adopt", "--force")
        check(r.code == 0, f"an honest session after {seed}:", r)
        found = differences(snapshot(self.src), snapshot(self.dest))
        check(not found, f"after session {seed}, not equal:\n  " + "\n  ".join(found))


@case(sshd=False)
def test_messages_dropped_doubled_and_changed(env):
    stage = Stage(env)
    os.makedirs(os.path.dirname(stage.dest), exist_ok=True)
    stage.honest(0)
    for i in range(SESSIONS):
        stage.change()
        stage.session(SEED + i)
        stage.whole(SEED + i)
        if i % 10 == 9:
            stage.honest(SEED + i)
    stage.honest(SEED + SESSIONS - 1)
    touched = len(re.findall(r"^(there|back) ", read_text(stage.log), re.M))
    print(f"# {SESSIONS} sessions, {touched} messages changed, {stage.refused} sessions refused")
    check(touched > SESSIONS // 2, "the messages were left alone")


@case(sshd=False)
def test_a_far_end_that_only_answers_pings(env):
    """It has lost a question, or an answer of its never ends: both are noticed, at both times the
    link itself lives."""
    stage = Stage(env)
    os.makedirs(os.path.dirname(stage.dest), exist_ok=True)
    stage.honest(0)
    put(f"{stage.src}/d0/f0", b"changed")
    put(f"{stage.dest}/d1/f1", b"changed there")  # what only was changed here is not asked for
    for script, words in (("there:drop:17", "answered nothing but keepalives for 8 s"),
                          ("back:trickle:49", "no answer for 4 s")):
        r = stage.resync(script)
        check_equal(r.code, 6, r)
        r.says(words)


if __name__ == "__main__":
    main()
