"""Runs a command under the restrictions of a systemd unit, where no systemd is: mounts, capabilities,
system calls, address families. Usage: confined.py UNIT WRITABLE[:WRITABLE…] COMMAND…

What of the unit is in force is all that `confine` has; devices, the view of /proc and private /tmp are
not. The command takes the place of this process.
"""

import ctypes
import os
import subprocess
import sys

CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE, AT_FDCWD, AT_RECURSIVE = 0x20000, 4096, 16384, 1 << 18, -100, 0x8000
MOUNT_SETATTR, MOUNT_ATTR_RDONLY = 442, 1
PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_SET_MDWE = 23, 24, 38, 65
CAPABILITIES = {"CAP_CHOWN": 0, "CAP_DAC_READ_SEARCH": 2, "CAP_LEASE": 28}
FAMILIES = {"AF_UNIX": 1, "AF_INET": 2, "AF_INET6": 10, "AF_NETLINK": 16}
ALLOW, ERRNO, MASKED_EQ, EQ = 0x7fff0000, 0x00050000, 7, 4
EPERM, ENOSYS = 1, 38
NAMESPACES = 0x7e020080  # the flags of clone(2) that make one

libc = ctypes.CDLL(None, use_errno=True)


class Attributes(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("set", "clear", "propagation", "userns")]


class Compare(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


def must(result, what):
    if result != 0:
        sys.exit(f"confined.py: {what}: {os.strerror(ctypes.get_errno())} ({result})")


def settings(path):
    """{key: [values]} of the section [Service]."""
    out, inside = {}, False
    with open(path, encoding="utf-8") as f:
        for line in f.read().splitlines():
            inside = line == "[Service]" if line.startswith("[") else inside
            if inside and "=" in line and not line.startswith("#"):
                key, value = line.split("=", 1)
                out.setdefault(key, []).extend(value.split())
    return out


def set_mount(path, on, recursive=False):
    a = Attributes(set=MOUNT_ATTR_RDONLY if on else 0, clear=0 if on else MOUNT_ATTR_RDONLY)
    return libc.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), AT_RECURSIVE if recursive else 0, ctypes.byref(a),
                        ctypes.sizeof(a))


def restrict_mounts(writable):
    """All is read-only but these directories."""
    must(libc.unshare(CLONE_NEWNS), "unshare")
    must(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "private mounts")
    for path in writable:
        must(libc.mount(path.encode(), path.encode(), None, MS_BIND, None), path)
    must(set_mount("/", True, recursive=True), "read-only mounts")
    for path in writable:
        must(set_mount(path, False), path)


def restrict_capabilities(kept):
    numbers = {CAPABILITIES[name] for name in kept}
    number = 0
    while libc.prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0:
        if number not in numbers:
            must(libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), f"capability {number}")
        number += 1


def system_calls(groups):
    """The names in these groups, which systemd knows."""
    text = subprocess.run(["systemd-analyze", "syscall-filter", "--no-pager"], capture_output=True, text=True,
                          check=True).stdout
    known, group = {}, None
    for line in text.splitlines():
        word = line.strip()
        if line.startswith("@"):
            group = known.setdefault(word, [])
        elif word and not word.startswith("#") and line.startswith(" ") and group is not None:
            group.append(word)
    todo, out = list(groups), set()
    while todo:
        name = todo.pop()
        if name.startswith("@"):
            todo += known[name]
        else:
            out.add(name)
    return out


class Filter:
    def __init__(self):
        self.lib = ctypes.CDLL("libseccomp.so.2")
        self.lib.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(self.lib.seccomp_init(ctypes.c_uint32(ERRNO | EPERM)))

    def add(self, action, name, compare=None):
        number = self.lib.seccomp_syscall_resolve_name(name.encode())
        if number < 0:
            return  # not of this architecture
        array = (Compare * 1)(compare) if compare else None
        must(self.lib.seccomp_rule_add_array(self.context, ctypes.c_uint32(action), number, 1 if compare else 0, array),
             name)

    def load(self):
        must(self.lib.seccomp_load(self.context), "seccomp")


def restrict_calls(groups, families):
    f = Filter()
    for name in system_calls(groups) - {"socket", "clone", "clone3", "unshare", "setns"}:
        f.add(ALLOW, name)
    for family in families:
        f.add(ALLOW, "socket", Compare(0, EQ, FAMILIES[family], 0))
    f.add(ALLOW, "clone", Compare(0, MASKED_EQ, NAMESPACES, 0))
    f.add(ERRNO | ENOSYS, "clone3")  # its flags cannot be seen: the C library falls back to clone
    f.load()


def confine(unit, writable):
    s = settings(unit)
    groups = s["SystemCallFilter"]
    if s["ProtectSystem"] != ["strict"] or s["NoNewPrivileges"] != ["yes"] or s["RestrictNamespaces"] != ["yes"] or \
            s["MemoryDenyWriteExecute"] != ["yes"] or any(g.startswith("~") for g in groups):
        sys.exit(f"confined.py: {unit} says something that is not understood here")
    restrict_mounts(writable)
    restrict_capabilities(s["CapabilityBoundingSet"])
    must(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
    libc.prctl(PR_SET_MDWE, 1, 0, 0, 0)  # from Linux 6.3 on
    os.umask(int(s["UMask"][0], 8))
    restrict_calls(groups, s["RestrictAddressFamilies"])


if __name__ == "__main__":
    confine(sys.argv[1], sys.argv[2].split(":"))
    os.execv(sys.argv[3], sys.argv[3:])
