"""Connections on which nothing passes any more and nobody is told: noticed in time, told from work
that takes long, and the receivers that they leave behind."""

import shim
from harness import case, check, check_equal, main, wait_for
from pair import Pair
from proxy import DOWN, UP, close, fill, measure, through
from trees import put


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
