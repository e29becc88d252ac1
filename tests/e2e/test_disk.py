"""Secondaries whose disk fails: full, out of inodes, read-only, a directory without permission, over
quota. The live tree stays whole, status names path and cause, other paths and sites go on, and all
is level by itself once the cause is gone."""

import os
import re
import shutil
import subprocess

import shim
from harness import MIRRORD, ROOT, Skip, case, check, check_equal, main, wait_for
from mounts import own_mounts, unmount_when_free
from pair import site_text
from trees import check_same, differences, put, snapshot

MIB = 1 << 20
MOUNTS = own_mounts()


class Disk:
    """Two sites with one secondary: "small" on a tmpfs of its own, "other" elsewhere."""

    def __init__(self, env, options, far=None, min_free="0"):
        if not MOUNTS:
            raise Skip("no mounts without CAP_SYS_ADMIN")
        self.env, self.at = env, env.path("disk")
        os.mkdir(self.at)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", self.at], check=True)
        self.src, self.dest = env.path("src"), f"{self.at}/site"
        self.other, self.other_dest = env.path("src-other"), env.path("dest-other")
        put(f"{self.src}/old", b"old content" * 100)
        put(f"{self.src}/d/f", b"old content")
        put(f"{self.other}/f", b"x")
        config = env.config(site_text("small", self.src, [self.dest], f'min-free = "{min_free}"') +
                            site_text("other", self.other, [self.other_dest]),
                            hosts=("web1", "web2"), extra_host="compress = none")
        if far:
            env.far_end("web2", far)
            os.chmod(config, 0o644)  # a receiver of its own user reads it
        self.daemon = env.daemon(config)
        self.before = snapshot(self.src)

    def remount(self, options):
        subprocess.run(["mount", "-o", f"remount,{options}", self.at], check=True)

    def site(self):
        """What status says of the site that is in trouble."""
        return [s for s in self.daemon.status()["sites"] if s["name"] == "small"][0]["secondaries"][0]

    def complains(self, cause, path):
        def found():
            s = self.site()
            return re.search(cause, s["error"]) and re.search(path, s["error_path"])
        wait_for(found, lambda: f"status says {cause} of {path}: {self.site()}\n"
                                f"{self.daemon.text()[-3000:]}", 5)

    def check_whole(self):
        """Every file there is one of the two versions, and nothing is missing."""
        now, there = snapshot(self.src), snapshot(self.dest)
        for path, entry in self.before.items():
            if entry["type"] == "file":
                check(path in there, path, "is missing")
        for path, entry in there.items():
            if entry["type"] == "file":
                check(entry in (self.before.get(path), now.get(path)), path, "is", entry)

    def other_goes_on(self):
        put(f"{self.other}/f", os.urandom(3000))
        wait_for(lambda: not differences(snapshot(self.other), snapshot(self.other_dest)),
                 "the other site is level")

    def levels(self, seconds=15):
        def found():
            return differences(snapshot(self.src), snapshot(self.dest))
        wait_for(lambda: not found(), lambda: "level\n" + "\n".join(found()) + "\n" +
                 self.daemon.text()[-3000:], seconds)
        wait_for(lambda: not self.site()["failing"], "nothing fails any more")


def shared_disk(env):
    """A small filesystem whose files can share what they have in common."""
    if not MOUNTS:
        raise Skip("no mounts without CAP_SYS_ADMIN")
    image, at = env.path("image"), env.path("disk")
    with open(image, "wb") as f:
        f.truncate(320 * MIB)
    os.mkdir(at)
    for kind in ("btrfs", "xfs"):
        if (shutil.which(f"mkfs.{kind}") and
                not subprocess.run([f"mkfs.{kind}", "-q", image], capture_output=True, check=False).returncode and
                not subprocess.run(["mount", "-o", "loop", image, at], capture_output=True, check=False).returncode):
            return at
    raise Skip("neither btrfs nor xfs can be made and mounted here")


def used(at):
    os.sync()
    st = os.statvfs(at)
    return (st.f_blocks - st.f_bfree) * st.f_frsize


@case
def test_a_delta_shares_what_did_not_change(env):
    """The old version is still there, under another name: both together take little more than one."""
    at = shared_disk(env)
    src, dest = env.path("src"), f"{at}/site"
    path = put(f"{src}/f", os.urandom(24 * MIB))
    env.resync(src, dest)
    os.link(f"{dest}/f", f"{at}/before")
    start = used(at)
    with open(path, "r+b") as f:
        f.seek(10 * MIB)
        f.write(os.urandom(1000))
        f.truncate(23 * MIB + 5)
    env.resync(src, dest)
    more = used(at) - start
    check_same(src, dest)
    unmount_when_free(at)
    check(more < 6 * MIB, f"{more / MIB:.1f} MiB more")


@case
def test_full(env):
    d = Disk(env, "size=8m")
    put(f"{d.src}/large", os.urandom(20 * MIB))
    d.complains("No space left", "large")
    put(f"{d.src}/tiny", b"fits")
    wait_for(lambda: os.path.exists(f"{d.dest}/tiny"), "a small one goes on")
    d.other_goes_on()
    d.check_whole()

    peer = d.daemon.status()["secondaries"][0]
    wait_for(lambda: d.daemon.status()["secondaries"][0]["batches"] > peer["batches"],
             "it was asked how much room there is")
    sent = d.daemon.status()["secondaries"][0]["bytes_sent"] - peer["bytes_sent"]
    check(sent < MIB, "sent again although there is no room:", sent)
    d.complains("No space left", "large")

    d.remount("size=64m")
    d.levels()
    d.daemon.stop()


@case
def test_a_resync_that_does_not_fit(env):
    """Exit 6 where room is all that was missing: bytes, inodes, or the far end's own state; it names host, path and
    room, and goes on once there is more. Where something else failed too, exit 3."""
    if not MOUNTS:
        raise Skip("no mounts without CAP_SYS_ADMIN")
    at, src = env.path("disk"), env.path("src")
    os.mkdir(at)

    def mount(options):
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", at], check=True)
    mount("size=4m")
    put(f"{src}/large", os.urandom(6 * MIB))
    put(f"{src}/small", b"fits")
    env.resync(src, f"{at}/site", "-n").prints("2 created")
    env.resync(src, f"{at}/site", code=6).says(
        rf"{env.sshd.address}: large: .*No space left", rf"{env.sshd.address}: 1 path of 6.3 MB did not fit on the disk "
        rf"of {at}/site \([0-9.]+ of 4.2 MB .*free\): make room there \(df -h {at}/site")
    check_equal(os.listdir(f"{at}/site"), ["small"], "what is there")

    config = env.config(site_text("s", src, [f"{at}/other"]), hosts=("web1", "web2"))
    env.mirrord("resync", "-c", config, "--as", "web1", code=6).says(
        "s web2: large: .*No space left", rf"resync: s web2: 1 path of 6.3 MB did not fit on the disk of {at}/other")

    subprocess.run(["chown", "12345", f"{src}/small"], check=True)
    env.resync(src, f"{at}/third", code=3).says("small: .*no name", "2 paths could not be mirrored.* 1 of them, 6.3 MB, "
                                                "did not fit")
    os.chown(f"{src}/small", 0, 0)
    subprocess.run(["mount", "-o", "remount,size=64m", at], check=True)
    env.resync(src, f"{at}/site")
    check_same(src, f"{at}/site")
    unmount_when_free(at)

    mount("size=4m,nr_inodes=16")
    os.makedirs(env.path("many"))
    for i in range(40):
        put(env.path("many", f"{i}"), b"x")
    env.resync(env.path("many"), f"{at}/many", code=6).says(
        "did not fit.* and 0 of 16 inodes free")
    unmount_when_free(at)

    mount("size=64k")
    with open(f"{at}/filler", "wb") as f:
        subprocess.run(["dd", "if=/dev/zero", "bs=4k", "status=none"], stdout=f, stderr=subprocess.DEVNULL, check=False)
    far = env.far_end("full", f"exec '{MIRRORD}' \"$@\" --state-dir '{at}/state'")
    env.resync(src, env.path("elsewhere"), code=6, remote=far).says(rf"\(full\): {at}/state: .*No space left")


@case
def test_full_of_small_files(env):
    """More fail than a minute's pauses would bring back in time."""
    d = Disk(env, "size=3m")
    for i in range(300):
        put(f"{d.src}/many/f{i}", os.urandom(30_000))
    d.complains("No space left", "many/f")
    d.other_goes_on()
    d.check_whole()
    d.remount("size=64m")
    d.levels()
    d.daemon.stop()


@case
def test_full_with_the_state_on_it(env):
    """Not even the journal can be written."""
    at = env.path("disk")
    d = Disk(env, "size=8m", f"exec '{MIRRORD}' \"$@\" --state-dir '{at}/state'")
    with open(f"{at}/filler", "wb") as f:
        subprocess.run(["dd", "if=/dev/zero", "bs=64k", "status=none"], stdout=f,
                       stderr=subprocess.DEVNULL, check=False)
    for i in range(400):
        put(f"{d.src}/many/{i}-{'x' * 200}", b"")
        put(f"{d.src}/many/{i}", b"%d" % i)
    wait_for(lambda: "No space" in d.site()["error"], lambda: f"status says so: {d.site()}")
    d.check_whole()
    os.unlink(f"{at}/filler")
    d.levels(25)
    d.other_goes_on()
    d.daemon.stop()


@case
def test_bulk_leaves_room(env):
    """What is large waits while less than min-free is free there, what is small goes on, as do
    deletions; all of it by itself once there is room. (tests of a full disk have min-free = 0.)"""
    d = Disk(env, "size=64m", min_free="25%")
    put(f"{d.at}/filler", b"x" * (40 * MIB))
    wait_for(lambda: 0 < d.site()["space"]["free_bytes"] < 25 * MIB, "it is told")
    put(f"{d.src}/large", os.urandom(20 * MIB))
    put(f"{d.src}/wp-content/small", b"goes")
    wait_for(lambda: os.path.exists(f"{d.dest}/wp-content/small"), "a small one goes on")
    wait_for(lambda: d.site()["space"]["waiting"] == 1, lambda: f"it waits: {d.site()}")
    check(not d.site()["space"]["low"] and d.site()["failing"] == 0, d.site())
    check("large: it waits" in d.daemon.text(), "the log names it", d.daemon.text()[-2000:])
    check_equal(d.site()["space"]["waiting_path"], "large")
    d.daemon.ask("status", code=4).prints("1 path, as large")
    d.daemon.flush("--timeout", "1", code=4).prints("large", "waits for room")

    put(f"{d.at}/filler", b"x" * (50 * MIB))
    wait_for(lambda: d.site()["space"]["low"], lambda: f"it is seen: {d.site()}")
    os.unlink(f"{d.src}/old")
    put(f"{d.src}/d/f", b"new content")
    wait_for(lambda: not os.path.exists(f"{d.dest}/old"), "a deletion goes on")
    check("nearly full" in d.daemon.ask("status", code=4).out)
    check(not os.path.exists(f"{d.dest}/large"), "it was sent although there was no room")

    os.unlink(f"{d.at}/filler")
    d.levels()
    check(not d.site()["space"]["low"] and d.site()["space"]["waiting"] == 0, d.site())
    d.daemon.stop()


@case
def test_the_secondary_may_want_more(env):
    """Its own configuration says how much is to stay free there."""
    both, own = env.path("mirrord.conf"), env.path("own.conf")
    d = Disk(env, "size=64m", f"""sed 's/min-free = "0"/min-free = "60M"/' '{both}' >'{own}'
exec '{MIRRORD}' receive -c '{own}' --as web2 --state-dir '{env.path("state-web2")}'""")
    put(f"{d.src}/large", os.urandom(17 * MIB))
    wait_for(lambda: d.site()["space"]["waiting"] == 1,
             lambda: f"it waits: {d.site()}")
    check(d.site()["space"]["keep_bytes"] == 60 * MIB, d.site())
    d.remount("size=128m")
    d.levels()
    d.daemon.stop()


@case
def test_out_of_inodes(env):
    d = Disk(env, "size=64m,nr_inodes=40")
    for i in range(60):
        put(f"{d.src}/many/f{i}", b"%d" % i)
    put(f"{d.src}/old", b"new content")
    d.complains("No space left", "many/f|old")
    d.other_goes_on()
    d.check_whole()
    d.remount("nr_inodes=1000")
    d.levels()
    d.daemon.stop()


@case
def test_read_only(env):
    d = Disk(env, "size=64m")
    d.remount("ro")
    put(f"{d.src}/old", b"new content")
    os.unlink(f"{d.src}/d/f")
    d.complains("Read-only", "old|d/f|^d$|^$")
    d.other_goes_on()
    d.check_whole() if os.path.exists(f"{d.src}/d/f") else None
    check(differences(d.before, snapshot(d.dest)) == [], "nothing has changed")
    d.remount("rw")
    d.levels()
    d.daemon.stop()


@case
def test_read_only_from_the_start(env):
    """A session that begins while it is."""
    d = Disk(env, "size=64m")
    d.remount("ro")
    env.sshd.cut()
    put(f"{d.src}/old", b"new content")
    wait_for(lambda: "Read-only" in d.site()["error"], lambda: f"status says so: {d.site()}", 8)
    d.other_goes_on()
    d.remount("rw")
    d.levels(25)
    d.daemon.stop()


@case
def test_over_quota(env):
    library, flag = shim.build(env), env.path("quota")
    d = Disk(env, "size=64m", shim.command(env, "web2", library, SHIM_QUOTA=flag))
    put(flag)
    put(f"{d.src}/old", os.urandom(200_000))
    put(f"{d.src}/new", b"small")
    d.complains("quota exceeded", "old|new")
    d.check_whole()
    shutil.copytree(d.src, env.path("copy"))
    env.resync(env.path("copy"), f"{d.at}/third", code=6, remote=env.path("remote-web2")).says("quota exceeded")
    os.unlink(flag)
    d.levels()
    d.other_goes_on()
    d.daemon.stop()


@case
def test_without_permission(env):
    """A receiver that is not root, and a directory that was given to root meanwhile."""
    if not ROOT or not shutil.which("setpriv"):
        raise Skip("needs root and setpriv")
    os.chmod(env.dir, 0o711)
    state = env.path("state-nobody")
    os.mkdir(state)
    os.chown(state, 65534, 65534)
    d = None
    far = (f"exec setpriv --reuid=65534 --regid=65534 --clear-groups '{MIRRORD}' \"$@\" "
           f"--state-dir '{state}'")
    d = Disk(env, "size=64m,mode=0777", far)
    os.chown(f"{d.dest}/d", 0, 0)
    put(f"{d.src}/d/f", b"new content")
    put(f"{d.src}/old", b"new too")
    d.complains("Permission denied|not permitted", "d/f|^d$")
    wait_for(lambda: open(f"{d.dest}/old", "rb").read() == b"new too", "another path goes on")
    os.chown(f"{d.dest}/d", 65534, 65534)
    wait_for(lambda: open(f"{d.dest}/d/f", "rb").read() == b"new content", "level", 15)
    d.daemon.stop()


if __name__ == "__main__":
    main()
