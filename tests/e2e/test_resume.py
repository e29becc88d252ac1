"""Large files whose transfer is cut: the next session goes on with what had arrived."""

import os
import signal

from harness import case, check, main, send, wait_for
from pair import Pair
from proxy import UP, Proxy
from trees import check_same, open_file, put

MIB = 1 << 20
SIZE = 12 * MIB


def parts(env):
    """Sizes of the parts in the stages of this environment."""
    out = []
    for name in os.listdir(env.dir):
        if name.startswith(".mirrord-"):
            with os.scandir(env.path(name)) as entries:
                out += [e.stat().st_size for e in entries if e.name.startswith("p")]
    return out


def one(env, **options):
    proxy = Proxy(env, env.sshd, rate=8 * MIB)
    return proxy, Pair(env, 1, ports={"web2": proxy.port}, extra_host="compress = none", **options)


def rest_of(proxy, p, interrupt):
    """Interrupts when half of the file has passed; what passed up after that."""
    base = proxy.passed(UP)
    wait_for(lambda: proxy.passed(UP) - base > SIZE // 2, "half of it has passed")
    at = proxy.passed(UP)
    interrupt()
    p.arrives(40)
    return proxy.passed(UP) - at


def check_resumed(env, sent):
    check(sent < SIZE * 3 // 4, f"sent again: {sent} of {SIZE} bytes")
    wait_for(lambda: not parts(env), "no part is left")


@case
def test_a_new_file(env):
    """Cut by the network, by the sshd's restart and by kill -9 of the receiver."""
    def kill():
        for pid in env.sshd.receivers():
            send(pid, signal.SIGKILL)

    proxy, p = one(env)
    for name, interrupt in ("cut", proxy.cut), ("restart", env.sshd.restart), ("kill", kill):
        put(f"{p.src}/{name}", os.urandom(SIZE))
        check_resumed(env, rest_of(proxy, p, interrupt))
    p.daemon.stop()
    proxy.close()


@case
def test_a_file_that_is_rewritten(env):
    """All of its content is new, so a delta against the old file is all literal."""
    proxy, p = one(env, fill=lambda s: put(f"{s}/backup", os.urandom(SIZE)))
    put(f"{p.src}/backup", os.urandom(SIZE))
    check_resumed(env, rest_of(proxy, p, proxy.cut))
    p.daemon.stop()
    proxy.close()


@case
def test_changed_meanwhile(env):
    """The file is another one by the time the link is back: what came earlier is no harm."""
    proxy, p = one(env)
    put(f"{p.src}/f", os.urandom(SIZE))

    def interrupt():
        proxy.cut()
        with open_file(f"{p.src}/f", os.O_RDWR) as f:
            f.write(b"changed in front")
            f.seek(SIZE // 4)
            f.write(os.urandom(MIB))
            f.truncate(SIZE - 5)

    rest_of(proxy, p, interrupt)
    wait_for(lambda: not parts(env), "no part is left")
    p.daemon.stop()
    proxy.close()


@case
def test_the_one_shot(env):
    """A resync that was cut, started again."""
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/f", os.urandom(SIZE))
    proxy = Proxy(env, env.sshd)
    proxy.cut_next(UP, SIZE * 2 // 3)
    env.resync(src, dest, "--compress", "none", server=proxy, code=6)
    at = proxy.passed(UP)
    wait_for(lambda: not env.sshd.receivers(), "the receiver has ended")
    check(len(parts(env)) == 1, "parts:", parts(env))
    env.resync(src, dest, "--compress", "none", server=proxy)
    check_same(src, dest)
    check_resumed(env, proxy.passed(UP) - at)
    proxy.close()


if __name__ == "__main__":
    main()
