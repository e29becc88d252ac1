"""What a load balancer is told by a secondary: down by evidence only, and up again by itself; over
HTTP and as HAProxy's agent; and that it, status and the metrics say the same while a secondary is cut
off and comes back, and while the primary is lost and replaced."""

import os
import signal
import time

from balancer import Listener
from harness import Skip, case, check, check_equal, main, read_text, wait_for
from hosts import Hosts
from pair import Pair
from proxy import through
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
        check(healthy or (line.startswith(f"down#{SITE}: ") and line.endswith("\n")), line)
        r = self.env.mirrord("health", *self.argv, code=0 if healthy else 4)
        r.prints(f"{SITE} +{'up' if healthy else 'DOWN'} ", words)

    def close(self):
        self.http.close()
        self.agent.close()


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
def test_a_root_that_is_gone(env):
    a = Asked(env, options="health-max-lag = 1s")
    a.becomes("level", True)
    root = a.pair.dests[0]
    os.rename(root, root + ".aside")
    a.becomes("lost", False)
    a.all_say(False, "is not to be had")
    os.mkdir(root)
    a.becomes("lost", False)
    a.all_say(False, "resync --force")
    os.rmdir(root)
    os.rename(root + ".aside", root)
    put(f"{a.pair.src}/after")
    a.becomes("level", True, seconds=60)
    a.all_say(True)
    a.close()


@case
def test_a_path_that_cannot_be_applied(env):
    if os.geteuid() != 0:
        raise Skip("takes root")
    a = Asked(env, options="health-max-lag = 1s")
    a.becomes("level", True)
    put(f"{a.pair.src}/d/there")
    a.pair.daemon.flush()
    put(f"{a.pair.src}/nobodys")
    os.chown(f"{a.pair.src}/nobodys", 54321, 54321)
    site = a.becomes("behind", False, seconds=40)
    check_equal((site["owed_paths"], site["level"]), (1, False))
    a.all_say(False, "it lacks 1 path, the oldest for ")
    os.chown(f"{a.pair.src}/nobodys", 0, 0)
    a.becomes("level", True, seconds=60)
    a.all_say(True)
    a.close()


if __name__ == "__main__":
    main()
