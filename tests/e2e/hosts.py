"""Three hosts, each with a state, a configuration file and a daemon of its own: what the tests of
fencing share."""

import os

from harness import read_text, wait_for, write_text
from trees import differences, put, snapshot

HOSTS = ("web1", "web2", "web3")


class Hosts:
    def __init__(self, env, run=HOSTS, options=""):
        self.env = env
        self.roots = {h: env.path(f"root-{h}") for h in HOSTS}
        os.mkdir(self.roots["web1"])
        for i in range(20):
            put(f"{self.roots['web1']}/d{i % 3}/f{i}", b"content %d" % i)
        at = "\n".join(f'at {h} {{ root = "{self.roots[h]}" }}' for h in HOSTS)
        site = (f'site "example.com" {{ root = "{self.roots["web1"]}" primary = web1 '
                f'hosts = {{{", ".join(HOSTS)}}} {options}\n{at} }}\n')
        text = read_text(env.config(site, HOSTS))
        self.configs = {}
        for h in HOSTS:
            mine = text.replace(f'"{env.state}"', f'"{self.state(h)}"')
            mine = mine.replace(f'"{env.path("control")}"', f'"{env.path("control-" + h)}"')
            self.configs[h] = write_text(env.path(f"{h}.conf"), mine, 0o644)
        self.daemons = {}
        for h in run:
            self.start(h)

    def state(self, host):
        return self.env.path(f"state-{host}")

    def start(self, host):
        self.daemons[host] = self.env.daemon(self.configs[host], host)

    def ask(self, host, command, *more, code=0, **how):
        return self.env.mirrord(command, "-c", self.configs[host], "--as", host, *more, code=code,
                                **how)

    def is_primary(self, host):
        return self.ask(host, "is-primary", "example.com", code=None).code == 0

    def site(self, host):
        return next(s for s in self.daemons[host].status()["sites"] if s["name"] == "example.com")

    def found(self, source, hosts):
        wanted = snapshot(self.roots[source])
        for h in hosts:
            if not os.path.isdir(self.roots[h]):
                return [f"{h}: nothing"]
            out = differences(wanted, snapshot(self.roots[h]))
            if out:
                return [f"{h}:"] + out
        return []

    def arrives(self, source, hosts, seconds=30):
        wait_for(lambda: not self.found(source, hosts),
                 lambda: "level\n" + "\n".join(self.found(source, hosts)) +
                 "\n--- daemon\n" + self.daemons[source].text()[-3000:], seconds)

    def write(self, host, name, data=b"x"):
        put(f"{self.roots[host]}/{name}", data)

    def trash(self, host):
        found = []
        for top, _, names in os.walk(self.env.dir):
            if "/trash/foreign/" in top and "path" in names:
                found.append(read_text(f"{top}/path").strip())
        return found
