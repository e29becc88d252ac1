"""A running daemon with secondaries on this machine: what the daemon's tests share."""

import os

from harness import wait_for
from trees import differences, put, snapshot


def site_text(name, src, dests, options=""):
    """A site block: web1 is the primary, web2, web3, … have these roots."""
    hosts = ["web1"] + [f"web{i + 2}" for i in range(len(dests))]
    lines = [f'site "{name}" {{ root = "{src}" primary = web1 hosts = {{{", ".join(hosts)}}}',
             f"  {options}"]
    lines += [f'  at {h} {{ root = "{d}" }}' for h, d in zip(hosts[1:], dests)]
    return "\n".join(lines + ["}", ""])


class Pair:
    """One site on web1 with secondaries web2 and web3 (or as many as asked for)."""

    def __init__(self, env, secondaries=2, options="", fill=None, start=True, extra_host="",
                 ports=None, ready=True, leave_out=lambda path: False):
        self.env, self.src, self.leave_out = env, env.path("src"), leave_out
        self.dests = [env.path(f"dest{i + 2}") for i in range(secondaries)]
        os.makedirs(self.src, exist_ok=True)
        put(f"{self.src}/first", b"there from the start")
        if fill:
            fill(self.src)
        hosts = ["web1"] + [f"web{i + 2}" for i in range(secondaries)]
        self.config = env.config(site_text("example.com", self.src, self.dests, options), hosts,
                                 extra_host, ports=ports)
        self.daemon = env.daemon(self.config, ready=ready) if start else None

    def found(self, dests=None):
        """The differences, first found first."""
        wanted = snapshot(self.src)
        for dest in dests or self.dests:
            if not os.path.isdir(dest):
                return [f"{dest} is not there"]
            out = differences(wanted, snapshot(dest), self.leave_out)
            if out:
                return [f"{os.path.basename(dest)}:"] + out
        return []

    def arrives(self, seconds=15, dests=None):
        """Waits until the secondaries are equal, without asking the daemon for anything."""
        wait_for(lambda: not self.found(dests),
                 lambda: "level\n  " + "\n  ".join(self.found(dests)) + "\n--- daemon\n" +
                 self.daemon.text()[-4000:], seconds)

    def flushed(self, *options):
        """Asks the daemon to flush and expects equality at once."""
        self.daemon.flush(*options)
        found = self.found()
        if not found:
            return
        try:
            wait_for(lambda: not self.found(), "level", 10)
            later = "level a little later"
        except AssertionError:
            later = "not level 10 s later either"
        raise AssertionError(f"flush said done ({later}), but\n  " + "\n  ".join(found) +
                             "\n--- daemon\n" + self.daemon.text()[-2000:])

    def restart(self):
        self.daemon = self.env.daemon(self.config)
