"""What a load balancer is told by a secondary: down by evidence only, and up again by itself; over
HTTP and as HAProxy's agent; and that it, status and the metrics say the same while a secondary is cut
off and comes back, and while the primary is lost and replaced."""

import os
import re
import signal

from balancer import Listener
from harness import case, check, check_equal, main, read_text, send, wait_for, write_text
from hosts import Hosts
from pair import Pair, site_text
from trees import put

SITE = "example.com"


def own(env, host="web2"):
    return ["--as", host, "--state-dir", env.path(f"state-{host}")]


class Asked:
    """A pair whose secondary is asked in all ways."""

    def __init__(self, env, options="", **more):
        self.env = env
        self.pair = Pair(env, secondaries=1, options=options, **more)
        self.argv = ["-c", self.pair.config, *own(env)]
        self.http = Listener(env, "--http", *self.argv)
        self.agent = Listener(env, "--agent", *self.argv)

    def look(self, *more, code=None):
        """(exit code, the site)"""
        r = self.env.mirrord("health", "--json", *self.argv, *more, code=code)
        return r.code, r.json()["sites"][0]

    def becomes(self, state, healthy, *more, seconds=20):
        seen = []

        def there():
            code, site = self.look(*more)
            seen[:] = [code, site]
            return (site["state"], site["healthy"]) == (state, healthy)
        wait_for(there, lambda: f"{state}, {healthy}: {seen}\n"
                 f"{self.pair.daemon.text()[-2000:]}", seconds)
        check_equal(seen[0], 0 if healthy else 4, seen)
        return seen[1]

    def all_say(self, healthy, words=""):
        """Of something that stays."""
        status, body = self.http.http()
        check_equal((status, body["healthy"]), (200, True) if healthy else (503, False), body)
        check(words in body["sites"][0]["why"], words, "is not in", body)
        check_equal(self.http.http(f"/{SITE}")[0], status)
        check_equal(self.http.http("/", "HEAD"), (status, None))
        line = self.agent.agent()
        check_equal(line == "up\n", healthy, line)
        check(healthy or (line.startswith(f"down #{SITE}: ") and line.endswith("\n")), line)
        r = self.env.mirrord("health", *self.argv, code=0 if healthy else 4)
        r.prints(f"{SITE} +{'up' if healthy else 'DOWN'} ", words)

    def close(self):
        self.http.close()
        self.agent.close()


@case
def test_a_host_without_a_site(env):
    """It has nothing to serve: down, and why is said."""
    none = env.config("", hosts=("web1", "web2"), name="none.conf")
    glob = env.config(f'sites "g" {{ glob = "{env.path("volume")}/*/htdocs" hosts = {{web1, web2}} primary = web1 }}\n',
                      hosts=("web1", "web2"), name="glob.conf")
    for config, words in ((none, ".*none.conf has none with web2 among its hosts; add it"),
                          (glob, r"nothing matches .*/volume/\*/htdocs \(.*glob.conf:[0-9]+\); is its volume mounted")):
        argv = ("-c", config, "--as", "web2")
        env.mirrord("health", *argv, code=4).prints("^DOWN  no site is here: " + words)
        said = env.mirrord("health", "--json", *argv, code=4).json()
        check(not said["healthy"] and re.search(words, said["error"]), said)
        listener = Listener(env, "--http", *argv)
        check_equal(listener.http()[0], 503)
        listener.close()


@case
def test_without_a_primary(env):
    a = Asked(env)
    a.becomes("level", True)
    a.all_say(True)
    check_equal(a.look("--orphaned", "down")[0], 0)
    a.pair.daemon.stop()
    a.becomes("orphaned", True)
    a.all_say(True, "web1 was the last")
    a.becomes("orphaned", False, "--orphaned", "down")
    a.becomes("orphaned", True, "--orphaned", "1h")
    down = Listener(env, "--http", "--orphaned=down", *a.argv)
    check_equal(down.http()[0], 503)
    a.pair.restart()
    a.becomes("level", True)
    check_equal(down.http()[0], 200)
    a.pair.daemon.process.send_signal(signal.SIGKILL)
    a.pair.daemon.process.wait()
    a.becomes("orphaned", True)
    check_equal(down.http()[0], 503)
    down.close()
    a.close()


@case
def test_a_root_that_is_gone_and_a_path_that_fails(env):
    a = Asked(env, options="health-max-lag = 1s")
    a.becomes("level", True)
    root, alien = a.pair.dests[0], f"{a.pair.src}/nobodys"
    put(alien)
    if os.geteuid() == 0:
        os.chown(alien, 54321, 54321)  # a user without a name is none that could be found there
    os.rename(root, root + ".aside")
    a.becomes("lost", False)
    a.all_say(False, "is not to be had")
    os.mkdir(root)
    a.becomes("lost", False)
    a.all_say(False, "resync --force")
    os.rmdir(root)
    os.rename(root + ".aside", root)
    put(f"{a.pair.src}/after")
    if os.geteuid() == 0:
        a.becomes("behind", False, seconds=60)
        wait_for(lambda: a.look()[1]["failing"] == 1, lambda: f"{a.look()}")
        a.all_say(False, "it lacks ")
        os.chown(alien, 0, 0)
    a.becomes("level", True, seconds=60)
    a.all_say(True)
    a.close()


class Three:
    """What status, the metrics and health say of one secondary: (all is well, how many paths are owed)."""

    def __init__(self, env, daemon, metrics, secondary, health):
        self.env, self.daemon, self.metrics = env, daemon, metrics
        self.secondary, self.health = secondary, health

    def status(self):
        s = self.daemon.status()
        at = next(a for a in next(s for s in s["sites"] if s["name"] == SITE)["secondaries"]
                  if a["name"] == self.secondary)
        host = next(h for h in s["secondaries"] if h["name"] == self.secondary)
        return host["sites_level"] == 1, at["owed_paths"], at

    def measured(self):
        lines = [line.rsplit(" ", 1) for line in read_text(self.metrics).splitlines()
                 if line.startswith("mirrord_mirror_")]
        numbers = {name: float(value) for name, value in lines}
        at = f'{{site="{SITE}",secondary="{self.secondary}"}}'
        if f"mirrord_mirror_level{at}" not in numbers:  # it was lost, and is not written yet
            return None
        return (numbers[f"mirrord_mirror_level{at}"] == 1,
                int(numbers[f"mirrord_mirror_owed_paths{at}"]))

    def asked(self):
        site = self.env.mirrord("health", "--json", *self.health, code=None).json()["sites"][0]
        return site["level"], site["owed_paths"], site

    def agree(self, level, seconds=20):
        seen = []

        def same():
            seen[:] = self.status()[:2], self.measured(), self.asked()[:2]
            return seen[0] == seen[1] == seen[2] and seen[0][0] == level
        wait_for(same, lambda: f"status, metrics and health agree on {level}: {seen}\n"
                 f"{self.daemon.text()[-2000:]}", seconds)
        return seen[0][1]


def rights(pid):
    """(user, capabilities) of a process; {}: it is gone."""
    fields = dict(line.split(":\t", 1) for line in read_text(f"/proc/{pid}/status").splitlines()
                  if ":\t" in line)
    return fields and (int(fields["Uid"].split()[0]), int(fields["CapPrm"], 16))


@case
def test_cut_off_and_back(env):
    """A secondary that is owed something, and then cannot be reached, is known to be behind, there too."""
    src, dest, metrics = env.path("src"), env.path("dest"), env.path("mirrord.prom")
    put(f"{src}/first")
    config = env.config(f'metrics = "{metrics}" metrics-interval = 1s\n' +
                        site_text(SITE, src, [dest], "health-max-lag = 1s"), ("web1", "web2"))
    argv = ["-c", config, *own(env)]
    daemon = env.daemon(config)
    three = Three(env, daemon, metrics, "web2", argv)
    http = Listener(env, "--http", *argv)
    with http.connect() as silent:  # nobody is waited for, and it has no rights when it waits
        asked = wait_for(lambda: env.started[-1] if "--http" in env.started[-1].args else None, "it")
        wait_for(lambda: os.geteuid() != 0 or rights(asked.pid) in ({}, (65534, 0)),
                 lambda: f"{rights(asked.pid)}")
        check_equal(three.agree(True), 0)
        check_equal(http.http()[0], 200)

        daemon.ask("pause", "web2")
        put(f"{src}/d/upload")
        wait_for(lambda: http.http()[0] == 503, lambda: f"it is told: {three.asked()}")
        check(three.agree(False) > 0)
        health = three.asked()[2]
        later = three.status()[2]
        check("was paused" in health["why"], health)
        check(health["behind_ms"] <= later["behind_ms"] + 50, health, later)
        check_equal(silent.recv(100), b"")

    env.sshd.process.send_signal(signal.SIGSTOP)  # the primary does not come back …
    for pid in env.sshd.receivers():
        send(pid, signal.SIGKILL)  # … and there is nobody who could note that
    wait_for(lambda: "not connected" in three.asked()[2]["why"], lambda: f"{three.asked()}")
    check(three.agree(False) > 0)
    check_equal(http.http()[0], 503)
    env.sshd.restart()
    # The primary takes nothing for younger than it is.
    wait_for(lambda: "was paused" in three.asked()[2]["why"], lambda: f"{three.asked()}", 60)
    check(three.asked()[2]["behind_ms"] >= health["behind_ms"], three.asked(), health)
    check(three.agree(False) > 0)
    check_equal(http.http()[0], 503)
    daemon.ask("resume", "web2")
    check_equal(three.agree(True), 0)
    wait_for(lambda: http.http()[0] == 200, lambda: f"{three.asked()}")
    http.close()


@case
def test_a_primary_that_is_lost_and_replaced(env):
    h = Hosts(env, run=())
    for host, path in h.configs.items():
        write_text(path, f'metrics = "{env.path(host)}.prom" metrics-interval = 1s\n{read_text(path)}',
                   0o644)
        h.start(host)

    def three(primary, secondary):
        return Three(env, h.daemons[primary], env.path(f"{primary}.prom"), secondary,
                     ["-c", h.configs[secondary], "--as", secondary])

    def state(host):
        return three("web1", host).asked()[2]
    for host in ("web2", "web3"):
        three("web1", host).agree(True)
        check_equal((state(host)["state"], state(host)["primary"]), ("level", "web1"))
    check_equal(state("web1")["state"], "primary")

    h.daemons["web1"].process.send_signal(signal.SIGKILL)
    h.daemons["web1"].process.wait()
    for host in ("web2", "web3"):
        wait_for(lambda host=host: state(host)["state"] == "orphaned", lambda: f"{state('web2')}")
        check(state(host)["healthy"], state(host))
    h.ask("web2", "promote", SITE)
    check_equal((state("web2")["state"], state("web2")["healthy"]), ("primary", True))
    for host in ("web1", "web3"):  # whose files are still there, and are level before long
        three("web2", host).agree(True, 40)
        wait_for(lambda host=host: (state(host)["state"], state(host)["primary"]) ==
                 ("level", "web2"), lambda host=host: f"{state(host)}")
    # The secondary's own daemon says so, too.
    wait_for(lambda: h.site("web3")["health"]["state"] == "level", lambda: f"{h.site('web3')}")
    for host in ("web2", "web3"):
        h.daemons[host].stop()


if __name__ == "__main__":
    main()
