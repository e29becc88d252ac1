"""The metrics file of a daemon at work: promtool finds no fault with it, its numbers move, and it
goes with the daemon. The alert rules that are shipped: promtool's tests of each, and every name in
them and in the README is one that a daemon writes."""

import os
import re
import shutil
import subprocess
import sys

from harness import Skip, case, check, check_equal, main, read_text, wait_for
from pair import site_text
from trees import put

TESTS = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = f"{TESTS}/../../examples/prometheus"
PROMTOOL = os.environ.get("PROMTOOL") or shutil.which("promtool")


def promtool(*argv, text=""):
    if not PROMTOOL:
        raise Skip("promtool is not installed")
    p = subprocess.run([PROMTOOL, *argv], input=text, capture_output=True, text=True, check=False)
    check(p.returncode == 0, *argv, p.stdout, p.stderr)
    return p.stdout + p.stderr


def numbers(text):
    """{series: value}"""
    lines = [line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#")]
    check_equal(len(lines), len({name for name, _ in lines}), "no series is there twice")
    return {name: float(value) for name, value in lines}


# What an operator's dashboards and alerts count on.
PROMISED = {"mirrord_secondary_" + name for name in (
    "behind_seconds", "latency_seconds", "batch_paths", "connections_total", "sent_bytes_total")} | {
    "mirrord_disk_free_bytes", "mirrord_disk_free_inodes"} | {"mirrord_site_" + name for name in (
        "held", "fenced", "watches", "rescans_total", "epoch")} | {"mirrord_mirror_" + name for name in (
            "owed_paths", "owed_bytes", "held", "fenced", "failing_paths", "foreign_files")}


class Watched:
    """Two sites with a secondary each; one that is there, one that is not."""

    def __init__(self, env):
        self.path, self.src = env.path("mirrord.prom"), env.path("src")
        put(f"{self.src}/first", b"x" * 1000)
        put(f"{env.path('odd')}/first")
        config = env.config(
            f'metrics = "{self.path}" metrics-interval = 1s\n' +
            site_text("example.com", self.src, [env.path("dest")]) +
            site_text('odd\\\\\\"name', env.path("odd"), [env.path("dest-odd")]))
        self.daemon = env.daemon(config)

    def read(self):
        return numbers(read_text(self.path))


@case
def test_a_daemon_at_work(env):
    w = Watched(env)
    put(f"{w.src}/upload", b"y" * 5000)
    at = '{site="example.com",secondary="web2"}'

    def level():
        n = w.read()
        return (n[f"mirrord_mirror_level{at}"] == 1 and n["mirrord_ready"] == 1 and
                n['mirrord_site_entries{site="example.com"}'] == 2 and
                n['mirrord_secondary_latency_seconds_count{secondary="web2"}'] >= 1 and n)
    n = wait_for(level, lambda: f"level in {read_text(w.path)}\n{w.daemon.text()[-2000:]}")
    text = read_text(w.path)
    check_equal(n['mirrord_secondary_up{secondary="web2"}'], 1)
    check_equal(n['mirrord_secondary_connections_total{secondary="web2"}'], 1)
    check_equal(n['mirrord_secondary_live_bytes_total{secondary="web2"}'], 5000)
    check(n['mirrord_secondary_sent_bytes_total{secondary="web2"}'] > 100, text)
    check(n['mirrord_disk_size_bytes{secondary="web2",site="example.com"}'] > 0, text)
    check_equal(n['mirrord_mirror_level{site="odd\\\\134\\"name",secondary="web2"}'], 1)
    check(n["mirrord_process_resident_memory_bytes"] > 1 << 20, text)

    env.sshd.stop()
    wait_for(lambda: w.read()['mirrord_secondary_up{secondary="web2"}'] == 0, "it is told")
    env.sshd.start()
    wait_for(lambda: w.read()['mirrord_secondary_connections_total{secondary="web2"}'] == 2,
             "the reconnect is counted")
    check(w.read()['mirrord_secondary_sent_bytes_total{secondary="web2"}'] >=
          n['mirrord_secondary_sent_bytes_total{secondary="web2"}'], "a counter went back")
    names = set(re.findall(r"^# TYPE (\w+)", text, re.M))
    check(PROMISED <= names, "lacking:", PROMISED - names)
    for name in ("mirrord.rules.yml", "README.md"):
        used = set(re.findall(r"\bmirrord_[a-z_]+\b", read_text(f"{EXAMPLES}/{name}")))
        used = {re.sub(r"_(bucket|sum|count)$", "", u) for u in used}
        check(used <= names, name, "has names that no daemon writes:", used - names)
    check(names <= used, "README.md lacks", names - used)
    w.daemon.stop()
    check(not os.path.exists(w.path), "the file is left behind")
    check_equal(promtool("check", "metrics", text=text), "")


# What is told only of units that wait, drift, sites of another primary, and one site alone.
UNTROUBLED = {"unit", "waits", "why", "path", "what", "primary", "site", "role", "health", "healthy"}


def keys(of):
    if isinstance(of, list):
        return set().union(*map(keys, of))
    return set(of).union(*map(keys, of.values())) if isinstance(of, dict) else set()


@case
def test_status_as_it_is_documented(env):
    """What a daemon answers has no field that mirrord(8) lacks, and most that it has."""
    sys.path.insert(0, f"{TESTS}/..")
    from check_status import documented  # pylint: disable=import-outside-toplevel
    w = Watched(env)
    w.daemon.ask("pause", "example.com", "--reason", "test")
    there = keys(w.daemon.status())
    said = documented(read_text(f"{TESTS}/../../mirrord/man/mirrord.8"))
    check(there <= said, "not documented:", there - said)
    check(said - there <= UNTROUBLED, "documented, but not there:", said - there - UNTROUBLED)
    w.daemon.stop()


@case(env=False)
def test_alerts_say_what_to_type():
    """Each one's text, and nothing that mirrord does not know."""
    known = set(re.findall(r'^ +\{"([a-z-]+)", command_', read_text(f"{TESTS}/../../mirrord/main.c"), re.M))
    check(len(known) > 15, "the commands of main.c:", known)
    for alert in read_text(f"{EXAMPLES}/mirrord.rules.yml").split("- alert: ")[1:]:
        name, text = alert.split("\n")[0], re.search(r"description: '(.*)'", alert).group(1)
        typed = re.findall(r"\b[Tt]ype\b[^:]*: (mirrord [a-z-]+|systemctl \w+|journalctl -u|df -h)", text)
        check(typed, name, "does not say what to type:", text)
        used = set(re.findall(r"(?:: |; )mirrord ([a-z-]+)", text))
        check(used <= known, name, "has commands that there are not:", used - known)


@case(env=False)
def test_alert_rules():
    promtool("check", "rules", f"{EXAMPLES}/mirrord.rules.yml")
    promtool("test", "rules", f"{EXAMPLES}/mirrord.rules.test.yml")
    alerts = re.findall(r"- alert: (\w+)", read_text(f"{EXAMPLES}/mirrord.rules.yml"))
    tested = read_text(f"{EXAMPLES}/mirrord.rules.test.yml")
    for alert in alerts:
        check(f"alertname: {alert}\n" in tested, alert, "has no test")


if __name__ == "__main__":
    main()
