"""Sites of a glob come and go while the daemon runs, and nobody reloads anything."""

import os
import shutil

from harness import MIRRORD, case, check, check_equal, free_port, main, read_text, wait_for, write_text
from pair import site_text
from terminal import CTRL_C, CTRL_D, type_at
from trees import check_same, put

HOSTS = ("web1", "web2")


class Sites:
    """web1's sites are www/NAME/htdocs, web2's far/NAME/htdocs; both by a glob."""

    def __init__(self, env, names=("a", "b"), options=""):
        self.env = env
        for place in ("www", "far"):
            os.mkdir(env.path(place))
        for name in names:
            self.make(name)
        state, far_config = env.path("state-web2"), env.path("web2.conf")
        env.far_end("web2", f"exec '{MIRRORD}' receive -c '{far_config}' --as web2 --state-dir '{state}'")
        far_end = read_text(env.path("remote-web2"))
        self.config = env.config(self.text(options), HOSTS)
        write_text(env.path("remote-web2"), far_end, 0o700)
        shutil.copy(self.config, far_config)
        self.daemon = env.daemon(self.config)
        self.level(*names)

    def text(self, options=""):
        return (f'sites "shops" {{ glob = "{self.env.path("www")}/*/htdocs" hosts = {{web1, web2}} primary = web1\n'
                f'  {options} at web2 {{ root = "{self.env.path("far")}/*/htdocs" }} }}\n')

    def src(self, name, *more):
        return self.env.path("www", name, "htdocs", *more)

    def far(self, name, *more):
        return self.env.path("far", name, "htdocs", *more)

    def make(self, name):
        os.makedirs(self.src(name))
        put(self.src(name, "first"), name.encode())

    def take_away(self, name):
        """At once: of what is removed file by file, some is mirrored before the root is gone."""
        os.rename(self.env.path("www", name), self.env.path(f"former-{name}"))
        self.becomes(name, "gone")

    def site(self, name):
        """What status says of it; None: nothing."""
        return next((s for s in self.daemon.status()["sites"] if s["name"] == name), None)

    def state(self, name):
        return (self.site(name) or {"state": None})["state"]

    def becomes(self, name, state):
        wait_for(lambda: self.state(name) == state, lambda: f"{name} is {state}: {self.site(name)}\n{self.log()}")

    def level(self, *names):
        for name in names:
            self.becomes(name, "ok")
            self.daemon.flush(name)
            check_same(self.src(name), self.far(name))

    def log(self):
        return self.daemon.text()[-3000:]


@case
def test_come_and_go(env):
    """A new one is on the secondary by itself, one that vanished stays there until it is forgotten."""
    s = Sites(env)
    before = read_text(s.config)
    os.mkdir(env.path("edited"))
    write_text(s.config, before + site_text("edited", env.path("edited"), [env.path("far-edited")]))
    s.make("new")
    s.level("new")
    check_equal(s.site("edited"), None, "what was edited and not reloaded")
    write_text(s.config, before)
    s.take_away("a")
    check_equal(read_text(s.far("a", "first")), "a", "the copy")
    s.daemon.flush()
    s.daemon.ask("status").prints("a here: gone", "is not there any more", "type: mirrord forget a")
    s.daemon.flush("a", code=4).prints("is not there any more")
    s.daemon.ask("resync", "--as", "web1", "--force", "a", code=5).says("is not there any more")
    since = s.site("a")["gone_since"]
    s.daemon.stop()
    s.daemon = env.daemon(s.config)
    check_equal((s.state("a"), s.site("a")["gone_since"]), ("gone", since), "after a restart")
    os.rename(env.path("former-a"), env.path("www", "a"))
    s.level("a")
    put(s.src("a", "second"), b"x")
    s.level("a", "b", "new")
    s.daemon.flush()
    s.daemon.ask("status", code=0)
    s.daemon.stop()


@case
def test_forgotten(env):
    """For good, if not its copies; a site of that name is a new one."""
    s = Sites(env, names="abc")
    s.daemon.ask("pause", "b")
    s.daemon.ask("forget", "a", code=2).says("a is not gone")
    s.daemon.ask("forget", "nobody", code=2).says("nobody is not a site that is mirrored from here")
    states = os.listdir(os.path.join(env.state, "roots"))
    for name in "ab":
        s.take_away(name)
        s.daemon.ask("forget", name).prints(f"{name}: forgotten")
        check_equal(s.site(name), None, "what status says of it")
        check_equal(read_text(s.far(name, "first")), name, "its copy")
    check_equal(len(os.listdir(os.path.join(env.state, "roots"))), len(states) - 2, "states")
    s.daemon.stop()
    s.daemon = env.daemon(s.config)
    check_equal((s.site("a"), s.state("c")), (None, "ok"), "after a restart")
    s.make("b")
    put(s.src("b", "second"), b"x")
    s.level("b", "c")
    check_equal(s.site("b")["paused"], False, "paused")
    s.daemon.stop()


@case
def test_forgotten_with_its_copies(env):
    """What mirrord put there goes, through every limit; what others did, and what is excluded, does not."""
    s = Sites(env, options='exclude = {local} unit = {"plugins/*"} settle = 100ms keep-deleted = 3')
    for i in range(300):
        put(s.src("a", "plugins", f"p{i % 3}", f"{i}.php"), b"%d" % i)
    s.level("a")
    put(s.far("a", "local"), b"stays")
    put(s.far("a", "others"), b"is set aside")
    forget = lambda *more, code: s.daemon.ask("forget", "--as", "web1", "--delete-copies", *more, code=code)
    forget("--yes", "a", code=5).says("a is not a site of this host that is gone")
    s.take_away("a")
    forget("a", code=2).says("--yes")
    check(os.path.exists(s.far("a", "plugins", "p0", "0.php")), "without a yes")
    r = forget("--yes", "a", code=0).prints("a on web2: 30. paths deleted", "a: forgotten")
    check("snapshot" not in r.err, r)
    check_equal(os.listdir(s.far("a")), ["local"], "what is left")
    trash = env.mirrord("trash", "-c", s.config, "--as", "web2", "--state-dir", env.path("state-web2"), "list").out
    check("others" in trash and "first" in trash, trash)
    check_equal(s.site("a"), None, "what status says of it")
    s.make("a")
    wait_for(lambda: os.path.exists(s.far("a", "first")), lambda: f"a new site of that name\n{s.log()}")
    s.daemon.stop()


@case
def test_forgetting_is_asked_about(env):
    """On a terminal: only a whole yes deletes; a no, the end of the input and Ctrl-C leave all as it is."""
    s = Sites(env)
    argv = [MIRRORD, "forget", "-c", s.config, "--as", "web1", "--delete-copies", "a"]
    question = rf"All that was mirrored of a is deleted there.*  {env.path('far')}/a/htdocs on web2\n.*Type yes to go on: "
    type_at(env, argv, [], code=5)  # it is there: nobody is asked
    s.take_away("a")
    for typed, code, said in (("no", 5, "nothing is deleted, and a not forgotten"),
                              ("y", 5, "nothing is deleted, and a not forgotten"),
                              (CTRL_D, 5, "nothing is deleted, and a not forgotten"),
                              (CTRL_C, 1, "interrupted: nothing is deleted, and a not forgotten")):
        type_at(env, argv, [(question, typed)], code=code).prints(said)
        check_equal((os.listdir(s.far("a")), s.state("a")), (["first"], "gone"), f"after {typed!r}")
    os.rename(env.path("www"), env.path("away"))
    s.becomes("b", "held")
    type_at(env, argv[:-1] + ["b"], [("are gone together: is their volume not mounted.*Type yes", "no")], code=5)
    os.rename(env.path("away"), env.path("www"))
    s.becomes("b", "ok")
    type_at(env, argv, [(question, "yes")]).prints("a on web2: 1 path deleted", "a: forgotten")
    check_equal((os.listdir(s.far("a")), s.site("a")), ([], None), "after a yes")
    s.daemon.stop()


@case
def test_copies_in_another_root(env):
    """A secondary whose volume is not mounted: nothing is deleted there, and nothing forgotten."""
    s = Sites(env)
    s.take_away("a")
    os.rename(s.far("a"), s.far("a") + ".away")
    os.mkdir(s.far("a"))
    put(s.far("a", "other"), b"x")
    r = s.daemon.ask("forget", "--as", "web1", "--delete-copies", "--yes", "a", code=5)
    r.says("web2: .*is another directory now")
    check_equal((os.listdir(s.far("a")), s.state("a")), (["other"], "gone"), "what is there")
    s.daemon.stop()


@case
def test_made_anew(env):
    """A site that was removed, and an empty one of that name: held, as any root that was replaced."""
    s = Sites(env)
    s.take_away("a")
    os.makedirs(s.src("a"))
    s.becomes("a", "held")
    s.daemon.ask("status", code=4).prints("is another directory", "mirrord resync --force a")
    check_equal(os.listdir(s.far("a")), ["first"], "the copy")
    s.daemon.ask("resync", "--as", "web1", "--force", "a")
    check_same(s.src("a"), s.far("a"))
    s.daemon.stop()


@case
def test_all_gone_together(env):
    """A volume that is not mounted: that all were removed is not believed."""
    s = Sites(env)
    os.rename(env.path("www"), env.path("away"))
    for name in "ab":
        s.becomes(name, "held")
    s.daemon.ask("status", code=4).prints("nothing matches .* is the volume not mounted", "findmnt",
                                          "mirrord forget a")
    s.daemon.ask("forget", "--as", "web1", "--delete-copies", "--yes", "a", code=5).says("is their volume not mounted")
    s.daemon.stop()
    s.daemon = env.daemon(s.config)
    s.becomes("a", "held")
    s.make("other")
    s.becomes("a", "gone")  # others are there: the volume is
    s.level("other")
    os.rename(env.path("www"), env.path("former"))
    s.becomes("other", "held")
    check_equal(s.state("a"), "gone", "what was gone before")
    os.rename(env.path("away"), env.path("www"))
    s.level("a", "b")
    s.becomes("other", "gone")
    check_equal(sorted(os.listdir(env.path("far"))), ["a", "b", "other"], "the copies")
    s.daemon.stop()


class Hosts:
    """One site on web1; which secondaries it has is for the case to say, each as dest2, dest3."""

    def __init__(self, env, secondaries, **settings):
        self.env, self.src = env, env.path("src")
        os.mkdir(self.src)
        self.write(secondaries, **settings)

    def dest(self, number, *more):
        return self.env.path(f"dest{number}", *more)

    def write(self, secondaries, **settings):
        hosts = ["web1"] + [f"web{n}" for n in range(2, 2 + secondaries)]
        dests = [self.dest(n) for n in range(2, 2 + secondaries)]
        self.config = self.env.config(site_text("example.com", self.src, dests), hosts, **settings)

    def start(self):
        self.daemon = self.env.daemon(self.config)
        return self.daemon


@case
def test_a_host_is_added(env):
    """It is filled as bulk: an upload does not wait for that."""
    h = Hosts(env, 1, extra_host="bwlimit = 300K")
    count, size = 32, 128 << 10  # 14 s at this rate
    for i in range(count):
        put(f"{h.src}/{i}", os.urandom(size))
    shutil.copytree(h.src, h.dest(2))
    d = h.start()
    h.write(2, extra_host="bwlimit = 300K")
    d.ask("reload")
    sent = lambda: {s["name"]: s["bytes_sent"] for s in d.status()["secondaries"]}
    wait_for(lambda: sent()["web3"] > 2 * size, lambda: f"it is being filled: {sent()}\n{d.text()[-3000:]}")
    put(f"{h.src}/upload", b"now")
    for n in (2, 3):
        wait_for(lambda: read_text(h.dest(n, "upload")) == "now", lambda: f"the upload on web{n}\n{d.text()[-3000:]}")
    check(sent()["web3"] < (count - 4) * size, "the upload came last")
    h.write(2)
    d.ask("reload")
    d.flush("--all")
    for n in (2, 3):
        check_same(h.src, h.dest(n))
    d.stop()


@case
def test_a_host_is_removed(env):
    """What it was owed is dropped; should it come back, all is compared."""
    away = {"web3": free_port()}
    h = Hosts(env, 2, ports=away)
    put(f"{h.src}/first", b"x")
    d = h.start()
    put(f"{h.src}/owed", b"y" * 1000)
    owed = lambda: {t["name"]: t["owed_paths"] for t in d.status()["sites"][0]["secondaries"]}
    wait_for(lambda: owed()["web2"] == 0 and owed()["web3"] > 0, lambda: f"only web3 is owed something: {owed()}")
    h.write(1)
    d.ask("reload")
    d.flush("--all")
    status = d.status()
    check("web3" not in str(status), "what is said of web3:", status)
    for at, _, names in os.walk(env.state):
        for name in names:
            check("web3" not in read_text(os.path.join(at, name)), f"{at}/{name} names web3")
    check_same(h.src, h.dest(2))
    h.write(2)
    d.ask("reload")
    d.flush("--all")
    check_same(h.src, h.dest(3))
    d.stop()


if __name__ == "__main__":
    main()
