"""Bad networks between the daemon and its secondaries: connections cut at any byte, slow ones, and
secondaries that are far away."""

import os

from harness import case, check, check_equal, main, wait_for
from pair import Pair
from proxy import DOWN, UP, close, fill, forget, measure, through
from trees import put

ROUNDS = 20 if os.environ.get("MIRRORD_LONG") == "1" else 1


@case
def test_cut_anywhere(env):
    """Every secondary's first connection is cut after so many bytes up, its second after so many
    down: 24 points over a whole resync; with MIRRORD_LONG=1 in 20 rounds, 480."""
    total, count, cuts = measure(env), 12, 0
    for turn in range(ROUNDS):
        proxies, ports = through(env, count)
        for i, proxy in enumerate(proxies):
            at = 2 * (i * ROUNDS + turn) + 1
            proxy.cut_next(UP, total[UP] * at // (2 * count * ROUNDS))
            proxy.cut_next(DOWN, total[DOWN] * at // (2 * count * ROUNDS))
        p = Pair(env, count, ports=ports, ready=False)
        p.arrives(120)
        reached = sum(len(proxy.reached) for proxy in proxies)
        check(reached >= count, "connections cut:", reached)
        put(f"{p.src}/afterwards", b"x")
        p.arrives(60)
        p.daemon.stop()
        close(proxies)
        cuts += reached
        os.unlink(f"{p.src}/afterwards")
        forget(env, p)
    print(f"# {cuts} connections cut")


@case
def test_little_bulk_goes_before_an_upload(env):
    """Of a file over 16 MiB no more is on its way than keeps a slow link busy: counted by what passes
    between the close of an upload and its arrival."""
    proxies, ports = through(env, 1, rate=2_000_000)
    p = Pair(env, 1, ports=ports)
    p.flushed()
    bulk, sizes, start = 17 << 20, [], proxies[0].passed(UP)
    put(f"{p.src}/bulk", os.urandom(bulk))
    wait_for(lambda: proxies[0].passed(UP) - start > 1_000_000, "the bulk is under way", 20)
    for i in range(3):
        put(f"{p.src}/upload{i}", os.urandom(20_000))
        before = proxies[0].passed(UP)
        wait_for(lambda name=f"{p.dests[0]}/upload{i}": os.path.exists(name), "the upload is there", 10)
        sizes.append(proxies[0].passed(UP) - before)
    check(proxies[0].passed(UP) - start < bulk, "the bulk was through before the last upload came")
    print("# passed before an upload was there:", sizes)
    check(sorted(sizes)[1] < 400_000, "before an upload was there passed:", sizes)
    p.daemon.stop()
    close(proxies)


@case
def test_far_away(env):
    """200 ms each way: pipelined, so that it takes some round trips and not one for each file."""
    proxies, ports = through(env, 1, delay=0.2)
    p = Pair(env, 1, ports=ports, fill=fill, extra_host="keepalive = 3")
    p.arrives(40)
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


if __name__ == "__main__":
    main()
