"""Trees for the tests: making them and comparing them, independently of mirrord.

Everything walks relative to directory descriptors and names are bytes, so that paths longer than
the kernel's PATH_MAX and names that are not text work like all others.
"""

import hashlib
import os
import random
import stat
import subprocess

ACLS = ("system.posix_acl_access", "system.posix_acl_default")
DIR_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


# Comparing ---------------------------------------------------------------------------------------

def _acls(fd):
    out = []
    for name in ACLS:
        try:
            out.append(os.getxattr(fd, name))
        except OSError:
            out.append(b"")
    return tuple(out)


def _content(fd):
    h = hashlib.sha1(usedforsecurity=False)  # three times as fast as the rest where the processor helps
    while chunk := os.read(fd, 1 << 20):
        h.update(chunk)
    return h.hexdigest()


def _file(name, dir_fd):
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return (_content(fd),) + _acls(fd)
    finally:
        os.close(fd)


def _common(kind, st):
    return {"type": kind, "mode": oct(stat.S_IMODE(st.st_mode)), "mtime": st.st_mtime_ns,
            "uid": st.st_uid, "gid": st.st_gid}


def _walk(fd, prefix, out, inodes):
    st = os.fstat(fd)
    out[prefix] = _common("directory", st) | {"acl": _acls(fd)}
    for name in sorted(os.fsencode(n) for n in os.listdir(fd)):
        path = prefix + b"/" + name if prefix else name
        try:
            st = os.lstat(name, dir_fd=fd)
        except FileNotFoundError:
            continue  # the tree is live: the next comparison sees it
        inodes[path] = st.st_ino
        try:
            if stat.S_ISDIR(st.st_mode):
                sub = os.open(name, DIR_FLAGS, dir_fd=fd)
                try:
                    _walk(sub, path, out, inodes)
                finally:
                    os.close(sub)
            elif stat.S_ISREG(st.st_mode):
                content, *acl = _file(name, fd)
                out[path] = _common("file", st) | {
                    "size": st.st_size, "content": content, "acl": tuple(acl)}
            elif stat.S_ISLNK(st.st_mode):
                out[path] = _common("link", st) | {"target": os.readlink(name, dir_fd=fd)}
                del out[path]["mode"]
            else:
                out[path] = {"type": "special"}
        except (FileNotFoundError, NotADirectoryError):
            continue


def snapshot(root, inodes=None):
    """{path: what it is}; the root itself is b''. Devices, sockets and FIFOs are "special"."""
    out = {}
    fd = os.open(root, DIR_FLAGS)
    try:
        _walk(fd, b"", out, inodes if inodes is not None else {})
    finally:
        os.close(fd)
    return out


def inodes(root):
    out = {}
    snapshot(root, out)
    return out


def differences(wanted, got, leave_out=lambda path: False, limit=12):
    """Lines that say how the snapshots differ; none when they are equal. Special files are not
    mirrored, so in `wanted` they count as absent."""
    out = []
    for path in sorted(set(wanted) | set(got)):
        if leave_out(path):
            continue
        a, b = wanted.get(path), got.get(path)
        if a and a["type"] == "special":
            a = None
        if a == b:
            continue
        if a is None or b is None:
            out.append(f"{path!r}: only {'there' if a is None else 'here'}: {a or b}")
        else:
            words = [f"{k} {a.get(k)!r} -> {b.get(k)!r}" for k in sorted(set(a) | set(b))
                     if a.get(k) != b.get(k)]
            out.append(f"{path!r}: " + ", ".join(words))
        if len(out) == limit:
            return out + ["…"]
    return out


def check_same(src, dest, leave_out=lambda path: False):
    found = differences(snapshot(src), snapshot(dest), leave_out)
    if found:
        raise AssertionError(f"{dest} is not what {src} is:\n  " + "\n  ".join(found))


def rsync_differences(src, dest):
    """What rsync would do to make them equal, by content."""
    p = subprocess.run(["rsync", "-aHAXnci", "--delete", "--no-devices", "--no-specials",
                        f"{os.fsdecode(src)}/", f"{os.fsdecode(dest)}/"],
                       stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return p.stdout.decode(errors="replace").splitlines()


# Making ------------------------------------------------------------------------------------------

def open_file(path, flags, buffering=-1):
    """Opens a file and never what a symbolic link points to: trees under test are full of links."""
    fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    readable = flags & os.O_ACCMODE == os.O_RDWR
    return os.fdopen(fd, "r+b" if readable else "wb", buffering=buffering)


def put(path, data=b"", mode=None, mtime_ns=None):
    """A file with this content, its directories included."""
    path = os.fsencode(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open_file(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as f:
        f.write(data)
        if mode is not None:
            os.fchmod(f.fileno(), mode)
    if mtime_ns is not None:
        set_mtime(path, mtime_ns)
    return path


def set_mtime(path, ns):
    os.utime(path, ns=(ns, ns), follow_symlinks=False)


def remove(path):
    """Whatever is there, however deep."""
    subprocess.run([b"rm", b"-rf", b"--", os.fsencode(path)], check=True)


class WordPress:
    """A tree shaped like a WordPress document root: the same one for the same seed and count.
    Half plugins, a fifth core, a quarter uploads, else themes and languages; most files are small."""

    def __init__(self, root, files, seed=1, owners=True):
        self.root, self.rng = os.fsencode(root), random.Random(seed)
        self.pool = self.rng.randbytes(1 << 20)
        self.owners = [(33, 33), (33, 33), (0, 0)] if owners and os.geteuid() == 0 else []
        self.count = 0
        os.makedirs(self.root, exist_ok=True)
        self.fill(files)
        self.finish()

    def code(self):
        size = min(int(self.rng.lognormvariate(7.6, 1.3)), 60000)
        at = self.rng.randrange(len(self.pool) - 60000)
        return b"<?php /* %d */\n" % self.count + self.pool[at:at + size]

    def picture(self):
        size = self.rng.randrange(2000, 40000)
        at = self.rng.randrange(len(self.pool) - 40000)
        return b"\xff\xd8\xff\xe0%d" % self.count + self.pool[at:at + size]

    def add(self, path, data, mode=0o644):
        self.count += 1
        full = put(os.path.join(self.root, path), data, mode)
        if self.owners:
            os.chown(full, *self.rng.choice(self.owners))
        set_mtime(full, self.rng.randrange(15 * 10**17, 17 * 10**17))

    def fill(self, files):
        rng = self.rng
        self.add(b"index.php", b"<?php // Silence is golden.\n")
        self.add(b"wp-config.php", self.code(), 0o600)
        while self.count < files:
            n, part = self.count, rng.random()
            if part < 0.5:
                plugin = rng.randrange(max(files // 1000, 3))
                place = b"wp-content/plugins/plugin-%d/%s" % (
                    plugin, rng.choice([b"", b"src/", b"src/admin/", b"assets/js/",
                                        b"includes/data/deep/er/", b"packages/p%d/" % (n % 17)]))
                self.add(place + b"f%d.php" % n, self.code())
            elif part < 0.7:
                place = rng.choice([b"wp-admin/", b"wp-includes/",
                                    b"wp-includes/blocks/b%d/" % (n % 40), b"wp-includes/js/", b"wp-admin/includes/", b""])
                self.add(place + b"core%d.php" % n, self.code())
            elif part < 0.95:
                place = b"wp-content/uploads/20%02d/%02d/" % (rng.randrange(20, 24),
                                                            rng.randrange(1, 13))
                self.add(place + "bild-größe-%d.jpg".encode() % n, self.picture())
            else:
                place = rng.choice([b"wp-content/themes/twentyfive/", b"wp-content/languages/"])
                self.add(place + b"t%d.php" % n, b"<?php // Silence is golden.\n")

    def finish(self):
        """Empty directories, links, and the times of directories, which come last."""
        os.makedirs(os.path.join(self.root, b"wp-content/upgrade/empty"), exist_ok=True)
        for i in range(5):
            link = os.path.join(self.root, b"wp-content/link%d" % i)
            os.symlink(b"plugins/plugin-%d" % i, link)
            set_mtime(link, 16 * 10**17 + i)
        for directory, _, _ in os.walk(self.root, topdown=False):
            set_mtime(directory, self.rng.randrange(15 * 10**17, 17 * 10**17))
