"""What a load balancer is told by a secondary: down by evidence only, and up again by itself; over
HTTP and as HAProxy's agent; and that it, status, the metrics and Site Health say the same while a
secondary is cut off and comes back, and while the primary is lost and replaced."""

import os
import re
import signal

from balancer import Listener
from harness import case, check, check_equal, main, read_text, send, wait_for, write_text
from hosts import HOSTS, Hosts
from pair import Pair
from trees import put
from wordpress_stub import site_health

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


class Told:
    """Three hosts of which each is asked in all ways: status, the metrics, `mirrord health` (its own, and over
    HTTP) and WordPress's Site Health."""

    def __init__(self, env, run, options=""):
        self.env, self.hosts = env, Hosts(env, run=(), options=options)
        for host, path in self.hosts.configs.items():
            write_text(path, f'metrics = "{env.path(host)}.prom" metrics-interval = 1s '
                             f'site-sockets = "{env.path("sites-" + host)}"\n{read_text(path)}', 0o644)
        for host in run:
            self.hosts.start(host)

    def argv(self, host):
        return ["-c", self.hosts.configs[host], "--as", host]

    def metrics(self, host):
        """{series: value}; nothing while the file is not there."""
        lines = [line.rsplit(" ", 1) for line in read_text(self.env.path(host) + ".prom").splitlines()
                 if line.startswith("mirrord_")]
        return {name: float(value) for name, value in lines}

    def health(self, host):
        return self.env.mirrord("health", "--json", *self.argv(host), code=None).json()["sites"][0]

    def page(self, host):
        return site_health(self.env, self.hosts.roots[host], self.env.path("sites-" + host))

    # What each says of one secondary: (is it level, how many paths are owed to it).

    def by_status(self, primary, secondary):
        s = self.hosts.daemons[primary].status()
        at = next(a for a in next(s for s in s["sites"] if s["name"] == SITE)["secondaries"]
                  if a["name"] == secondary)
        host = next(h for h in s["secondaries"] if h["name"] == secondary)
        return host["sites_level"] == 1, at["owed_paths"]

    def by_metrics(self, primary, secondary):
        numbers, at = self.metrics(primary), f'{{site="{SITE}",secondary="{secondary}"}}'
        if f"mirrord_mirror_level{at}" not in numbers:  # it was lost, and is not written yet
            return None
        return numbers[f"mirrord_mirror_level{at}"] == 1, int(numbers[f"mirrord_mirror_owed_paths{at}"])

    def by_health(self, secondary):
        site = self.health(secondary)
        return site["level"], site["owed_paths"]

    def by_page(self, primary, secondary):
        line = next((w for w in self.page(primary)[1] if w.startswith(f"{secondary}: ")), "")
        owed = re.search(r"(\d+) paths? behind", line)
        return "level" in line, int(owed[1]) if owed else 0

    def agree(self, primary, secondary, level, seconds=20):
        """All four say the same; returns how many paths are owed."""
        seen = []

        def same():
            seen[:] = (self.by_status(primary, secondary), self.by_metrics(primary, secondary),
                       self.by_health(secondary), self.by_page(primary, secondary))
            return seen.count(seen[0]) == len(seen) and seen[0][0] == level
        wait_for(same, lambda: f"status, metrics, health and Site Health agree on {level}: {seen}\n"
                 f"{self.page(primary)}\n{self.hosts.daemons[primary].text()[-2000:]}", seconds)
        return seen[0][1]

    def agree_there(self, host, state, healthy, primary, seconds=20):
        """A secondary's own four: what its daemon's status, its metrics, health and Site Health say of it."""
        seen = []

        def same():
            s, health = self.hosts.site(host), self.health(host)
            numbers = self.metrics(host).get(f'mirrord_site_primary{{site="{SITE}"}}')
            title = f"{host} is a secondary of this site, its primary is {primary}: "
            lines = " | ".join(self.page(host)[1])
            up = "up" if healthy else "DOWN"
            seen[:] = s, health, numbers, lines
            return ((s["state"], s["primary"], s["health"]["state"], s["health"]["healthy"]) ==
                    ("secondary", primary, state, healthy) and
                    (health["state"], health["healthy"], health["primary"]) == (state, healthy, primary) and
                    numbers == 0 and title in lines and f"This server is {up}: {state}" in lines)
        wait_for(same, lambda: f"{host} itself says {state}, {healthy}: {seen}", seconds)

    def is_primary(self, host, counter, seconds=20):
        """All four know it as the primary, and the metrics its epoch."""
        seen = []

        def same():
            seen[:] = self.hosts.site(host)["state"], self.health(host), self.metrics(host), self.page(host)
            state, health, numbers, (_, lines) = seen
            at = f'{{site="{SITE}"}}'
            return (state == "ok" and (health["state"], health["healthy"]) == ("primary", True) and
                    (numbers.get(f"mirrord_site_primary{at}"), numbers.get(f"mirrord_site_epoch{at}")) ==
                    (1, counter) and lines and not any("is a secondary" in w for w in lines))
        wait_for(same, lambda: f"{host} is the primary: {seen}", seconds)


def rights(pid):
    """(user, capabilities) of a process; {}: it is gone."""
    fields = dict(line.split(":\t", 1) for line in read_text(f"/proc/{pid}/status").splitlines()
                  if ":\t" in line)
    return fields and (int(fields["Uid"].split()[0]), int(fields["CapPrm"], 16))


@case
def test_cut_off_and_back(env):
    """A secondary that is owed something, and then cannot be reached, is known to be behind, there too."""
    t = Told(env, ("web1", "web2"), "health-max-lag = 1s")
    src, daemon = t.hosts.roots["web1"], t.hosts.daemons["web1"]
    http = Listener(env, "--http", *t.argv("web2"))

    def why():
        return t.health("web2")["why"]
    with http.connect() as silent:  # nobody is waited for, and it has no rights when it waits
        asked = wait_for(lambda: next((p for p in env.started if "--http" in p.args), None), "it")
        wait_for(lambda: os.geteuid() != 0 or rights(asked.pid) in ({}, (65534, 0)),
                 lambda: f"{rights(asked.pid)}")
        check_equal(t.agree("web1", "web2", True), 0)
        t.agree_there("web2", "level", True, "web1")
        check_equal(http.http()[0], 200)

        daemon.ask("pause", "web2")
        put(f"{src}/d/upload")
        wait_for(lambda: http.http()[0] == 503, lambda: f"it is told: {t.health('web2')}")
        check(t.agree("web1", "web2", False) > 0)
        t.agree_there("web2", "behind", False, "web1")
        health = t.health("web2")
        later = next(a for a in t.hosts.site("web1")["secondaries"] if a["name"] == "web2")
        check("was paused" in health["why"], health)
        check(health["behind_ms"] <= later["behind_ms"] + 50, health, later)
        check_equal(silent.recv(100), b"")

    env.sshd.process.send_signal(signal.SIGSTOP)  # the primary does not come back …
    for pid in env.sshd.receivers():
        send(pid, signal.SIGKILL)  # … and there is nobody who could note that
    wait_for(lambda: "not connected" in why(), why)
    check(t.agree("web1", "web2", False) > 0)
    t.agree_there("web2", "behind", False, "web1")
    check_equal(http.http()[0], 503)
    env.sshd.restart()
    # The primary takes nothing for younger than it is.
    wait_for(lambda: "was paused" in why(), why, 60)
    check(t.health("web2")["behind_ms"] >= health["behind_ms"], t.health("web2"), health)
    check(t.agree("web1", "web2", False) > 0)
    check_equal(http.http()[0], 503)
    daemon.ask("resume", "web2")
    check_equal(t.agree("web1", "web2", True), 0)
    t.agree_there("web2", "level", True, "web1")
    wait_for(lambda: http.http()[0] == 200, lambda: f"{t.health('web2')}")
    http.close()
    for host in ("web1", "web2"):
        t.hosts.daemons[host].stop()


@case
def test_a_primary_that_is_lost_and_replaced(env):
    t = Told(env, HOSTS)
    h = t.hosts
    for host in ("web2", "web3"):
        t.agree("web1", host, True)
        t.agree_there(host, "level", True, "web1")
    t.is_primary("web1", 0)

    h.daemons["web1"].process.send_signal(signal.SIGKILL)
    h.daemons["web1"].process.wait()
    for host in ("web2", "web3"):
        t.agree_there(host, "orphaned", True, "web1")
    h.ask("web2", "promote", SITE)
    t.is_primary("web2", 1)
    for host in ("web1", "web3"):  # whose files are still there, and are level before long
        t.agree("web2", host, True, 40)
    t.agree_there("web3", "level", True, "web2")
    h.start("web1")  # it is back, and knows
    t.agree_there("web1", "level", True, "web2", 60)
    t.agree("web2", "web1", True)
    for host in HOSTS:
        h.daemons[host].stop()


if __name__ == "__main__":
    main()
