"""Bad networks between the daemon and its secondaries: connections cut at any byte, stalled without
a word, slow, far away, and receivers that are left behind."""

import os

import shim
from harness import case, check, check_equal, main, wait_for
from pair import Pair
from proxy import DOWN, UP, Proxy
from trees import put


def fill(src):
    """Some of everything a session has: small files, a transfer, many directories."""
    for i in range(150):
        put(f"{src}/d{i % 12}/s{i % 5}/f{i}", os.urandom(100 * i))
    put(f"{src}/medium", os.urandom(300_000))
    put(f"{src}/large", os.urandom(1_500_000))
    os.symlink("medium", f"{src}/link")


def through(env, count, **options):
    """A proxy for each secondary, and the ports for a Pair."""
    proxies = [Proxy(env, env.sshd, **options) for _ in range(count)]
    return proxies, {f"web{i + 2}": p.port for i, p in enumerate(proxies)}


def close(proxies):
    for p in proxies:
        p.close()


def measure(env):
    """Bytes each way of a whole first resync, which is then forgotten."""
    proxies, ports = through(env, 1)
    p = Pair(env, 1, fill=fill, ports=ports)
    total = {d: proxies[0].passed(d) for d in (UP, DOWN)}
    p.daemon.stop()
    close(proxies)
    env.run("rm", "-rf", p.dests[0], env.path("state-web2"), env.state)
    os.mkdir(env.state, 0o700)
    return total


@case
def test_cut_anywhere(env):
    """Every secondary's first connection is cut after so many bytes up, its second after so many
    down: 24 points over a whole resync."""
    total, count = measure(env), 12
    proxies, ports = through(env, count)
    for i, proxy in enumerate(proxies):
        proxy.cut_next(UP, total[UP] * (2 * i + 1) // (2 * count))
        proxy.cut_next(DOWN, total[DOWN] * (2 * i + 1) // (2 * count))
    p = Pair(env, count, ports=ports, ready=False)
    p.arrives(40)
    cuts = sum(len(proxy.reached) for proxy in proxies)
    check(cuts >= count, "connections cut:", cuts)
    put(f"{p.src}/afterwards", b"x")
    p.arrives(20)
    p.daemon.stop()
    close(proxies)


@case
def test_stalls_are_noticed(env):
    """Nothing passes any more and nobody is told: at several points of a resync, and when idle."""
    total = measure(env)
    points = [(UP, 0.3), (UP, 0.6), (UP, 0.95), (DOWN, 0.9)]
    proxies, ports = through(env, len(points))
    for proxy, (direction, part) in zip(proxies, points):
        proxy.stall_next(direction, int(total[direction] * part))
    p = Pair(env, len(points), ports=ports, extra_host="keepalive = 1", ready=False)
    p.arrives(30)
    stalls = [proxy.reached for proxy in proxies]
    check(all(s == ["stall"] for s in stalls), "stalls:", stalls)
    check("no answer for 4 s" in p.daemon.text(), "said:", p.daemon.text()[-3000:])
    for proxy in proxies:
        proxy.stall()
    put(f"{p.src}/during the stall", b"x")
    p.arrives(20)
    p.daemon.stop()
    close(proxies)


@case
def test_a_receiver_left_behind_gives_way(env):
    """The primary's connection is reset, the sshd's stays open and silent: the old receiver would
    hold the root for three keepalives of 15 s."""
    proxies, ports = through(env, 1)
    p = Pair(env, 1, ports=ports, fill=fill)
    before = set(env.sshd.receivers())
    proxies[0].leave_behind()
    put(f"{p.src}/after the cut", b"x")
    p.arrives(15)
    wait_for(lambda: not before & set(env.sshd.receivers()), "the old receiver has ended", 10)
    p.daemon.stop()
    close(proxies)


@case
def test_far_away(env):
    """200 ms each way: pipelined, so that it takes some round trips and not one for each file."""
    proxies, ports = through(env, 1, delay=0.2)
    p = Pair(env, 1, ports=ports, fill=fill, extra_host="keepalive = 1")
    check(not p.found(), *p.found())
    for i in range(30):
        put(f"{p.src}/later{i}", b"%d" % i)
    p.arrives(20)
    p.daemon.stop()
    close(proxies)


@case
def test_a_megabit(env):
    """A transfer that takes many keepalives is no stall, and what is small passes it."""
    proxies, ports = through(env, 1, rate=125_000)
    p = Pair(env, 1, ports=ports, extra_host="keepalive = 1 compress = none")
    put(f"{p.src}/slow", os.urandom(800_000))
    wait_for(lambda: proxies[0].passed(UP) > 200_000, "the large file is on its way")
    put(f"{p.src}/quick", b"x")
    wait_for(lambda: os.path.exists(f"{p.dests[0]}/quick"), "the small one is there")
    check(not os.path.exists(f"{p.dests[0]}/slow"), "the large one was there first")
    p.arrives(40)
    check_equal(len(proxies[0].links), 1, "connections")
    p.daemon.stop()
    close(proxies)


@case
def test_a_long_walk_is_no_stall(env):
    """The secondary's stat calls take 25 ms: its walk lasts much longer than both ends' patience."""
    library = shim.build(env)
    p = Pair(env, 1, fill=fill, extra_host="keepalive = 1")
    p.daemon.stop()
    put(f"{p.src}/meanwhile", b"x")
    shim.install(env, "web2", library, SHIM_STAT_MS="25")
    p.restart()
    check(not p.found(), *p.found())
    check("given up" not in p.daemon.text() and "connected" in p.daemon.text(), p.daemon.text())
    check_equal(p.daemon.text().count("connected"), 1, "connections")
    p.daemon.stop()


if __name__ == "__main__":
    main()
