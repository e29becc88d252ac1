"""Many sites and many secondaries: one connection a secondary, and a broken site stops no other."""

import os
import shutil

from harness import ROOT, SANITIZED, Skip, case, check, check_equal, main, wait_for
from pair import site_text
from trees import check_same, put


def root(env, i):
    return env.path("sites", f"s{i}", "htdocs")


def far(env, host, i):
    return env.path(f"far{host}", f"s{i}")


def many(env, sites, secondaries):
    hosts = range(2, secondaries + 2)
    for h in hosts:
        os.mkdir(env.path(f"far{h}"))
    text = ""
    for i in range(sites):
        for j in range(3):
            put(f"{root(env, i)}/d{j}/f{j}", b"%d %d" % (i, j))
        text += site_text(f"s{i}", root(env, i), [far(env, h, i) for h in hosts])
    return env.config(text, ["web1"] + [f"web{h}" for h in hosts]), hosts


@case
def test_one_connection_a_secondary(env):
    """200 sites and 4 secondaries make 4 connections."""
    sites, secondaries = (40, 4) if SANITIZED else (200, 4)
    config, hosts = many(env, sites, secondaries)
    d = env.daemon(config, ready=False)
    most = 0

    def ready():
        nonlocal most
        most = max(most, len(env.sshd.sessions()))
        return d.is_ready() or d.process.poll() is not None

    wait_for(ready, lambda: "ready\n" + d.text()[-3000:], 120)
    check_equal(d.process.poll(), None, d.text()[-3000:])
    check_equal((most, len(env.sshd.sessions())), (secondaries, secondaries), "connections")
    for i in range(0, sites, 7):
        put(f"{root(env, i)}/later/{i}", b"x")
    d.flush()
    for i in range(sites):
        for h in hosts:
            check_same(root(env, i), far(env, h, i))
    check_equal(len(env.sshd.sessions()), secondaries, "connections after a push")
    for h in hosts:
        check(f"web{h}" in d.ask("status").out, d.ask("status"))
    d.stop()


def instances(pid):
    """Of inotify, open in a process."""
    names = [f"/proc/{pid}/fd/{fd}" for fd in os.listdir(f"/proc/{pid}/fd")]
    return sum("inotify" in os.readlink(n) for n in names if os.path.lexists(n))


@case
def test_every_site_is_live(env):
    """More sites than the limit of inotify instances (128 by default): all are watched, and other
    programs of the user find instances."""
    sites = 20 if SANITIZED else 150
    config, _ = many(env, sites, 1)
    d = env.daemon(config)
    for i in range(sites):
        put(f"{root(env, i)}/now", b"x")
    late = []

    def all_there():
        late[:] = [i for i in range(sites) if not os.path.exists(f"{far(env, 2, i)}/now")]
        return not late

    wait_for(all_there, lambda: f"a change is there in every site; not in {late}", 15)
    with open("/proc/sys/fs/inotify/max_user_instances", encoding="ascii") as limit:
        fair = int(limit.read()) // 2
    check(1 <= instances(d.process.pid) <= fair, "instances:", instances(d.process.pid), fair)
    d.stop()


@case
def test_a_broken_site_stops_no_other(env):
    config, hosts = many(env, 6, 2)
    shutil.rmtree(root(env, 2))
    shutil.rmtree(root(env, 4))
    put(root(env, 4), b"a file where the root should be")
    d = env.daemon(config)
    put(f"{root(env, 0)}/new", b"x")
    d.flush("s0")
    for i in (0, 1, 3, 5):
        for h in hosts:
            wait_for(lambda i=i, h=h: os.path.exists(f"{far(env, h, i)}/d0/f0"), f"s{i} on web{h}")
            check_same(root(env, i), far(env, h, i))
    r = d.ask("status", code=None)
    check(r.code in (1, 4), r)
    check("s2" in r.out and "s4" in r.out, r)
    for j in range(3):
        put(f"{root(env, 2)}/d{j}/f{j}", b"back")
    wait_for(lambda: os.path.exists(f"{far(env, 3, 2)}/d2/f2"), "the site that came back", 90)
    d.stop()


@case
def test_a_secondary_that_refuses_one_site(env):
    config, hosts = many(env, 3, 2)
    put(far(env, 2, 1), b"a file where the root should be")
    d = env.daemon(config)
    put(f"{root(env, 0)}/new", b"x")
    put(f"{root(env, 1)}/new", b"x")
    for i, h in ((0, 2), (2, 2), (0, 3), (1, 3), (2, 3)):
        wait_for(lambda i=i, h=h: os.path.exists(f"{far(env, h, i)}/d0/f0"), f"s{i} on web{h}")
    wait_for(lambda: os.path.exists(f"{far(env, 3, 1)}/new"), "the change on the other secondary")
    check("s1" in d.ask("status", code=None).out, d.ask("status", code=None))
    d.stop()


@case
def test_a_directory_that_cannot_be_read(env):
    if ROOT:
        raise Skip("root reads everything")
    config, hosts = many(env, 2, 1)
    os.chmod(f"{root(env, 0)}/d1", 0)
    d = env.daemon(config)
    wait_for(lambda: os.path.exists(f"{far(env, 2, 0)}/d2/f2"), "the rest of the site")
    check_same(root(env, 1), far(env, 2, 1))
    d.stop()


@case
def test_sites_by_glob(env):
    """One site a match, named by the *."""
    for i in range(5):
        put(f"{root(env, i)}/f", b"%d" % i)
        os.makedirs(env.path("there", f"s{i}"))
    put(env.path("sites", "no-htdocs", "f"), b"x")
    config = env.config(f'sites "shops" {{ glob = "{env.path("sites")}/*/htdocs" primary = web1 '
                        f'hosts = {{web1, web2}} '
                        f'at web2 {{ root = "{env.path("there")}/*/htdocs" }} }}\n',
                        ("web1", "web2"))
    for i in range(5):
        r = env.mirrord("check", "-c", config, "--as", "web1", "--effective", f"s{i}")
        check(root(env, i) in r.out, r)
    d = env.daemon(config)
    put(f"{root(env, 3)}/later", b"x")
    d.flush("s3")
    for i in range(5):
        check_same(root(env, i), env.path("there", f"s{i}", "htdocs"))
    d.stop()


if __name__ == "__main__":
    main()
