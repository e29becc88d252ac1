"""A real HAProxy, with the configuration that is shipped: it takes a secondary out that lacks something
for too long, and back in; by HTTP, and by the agent; and where no server is known to be good it goes
on with those that answer."""

import csv
import errno
import http.client
import http.server
import os
import shutil
import socket
import threading

from balancer import Listener
from harness import Skip, case, check, main, read_text, wait_for, write_text
from pair import Pair
from trees import put

SHIPPED = f"{os.path.dirname(os.path.abspath(__file__))}/../../examples/haproxy/haproxy.cfg"
HAPROXY = shutil.which("haproxy") or "/usr/sbin/haproxy"
ADDRESSES = {"web1": "127.0.0.2", "web2": "127.0.0.3"}


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        body = self.server.server_address[0].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # pylint: disable=invalid-name

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


def everywhere(make):
    """{host: make(host, address, port)}: all on one port, which is free on each address."""
    for _ in range(50):
        made, port = {}, 0
        try:
            for host, address in ADDRESSES.items():
                made[host] = make(host, address, port)
                port = made[host].port
            return made
        except OSError as error:
            for m in made.values():
                m.close()
            if error.errno != errno.EADDRINUSE:
                raise
    raise Skip("no port is free on all of them")


class Web(http.server.ThreadingHTTPServer):
    def __init__(self, _, address, port):
        super().__init__((address, port), Page)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class HAProxy:
    """The shipped configuration with these ports, short intervals, and an agent's backend besides."""

    def __init__(self, env, web, health, agent):
        self.env, self.control, self.front = env, env.path("haproxy.stats"), env.path("front")
        text = read_text(SHIPPED)
        for old, new in {"port 9180": f"port {health}", "bind :80": f"bind {self.front}",
                         "inter 2s": "inter 200ms"}.items():
            check(old in text, old)
            text = text.replace(old, new)
        for host, address in ADDRESSES.items():
            text = text.replace(f"{host}.internal:80", f"{address}:{web}")
        text = "\n".join(line for line in text.splitlines() if "web3.internal" not in line)
        agents = next(line for line in text.splitlines() if "agent-port 9181" in line)
        agents = agents.lstrip("# ").replace("9181", str(agent)).replace("2s", "200ms")
        text = (f"global\n    stats socket {self.control} level admin\ndefaults\n"
                "    timeout connect 30s\n    timeout client 30s\n    timeout server 30s\n"
                "    timeout check 30s\n"
                f"{text}\nbackend agents\n    mode http\n    {agents}\n" +
                "".join(f"    server {h} {a}:{web}\n" for h, a in ADDRESSES.items()))
        config = write_text(env.path("haproxy.cfg"), text)
        with open(env.path("haproxy.log"), "wb") as log:
            self.process = env.spawn([HAPROXY, "-db", "-f", config], stdout=log, stderr=log)
        wait_for(lambda: os.path.exists(self.control) or self.process.poll() is not None,
                 lambda: f"HAProxy is there\n{self.log()}")

    def log(self):
        return read_text(self.env.path("haproxy.log"))[-3000:]

    def servers(self):
        """{(backend, server): its row of `show stat`}"""
        check(self.process.poll() is None, self.log())
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.control)
            s.sendall(b"show stat\n")
            text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
        rows = csv.DictReader(text.lstrip("# ").splitlines())
        return {(r["pxname"], r["svname"]): r for r in rows}

    def becomes(self, seconds=30, **wanted):
        """`good_web2="DOWN"` and so on."""
        def states():
            servers = self.servers()
            return {key: servers[tuple(key.split("_"))]["status"] for key in wanted}
        wait_for(lambda: all(states()[k].startswith(v) for k, v in wanted.items()),
                 lambda: f"{wanted}: {states()}\n{self.log()}", seconds)

    def get(self):
        """Which server answers a visitor: its address."""
        c = http.client.HTTPConnection("front")
        c.sock = socket.socket(socket.AF_UNIX)
        c.sock.connect(self.front)
        c.request("GET", "/")
        r = c.getresponse()
        body = r.read().decode()
        c.close()
        check(r.status == 200, r.status, body)
        return body


@case
def test_servers_go_and_come(env):
    if not os.access(HAPROXY, os.X_OK):
        raise Skip("haproxy is not installed")
    p = Pair(env, secondaries=1, options="health-max-lag = 1s")
    state = {"web1": env.state, "web2": env.path("state-web2")}

    def listener(form):
        return lambda host, address, port: Listener(
            env, form, "-c", p.config, "--as", host, "--state-dir", state[host], address=address,
            port=port)
    wait_for(lambda: env.mirrord("health", "-c", p.config, "--as", "web2", "--state-dir",
                                 state["web2"], code=None).out.split()[-1] == "level", "level")
    web, health, agent = (everywhere(make)
                          for make in (Web, listener("--http"), listener("--agent")))
    h = HAProxy(env, *(one["web1"].port for one in (web, health, agent)))
    # Servers are up before the first check, too.
    wait_for(lambda: all("L7OK" in r[what] for key, r in h.servers().items() for what in (
        {"good": ["check_status"], "agents": ["agent_status"]}[key[0]] if key[1] in ADDRESSES and
        key[0] != "any" else [])), lambda: f"checked: {h.servers()}")
    h.becomes(good_web1="UP", good_web2="UP", agents_web1="UP", agents_web2="UP")

    p.daemon.ask("pause", "web2")
    put(f"{p.src}/later")
    h.becomes(good_web1="UP", good_web2="DOWN", agents_web1="UP", agents_web2="DOWN")
    # While a check is under way its row lacks what the one before brought.
    wait_for(lambda: h.servers()["good", "web2"]["check_code"] == "503",
             lambda: f"{h.servers()['good', 'web2']}")
    wait_for(lambda: "example.com: behind: it lacks " in h.servers()["agents", "web2"]["last_agt"],
             lambda: f"{h.servers()['agents', 'web2']}")
    check({h.get() for _ in range(4)} == {ADDRESSES["web1"]})
    p.daemon.ask("resume", "web2")
    h.becomes(good_web2="UP", agents_web2="UP")
    check({h.get() for _ in range(8)} == set(ADDRESSES.values()))

    # The primary's mirrord is gone, and nothing is known to be missing; then the primary itself is, and
    # the secondary is known to be bad: it is served from all the same.
    p.daemon.stop()
    health["web1"].close()
    agent["web1"].close()
    h.becomes(good_web1="DOWN", good_web2="UP", any_web1="UP")
    web["web1"].close()
    h.becomes(any_web1="DOWN", agents_web1="DOWN")
    check({h.get() for _ in range(4)} == {ADDRESSES["web2"]})
    os.rename(p.dests[0], p.dests[0] + ".aside")
    h.becomes(good_web2="DOWN", agents_web2="DOWN")
    check(h.get() == ADDRESSES["web2"])
    for one in (web["web2"], health["web2"], agent["web2"]):
        one.close()


if __name__ == "__main__":
    main()
