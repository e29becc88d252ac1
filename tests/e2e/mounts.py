"""Mounts that nobody else sees."""

import ctypes
import subprocess

from harness import Skip

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
    subprocess.run(["umount", "-l", where], check=True)
