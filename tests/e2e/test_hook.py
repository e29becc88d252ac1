"""The command after a commit: as whom it runs on the secondary, what it is told, that nobody waits for
it, and that its failure shows on the primary."""

import os
import shutil
import signal

from harness import MIRRORD, ROOT, Skip, case, check, check_equal, main, read_text, wait_for, \
    write_text
from pair import Pair
from trees import put

OWNER = "nobody"
ODD = os.fsdecode(b"wp-content/uploads/odd\n\xff name.php")
PLUGIN = "wp-content/plugins/one"
PRESET = "preset = wordpress settle = 100ms"


class Hook:
    """A pair whose secondary has a configuration of its own, with this command. The primary's names
    another one, for root. `switch`: the command around a switch."""

    def __init__(self, env, body, more="", fill=None, switch=None):
        if not ROOT:
            raise Skip("needs root, to run a command as somebody else")
        os.chmod(env.dir, 0o755)
        self.env, self.out, self.forbidden = env, env.path("out"), env.path("forbidden-ran")
        os.mkdir(self.out)
        shutil.chown(self.out, OWNER)
        self.script = self.command("command", f"cd {self.out}\n{body}")
        if switch:
            more += f' on-switch = "{self.command("switch", f"cd {self.out}{chr(10)}{switch}")}"'
        self.pair = Pair(env, secondaries=1, options=PRESET, start=False, fill=fill)
        shutil.chown(self.pair.src, OWNER)
        text = read_text(self.pair.config)
        theirs = self.with_hook(text, f'on-commit = "{self.script} \'two words\'" {more}')
        self.theirs = write_text(env.path("theirs.conf"), theirs)
        other = self.command("other", f"touch {self.forbidden}")
        write_text(self.pair.config,
                   self.with_hook(text, f'on-commit = "{other}" on-commit-user = root'))
        env.far_end("web2", f"exec '{MIRRORD}' receive -c '{self.theirs}' --as web2 "
                            f"--state-dir '{env.path('state-web2')}'")
        self.pair.restart()

    def command(self, name, body):
        return write_text(self.env.path(name), f"#!/bin/sh\n{body}\n", 0o755)

    @staticmethod
    def with_hook(text, hook):
        check(PRESET in text, text)
        return text.replace(PRESET, f"{PRESET} {hook}")

    def target(self):
        return self.pair.daemon.status()["sites"][0]["secondaries"][0]

    def records(self, name="told"):
        try:
            with open(f"{self.out}/{name}", "rb") as f:
                return [(r[:1].decode(), os.fsdecode(r[1:])) for r in f.read().split(b"\0")[:-1]]
        except FileNotFoundError:
            return []

    def told(self, path):
        """The marks that came with it."""
        return "".join(mark for mark, p in self.records() if p == path)

    def runs(self):
        try:
            return read_text(f"{self.out}/runs").count("\n")
        except FileNotFoundError:
            return 0


def plugin(top, version):
    """One of its files has another content, all have other times."""
    for i in range(4):
        put(f"{top}/{PLUGIN}/f{i}.php", b"version %d" % version if i == 0 else b"same %d" % i)
        os.utime(f"{top}/{PLUGIN}/f{i}.php", (1_700_000_000 + version, 1_700_000_000 + version))


def fill(src):
    plugin(src, 1)
    put(f"{src}/wp-content/uploads/first.jpg", b"there from the start")
    for name in ("changed", "second", "gone", "moded"):
        put(f"{src}/d/{name}.php", b"old of " + name.encode())
        os.utime(f"{src}/d/{name}.php", (1_700_000_000, 1_700_000_000))
    put(f"{src}/away/deep/x.php", b"x")
    os.symlink("d", f"{src}/current")


def replace(path, data, mtime):
    put(path + ".new", data)
    os.utime(path + ".new", ns=(mtime, mtime))
    os.rename(path + ".new", path)


@case
def test_as_whom_and_what_it_is_told(env):
    h = Hook(env, '[ -e who ] || { env | sort >env; id -Gn >groups; echo "$@" >args; umask >umask; '
                  'grep NoNewPrivs /proc/self/status >privs; id -un >who; }; cat >>told', fill=fill)
    src, dest = h.pair.src, h.pair.dests[0]
    wait_for(lambda: h.told("d/changed.php"), lambda: f"the first run: {h.records()}\n"
             f"{h.pair.daemon.text()}\n{env.sshd_log()[-3000:]}")
    h.pair.flushed()
    wait_for(lambda: h.told(f"{PLUGIN}/f3.php"), "the plugin's files")
    os.remove(f"{h.out}/told")

    old = 1_700_000_000 * 10**9
    put(f"{src}/{ODD}", b"new")
    replace(f"{src}/d/changed.php", b"new of changed", old + 5 * 10**9)
    replace(f"{src}/d/second.php", b"new of second!", old + 5 * 10**6)
    os.chmod(f"{src}/d/moded.php", 0o600)
    os.remove(f"{src}/d/gone.php")
    shutil.rmtree(f"{src}/away")
    os.symlink("away", f"{src}/current.new")
    os.rename(f"{src}/current.new", f"{src}/current")
    h.pair.flushed()
    plugin(src, 2)
    h.pair.flushed()
    wait_for(lambda: h.told(f"{PLUGIN}/f0.php"), lambda: f"told: {h.records()}")
    wanted = {ODD: "+", "d/changed.php": "~", "d/second.php": "!", "d/gone.php": "-",
              "away/": "-", "current": "@", f"{PLUGIN}/f0.php": "~"}
    for path, mark in wanted.items():
        check_equal(h.told(path)[-1:], mark, f"the mark of {path!r} in {h.records()}")
    for path in ("d/moded.php", f"{PLUGIN}/f1.php", f"{PLUGIN}/f3.php"):
        check_equal(h.told(path), "", f"the content of {path} is the same: {h.records()}")
    check_equal(read_text(f"{h.out}/who").strip(), OWNER, "it runs as the root's owner")
    check("root" not in read_text(f"{h.out}/groups").split(), read_text(f"{h.out}/groups"))
    check_equal(read_text(f"{h.out}/args").strip(), "two words")
    check_equal(read_text(f"{h.out}/umask").strip(), "0022")
    check(read_text(f"{h.out}/privs").split()[1] == "1", "no_new_privs")
    names = {line.split("=")[0] for line in read_text(f"{h.out}/env").splitlines()}
    check_equal(names - {"PWD", "OLDPWD", "SHLVL", "_"},
                {"PATH", "LANG", "MIRRORD_SITE", "MIRRORD_ROOT"}, "its environment")
    check(f"MIRRORD_ROOT={dest}\n" in read_text(f"{h.out}/env"), read_text(f"{h.out}/env"))
    check(not os.path.exists(h.forbidden), "the primary's command ran")


@case
def test_nobody_waits_and_its_failure_shows(env):
    h = Hook(env, 'echo >>runs; cat >>told; while [ ! -e go ]; do sleep 0.02; done; '
                  '[ -e bad ] || { echo >>ended; exit 0; }; echo "no socket" >&2; exit 7')
    wait_for(lambda: h.runs() == 1, lambda: f"a run\n{h.pair.daemon.text()}\n{env.sshd_log()[-2000:]}")
    # It runs and does not end. What comes meanwhile is acknowledged, and is one run more.
    for i in range(5):
        put(f"{h.pair.src}/f{i}.php", b"x%d" % i)
        h.pair.flushed()
    check_equal(h.runs(), 1, "runs")
    put(f"{h.out}/go", b"")
    wait_for(lambda: h.told("f4.php"), "what came meanwhile")
    wait_for(lambda: read_text(f"{h.out}/ended").count("\n") == 2, "two runs")
    check_equal(h.runs(), 2, "runs")

    put(f"{h.out}/bad", b"")
    put(f"{h.pair.src}/g.php", b"g")
    h.pair.flushed()
    wait_for(lambda: h.target()["hook"]["failures"] == 1, lambda: f"{h.target()}")
    check_equal(h.target()["hook"]["error"], "it ended with exit code 7: no socket")
    check(h.target()["hook"]["since"] > 0, h.target())
    status = h.pair.daemon.ask("status", code=4)
    status.prints("its on-commit has failed 1 time since .*exit code 7: no socket",
                  "type: mirrord check --effective example.com")
    # The next primary's daemon hears of it, too; its session runs it again, for everything.
    h.pair.daemon.stop()
    wait_for(lambda: not env.sshd.receivers(), "the receiver's end")
    runs = h.runs()
    h.pair.restart()
    wait_for(lambda: h.target()["hook"]["failures"] == 2, lambda: f"{h.target()}")
    check_equal(h.records()[-1], ("*", ""), "the last record")
    check_equal(h.runs(), runs + 1, "runs")
    os.remove(f"{h.out}/bad")
    put(f"{h.pair.src}/h.php", b"h")
    h.pair.flushed()
    wait_for(lambda: h.target()["hook"]["failures"] == 0, lambda: f"{h.target()} {h.runs()} {h.records()}\n{env.sshd_log()[-3000:]}\n{h.pair.daemon.text()[-1500:]}")
    h.pair.daemon.ask("status", code=0)
    check(not os.path.exists(h.forbidden), "the primary's command ran")


@case
def test_flush_waits_for_it_when_asked(env):
    h = Hook(env, 'echo >>runs; cat >>told; while [ ! -e go ]; do sleep 0.02; done; '
                  '[ ! -e bad ] || exit 5; echo >>ended')
    flush = h.pair.daemon.flush
    wait_for(lambda: h.runs() == 1, "a run")
    put(f"{h.pair.src}/new.php", b"x")
    flush()
    flush("--hook", "--timeout", "1", code=4).prints(
        "web2: example.com: it has it, but its on-commit has not run yet")
    put(f"{h.out}/go", b"")
    flush("--hook")
    check_equal(h.told("new.php"), "+", "told by then")
    check_equal(read_text(f"{h.out}/ended").count("\n"), h.runs(), "every run has ended")
    flush("--hook")  # nothing is due
    put(f"{h.out}/bad", b"")
    put(f"{h.pair.src}/new.php", b"y")
    flush("--hook", "--timeout", "1", code=4).prints(
        "web2: example.com: it has it, but its on-commit (fails: .*exit code 5|has not run yet)")
    os.remove(f"{h.out}/bad")
    put(f"{h.pair.src}/new.php", b"z")  # or it is some time until it is tried again
    flush("--hook")
    check_equal(read_text(f"{h.out}/ended").count("\n"), h.runs() - 1, "one failed")


@case
def test_the_session_ends_before_it(env):
    h = Hook(env, 'echo >>runs; cat >>told; while [ ! -e go ]; do sleep 0.02; done; echo >>ended')
    wait_for(lambda: h.runs() == 1, "a run")
    put(f"{h.pair.src}/late.php", b"x")
    h.pair.flushed()
    h.pair.daemon.stop()
    put(f"{h.out}/go", b"")
    wait_for(lambda: h.told("late.php"), "the run after the session's end")
    wait_for(lambda: read_text(f"{h.out}/ended").count("\n") == 2, "both runs end by themselves")
    # A parent that is killed leaves a note: `recover` runs it.
    os.remove(f"{h.out}/go")
    h.pair.restart()
    put(f"{h.pair.src}/later.php", b"x")
    h.pair.flushed()
    wait_for(lambda: h.told("later.php"), "the run")
    for pid in env.sshd.receivers():
        os.kill(pid, signal.SIGKILL)
    h.pair.daemon.stop()
    put(f"{h.out}/go", b"")
    runs = h.runs()
    env.mirrord("recover", "-c", h.theirs, "--as", "web2", "--state-dir", env.path("state-web2"))
    check_equal((h.runs(), h.records()[-1]), (runs + 1, ("*", "")), "after recover")


@case
def test_readers_are_held_around_a_switch(env):
    h = Hook(env, "cat >/dev/null", "on-switch-timeout = 30s", fill,
             "id -un >who; echo >>asked; while [ ! -e go ]; do sleep 0.02; done; echo ready; "
             "cat >>switched; echo >>let-go")
    src, dest = h.pair.src, h.pair.dests[0]
    first = f"{dest}/{PLUGIN}/f0.php"
    h.pair.flushed()
    check(not os.path.exists(f"{h.out}/asked"), "of what is new nobody has an old version")
    plugin(src, 2)
    wait_for(lambda: os.path.exists(f"{h.out}/asked"), h.pair.daemon.text)
    # Nothing is switched before it says so; what has nothing to do with that does not wait.
    put(f"{src}/wp-content/uploads/now.jpg", b"a picture")
    h.pair.daemon.flush("example.com", "wp-content/uploads/now.jpg")
    check_equal(read_text(f"{dest}/wp-content/uploads/now.jpg"), "a picture")
    check_equal(read_text(first), "version 1", "it is not switched")
    put(f"{h.out}/go", b"")
    h.pair.flushed()
    check_equal(read_text(first), "version 2")
    wait_for(lambda: os.path.exists(f"{h.out}/let-go"), "it is told")
    check_equal(h.records("switched"), [("~", f"{PLUGIN}/f0.php")], "what changed")
    check_equal(read_text(f"{h.out}/who").strip(), OWNER, "it runs as the root's owner")
    # A unit that goes is switched, too.
    shutil.rmtree(f"{src}/{PLUGIN}")
    h.pair.flushed()
    wait_for(lambda: ("-", f"{PLUGIN}/") in h.records("switched"), lambda: h.records("switched"))
    check_equal(h.target()["hook"]["failures"], 0, h.target())


@case
def test_it_is_switched_where_they_cannot_be_held(env):
    h = Hook(env, "cat >/dev/null", "on-switch-timeout = 30s", fill,
             '[ -e good ] || { echo "no pool" >&2; exit 3; }; echo ready; cat >>switched')
    h.pair.flushed()
    plugin(h.pair.src, 2)
    h.pair.flushed()
    wait_for(lambda: h.target()["hook"]["failures"] == 1, lambda: f"{h.target()}")
    check_equal(h.target()["hook"]["error"], "on-switch: it ended with exit code 3: no pool")
    h.pair.daemon.ask("status", code=4).prints(
        "its on-switch has failed 1 time since .*: it ended with exit code 3: no pool")
    put(f"{h.out}/good", b"")
    plugin(h.pair.src, 3)
    h.pair.flushed()
    wait_for(lambda: h.target()["hook"]["failures"] == 0, lambda: f"{h.target()}")
    wait_for(lambda: h.records("switched") == [("~", f"{PLUGIN}/f0.php")], "what changed")


@case
def test_check(env):
    h = Hook(env, "exit 0", more="on-commit-timeout = 5s", switch="exit 0")

    def ask(*more, code=0):
        return env.mirrord("check", "-c", h.theirs, "--as", "web2", "--offline", *more, code=code)
    env.mirrord("check", "-c", h.theirs, "--as", "web2", "--effective", "example.com").prints(
        "after a commit on web2: .*command.* \\(as the root's owner, for 5 s at most\\)",
        "around the switch of units on web2: .*switch \\(as the root's owner, for 3 s at most\\)")
    os.chmod(h.script, 0o777)
    ask(code=1).prints("site example.com: on-commit: .* can be changed by others")
    os.remove(h.script)
    ask(code=1).prints("site example.com: on-commit: .*No such file")
    write_text(h.theirs, read_text(h.theirs).replace("on-commit-timeout = 5s",
                                                     "on-commit-user = not-a-user-of-ours"))
    ask(code=1).prints("on-commit-user: there is no user not-a-user-of-ours here")


if __name__ == "__main__":
    main()
