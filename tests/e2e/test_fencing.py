"""Who is the primary: promotion, refusal of the former primary, handover, splits. Three hosts, each
with a state, a configuration file and a daemon of its own."""

import glob
import os
import re
import shutil
import signal
import threading

from harness import SLOW, Skip, case, check, check_equal, main, read_text, wait_for, write_text
from hosts import HOSTS, Hosts
from trees import differences, put, snapshot


@case
def test_promotion_while_the_primary_runs(env):
    h = Hosts(env)
    h.arrives("web1", ("web2", "web3"))
    check(h.is_primary("web1") and not h.is_primary("web2"), "web1 is the primary")
    h.ask("web2", "promote", "example.com")
    check(h.is_primary("web2"), "web2 is")
    wait_for(lambda: not h.is_primary("web1"), "web1 knows")
    wait_for(lambda: h.site("web1")["state"] in ("secondary", "fenced"), "its status says so")
    check_equal(h.site("web1")["primary"], "web2")
    h.write("web2", "new", b"on the new primary")
    h.arrives("web2", ("web1", "web3"))
    wait_for(lambda: h.site("web1")["state"] == "secondary", "it is a secondary now")
    # What is written on the former primary is not sent, and set aside when it is in the way.
    h.write("web1", "f-late", b"too late")
    h.write("web1", "d0/f0", b"changed too late")
    h.write("web2", "d0/f0", b"changed by the new primary")
    h.arrives("web2", ("web3",))
    wait_for(lambda: read_text(f"{h.roots['web1']}/d0/f0") == "changed by the new primary", "sent")
    wait_for(lambda: "d0/f0" in h.trash("web1"), "set aside")
    check(not os.path.exists(f"{h.roots['web3']}/f-late"), "nothing came of it")


@case
def test_a_primary_that_was_cut_off(env):
    """It does not hear of the promotion; when it is back it is refused by all, and says so."""
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    h.daemons["web1"].process.send_signal(signal.SIGKILL)
    h.daemons["web1"].process.wait()
    hidden = h.env.path("remote-web1")
    os.rename(hidden, hidden + ".away")
    r = h.ask("web2", "promote", "example.com")
    r.says("web1 was not reached", "no daemon answers")
    h.write("web1", "while-cut-off", b"unsent")
    h.start("web1")
    wait_for(lambda: "web2 is the primary" in h.daemons["web1"].text(), "it was told")
    wait_for(lambda: h.site("web1")["state"] == "fenced", "fenced")
    out = h.daemons["web1"].ask("status", code=4).out
    check("fenced" in out and "mirrord promote example.com" in out, out)
    h.ask("web1", "resync", "example.com", code=None)
    for host in ("web2", "web3"):
        check(not os.path.exists(f"{h.roots[host]}/while-cut-off"), f"{host} took nothing")
    # The new primary levels it; what was never sent is kept.
    os.rename(hidden + ".away", hidden)
    h.start("web2")
    h.arrives("web2", ("web1", "web3"))
    wait_for(lambda: "while-cut-off" in h.trash("web1"), "set aside")
    wait_for(lambda: h.site("web1")["state"] == "secondary", "a secondary")
    # And back.
    h.ask("web1", "promote", "example.com")
    h.write("web1", "back", b"x")
    h.arrives("web1", ("web2", "web3"))


@case
def test_a_one_shot_is_fenced_too(env):
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    h.daemons["web1"].stop()
    h.ask("web3", "promote", "example.com")
    before = snapshot(h.roots["web2"])
    src = env.path("other")
    put(f"{src}/x", b"x")
    env.resync(src, h.roots["web2"], "--adopt", "--force", remote=env.path("remote-web2"),
               code=5).says("fenced", "web3")
    check_equal(snapshot(h.roots["web2"]), before)


@case
def test_a_split_is_refused(env):
    """Two secondaries promoted while nobody could be asked."""
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    h.daemons["web1"].stop()
    for host in HOSTS:
        os.rename(env.path(f"remote-{host}"), env.path(f"remote-{host}.away"))
    h.ask("web2", "promote", "example.com")
    h.ask("web3", "promote", "example.com")
    for host in HOSTS:
        os.rename(env.path(f"remote-{host}.away"), env.path(f"remote-{host}"))
    h.write("web2", "of-web2")
    h.write("web3", "of-web3")
    h.start("web2")
    h.start("web3")
    for host, other in (("web2", "web3"), ("web3", "web2")):
        wait_for(lambda: "at the same time" in h.daemons[host].text(), f"{host} is refused")
        check(not os.path.exists(f"{h.roots[other]}/of-{host}"), "nothing crossed")
    h.ask("web3", "promote", "example.com")
    h.arrives("web3", ("web1", "web2"))
    check(h.is_primary("web3") and not h.is_primary("web2"), "one is the primary")


@case
def test_promotion_during_commits(env):
    """Nothing of the former primary is committed after the promotion."""
    h = Hosts(env)
    h.arrives("web1", ("web2", "web3"))
    stop = threading.Event()

    def upload():
        for i in range(150):
            if stop.wait(0.02):
                return
            h.write("web1", f"up/{i}", b"upload %d" % i)
    writer = threading.Thread(target=upload)
    writer.start()
    try:
        wait_for(lambda: os.path.exists(f"{h.roots['web2']}/up/20"), "uploads arrive")
        h.ask("web2", "promote", "example.com")
        after = snapshot(h.roots["web2"])
        wait_for(lambda: not h.is_primary("web1"), "web1 knows")
    finally:
        stop.set()
        writer.join()
    check_equal(snapshot(h.roots["web2"]), after, "web2 since its promotion")
    h.arrives("web2", ("web3",))
    # What was written on web1 since it was levelled is found when it is compared again.
    h.ask("web2", "resync", "example.com")
    h.arrives("web2", ("web1", "web3"))


@case
def test_handover_and_back(env):
    h = Hosts(env)
    h.arrives("web1", ("web2", "web3"))
    for n, (old, new) in enumerate((("web1", "web2"), ("web2", "web1"), ("web1", "web3"))):
        for i in range(30):
            h.write(old, f"n{n}/f{i}", b"%d of %s" % (i, old.encode()))
        r = h.ask(old, "handover", "-v", "example.com", new)
        # One question over a session that was there already; nobody waited for another try.
        took = re.search(r"nobody was for (\d+) ms", r.err)
        check(took and "trying again" not in r.err, r)
        check(int(took[1]) < 1000 * SLOW, r)
        print(f"  {old} to {new}: without a primary for {took[1]} ms")
        check(h.is_primary(new) and not h.is_primary(old), f"{new} is the primary")
        check(not h.found(old, (new,)), f"nothing is lost: {h.found(old, (new,))}")
        h.write(new, f"n{n}/on-{new}")
        h.arrives(new, [x for x in HOSTS if x != new])
        wait_for(lambda: h.site(old)["state"] == "secondary", f"{old} is a secondary")
    check_equal(h.trash("web1"), [], "set aside")


@case
def test_an_interrupted_handover_is_finished(env):
    """The states that a handover killed between two steps leaves on the old primary, as it writes
    them: the daemon there goes on, at its start and when the other host is back."""
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    place = glob.glob(f"{h.state('web1')}/roots/*/lock")[0].rsplit("/", 1)[0].replace(
        "/roots/", "/epochs/")
    os.makedirs(place, 0o700, exist_ok=True)
    me = read_text(f"{h.state('web1')}/host-id").strip()

    def crash(*files):
        d = h.daemons["web1"].process
        d.send_signal(signal.SIGKILL)
        d.wait()
        for name, text in files:
            write_text(f"{place}/{name}", text, 0o644)
    # Only intended: still the primary. What was written last goes along.
    h.write("web1", "last", b"written before the handover")
    crash(("handover", "web2"))
    h.start("web1")
    wait_for(lambda: h.is_primary("web2"), "web2 is the primary", 30)
    wait_for(lambda: not os.path.exists(f"{place}/handover"), "done")
    check(not h.is_primary("web1") and not h.found("web1", ("web2",)), "nothing is lost")
    # Fenced, and nobody told; the other host is away at first.
    h.start("web2")
    h.ask("web1", "promote", "example.com")
    wait_for(lambda: not h.is_primary("web2"), "back")
    h.arrives("web1", ("web2", "web3"))
    epoch = int(read_text(f"{place}/epoch").split()[1])
    os.rename(env.path("remote-web2"), env.path("away"))
    crash(("handover", "web2"), ("epoch", f"1 {epoch} {me} secondary web2\n"))
    h.start("web1")
    wait_for(lambda: "the handover to web2 that was begun" in h.daemons["web1"].text(), "tried")
    check(not h.is_primary("web1") and not h.is_primary("web2"), "nobody is the primary")
    os.rename(env.path("away"), env.path("remote-web2"))
    wait_for(lambda: h.is_primary("web2"), "web2 is the primary", 30)
    # The answer was lost: it is asked again, and says the same.
    wait_for(lambda: not os.path.exists(f"{place}/handover"), "done")
    now = read_text(f"{place}/epoch")
    crash(("handover", "web2"), ("epoch", f"1 {epoch} {me} secondary web2\n"))
    h.start("web1")
    wait_for(lambda: not os.path.exists(f"{place}/handover"), "done again", 30)
    check_equal(read_text(f"{place}/epoch").split()[1], now.split()[1])
    # The new primary levels both.
    h.write("web2", "on-web2")
    h.arrives("web2", ("web1", "web3"))
    # A promotion here is another decision.
    crash(("handover", "web2"))
    h.ask("web1", "promote", "example.com")
    check(not os.path.exists(f"{place}/handover"), "forgotten")


@case
def test_handover_to_a_host_that_is_away(env):
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    os.rename(env.path("remote-web2"), env.path("away"))
    env.sshd.cut()
    h.ask("web1", "handover", "example.com", "web2", code=4)
    check(h.is_primary("web1"), "nothing was changed")
    os.rename(env.path("away"), env.path("remote-web2"))
    h.write("web1", "still-sent")
    h.arrives("web1", ("web2", "web3"))


@case
def test_a_clone_sends_nothing(env):
    if len(read_text("/etc/machine-id").strip() if os.path.exists("/etc/machine-id") else "") != 32:
        raise Skip("this machine has no id")
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    h.ask("web1", "promote", "example.com")
    h.daemons["web1"].stop()
    write_text(f"{h.state('web1')}/machine-id", "0" * 32)
    h.write("web1", "of-the-clone")
    d = env.daemon(h.configs["web1"], "web1", ready=False)
    check_equal(d.process.wait(20), 5, d.text())
    check("identity --new" in d.text(), d.text())
    h.ask("web1", "resync", "example.com", code=5)
    # A clone by its own word is not the primary that was promoted.
    h.ask("web1", "identity", code=2)
    h.ask("web1", "identity", "--new")
    h.start("web1")
    wait_for(lambda: h.site("web1")["state"] == "held", "not the primary")
    check(not os.path.exists(f"{h.roots['web2']}/of-the-clone"), "nothing is sent")
    h.daemons["web1"].stop()
    h.ask("web1", "promote", "example.com")
    h.start("web1")
    h.arrives("web1", ("web2", "web3"))


@case
def test_snapshots_put_back(env):
    """A state that is older than what the other end remembers: everything is compared, and said."""
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/f", b"x" * 100)
    places = {"primary": env.state, "far": env.path("state-far")}

    def resync():
        r = env.resync(src, dest)
        check_equal(differences(snapshot(src), snapshot(dest)), [])
        # The receiver takes what it made ready away when its link has ended.
        wait_for(lambda: not glob.glob(places["far"] + "/roots/*/ready"), "the receiver's end")
        return r.err
    resync()
    for name, path in places.items():
        shutil.copytree(path, env.path("old-" + name), symlinks=True)
    check("snapshot" not in resync() + resync(), "nothing is said while the count rises")
    for name, says in (("far", "it was put back"), ("primary", "this host was put back")):
        shutil.rmtree(places[name])
        shutil.copytree(env.path("old-" + name), places[name], symlinks=True)
        said = resync()
        check(says in said, said)
        check("snapshot" not in resync(), "said once")


@case
def test_is_primary_without_rights(env):
    h = Hosts(env, run=("web1",))
    h.arrives("web1", ("web2", "web3"))
    h.ask("web2", "promote", "example.com")
    h.ask("web1", "is-primary", "no-such-site", code=2)
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        return
    os.chmod(env.dir, 0o711)
    for host, code in (("web1", 1), ("web2", 0), ("web3", 1)):
        env.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                os.environ["MIRRORD"], "is-primary", "-c", h.configs[host], "--as", host,
                "example.com", code=code)


if __name__ == "__main__":
    main()
