"""Mounts that nobody else sees."""

import ctypes
import subprocess

from harness import Skip, wait_for

CLONE_NEWNS = 0x20000


def own_mounts():
    """What is mounted from here on is seen by nobody else, and goes with this process. To be called
    before any sshd is started."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNS) != 0:
        return False
    return subprocess.run(["mount", "--make-rprivate", "/"], check=False).returncode == 0


def mount(*what):
    r = subprocess.run(["mount", *what], capture_output=True, check=False)
    if r.returncode != 0:
        raise Skip("no right to mount: " + r.stderr.decode().strip())


def unmount(where):
    """Also what is in use: it is out of sight at once."""
    subprocess.run(["umount", "-l", where], check=True)


def unmount_when_free(where):
    """Waits until nobody uses it: a run is over for its user a moment before its receiver has freed what it held."""
    said = ""

    def unmounted():
        nonlocal said
        r = subprocess.run(["umount", where], capture_output=True, check=False)
        said = r.stderr.decode().strip()
        return r.returncode == 0
    wait_for(unmounted, lambda: f"{where} is free: {said}")
