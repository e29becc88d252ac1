"""Units that cannot be switched where they are: with entries that are not mirrored, with something
mounted inside, on overlayfs. They are renamed file by file, which is said once, and in status."""

import os
import shutil

from harness import Skip, case, check, check_equal, main
from mounts import mount, own_mounts, unmount
from pair import Pair
from trees import check_same, put
from updates import PLUGIN, start, version_at, write_version

FILES = 30
MOUNTS = own_mounts()
OPTIONS = 'preset = wordpress settle = 300ms exclude = {"*.local"}'


def update(p, version, leave_out=lambda path: False):
    """New content, a new file, one that goes, one whose time changes only."""
    top = f"{p.src}/{PLUGIN}"
    write_version(top, version, FILES)
    put(f"{top}/added{version}/new.php", b"new")
    shutil.rmtree(f"{top}/added{version - 1}", ignore_errors=True)
    p.daemon.flush()
    check_same(p.src, p.dests[0], leave_out)


def piecemeal(p):
    """{unit: why} of the secondary, as both forms of status say it."""
    target = p.daemon.status()["sites"][0]["secondaries"][0]
    units = {u["unit"]: u["why"] for u in target["piecemeal_units"]}
    check_equal(target["piecemeal"], bool(units))
    text = p.daemon.ask("status").out
    for unit, why in units.items():
        check(f"the unit {unit} is renamed file by file on web2: {why}" in text, text)
    return units


def is_said_once(p, why):
    lines = [line for line in p.daemon.text().splitlines() if "file by file" in line]
    check_equal(len(lines), 1, "\n".join(lines))
    check(PLUGIN in lines[0] and why in lines[0], lines[0])


@case
def test_local_entries(env):
    p = start(env, FILES, OPTIONS)
    local = f"{p.dests[0]}/{PLUGIN}/part1/settings.local"
    put(local, b"of this server")

    def is_local(path):
        return path.endswith((b".local", b"/part1"))  # and the time of what it lies in
    for version in (1, 2):
        update(p, version, is_local)
        why = piecemeal(p)[PLUGIN]
        check("not mirrored" in why, why)
    is_said_once(p, why)
    check(os.path.exists(local), "it is gone")
    os.unlink(local)
    update(p, 3)
    check_equal(piecemeal(p), {}, "after it was switched")
    p.daemon.stop()


@case
def test_mount_point_inside(env):
    if not MOUNTS:
        raise Skip("no mounts without CAP_SYS_ADMIN")
    p = start(env, FILES, OPTIONS)
    volume = f"{p.dests[0]}/{PLUGIN}/volume"
    os.mkdir(volume)
    put(env.path("kept", "file"), b"on the volume")
    mount("--bind", env.path("kept"), volume)
    try:
        for version in (1, 2):
            update(p, version, lambda path: b"/volume" in path)
            why = piecemeal(p)[PLUGIN]
            check("mounted" in why, why)
        is_said_once(p, why)
        check(os.path.exists(f"{volume}/file"), "it is gone")
    finally:
        unmount(volume)
    p.daemon.stop()


@case
def test_overlayfs(env):
    """The directories of a lower layer cannot be exchanged."""
    if not MOUNTS:
        raise Skip("no mounts without CAP_SYS_ADMIN")
    p = Pair(env, 1, OPTIONS, lambda src: write_version(f"{src}/{PLUGIN}", 0, FILES), start=False)
    lower, dest = env.path("lower"), p.dests[0]
    shutil.copytree(p.src, lower)
    for name in ("upper", "work", "dest2"):
        os.mkdir(env.path(name))
    mount("-t", "overlay", "overlay", "-o",
          f"lowerdir={lower},upperdir={env.path('upper')},workdir={env.path('work')}", dest)
    try:
        p.restart()
        p.daemon.flush()
        for version in (1, 2):
            update(p, version, lambda path: path.startswith(b".mirrord-"))
            why = piecemeal(p)[PLUGIN]
            check("exchanged" in why, why)
        is_said_once(p, why)
        check_equal(version_at(f"{dest}/{PLUGIN}/file0.php"), 2)
        p.daemon.stop()
        env.settle()
    finally:
        unmount(dest)


if __name__ == "__main__":
    main()
