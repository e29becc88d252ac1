"""Checks who may include whom: folders include only what lies below them, as do the parts of
primary, the codec only itself and C's own headers, and each third-party library is included by
exactly one .c file.

Usage: check_includes.py TOP-OF-THE-TREE
"""

import os
import re
import sys

BELOW = {
    "protocol": set(),
    "base": {"protocol"},
    "tree": {"base", "protocol"},
    "link": {"base", "protocol"},
    "primary": {"tree", "link", "base", "protocol"},
    "secondary": {"tree", "link", "base", "protocol"},
    "command": {"primary", "secondary", "tree", "link", "base", "protocol"},
    "main": {"command", "base"},
}
# Within a folder: from the first to those behind it. "" is what lies beside the others.
ORDER = {"primary": ["daemon", "push", "scan", ""]}
LIBRARIES = {
    "librsync.h": "librsync", "libssh2.h": "libssh2", "libssh2_publickey.h": "libssh2",
    "libssh2_sftp.h": "libssh2", "xxhash.h": "xxhash", "lmdb.h": "lmdb", "zstd.h": "zstd",
    "zstd_errors.h": "zstd", "zdict.h": "zstd", "confuse.h": "libconfuse",
    "cjson/cJSON.h": "cJSON", "cJSON.h": "cJSON", "seccomp.h": "libseccomp",
    "systemd/sd-daemon.h": "libsystemd",
    **{f"openssl/{name}.h": "libcrypto" for name in (
        "core_dispatch", "core_names", "crypto", "err", "evp", "params", "provider", "rand", "sha")},
}
# What the codec may use: bytes and numbers, nothing that opens, prints or waits.
PURE = {"stdbool.h", "stddef.h", "stdint.h", "stdlib.h", "string.h", "limits.h", "assert.h",
        "stdalign.h", "endian.h"}
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)


def sources(top):
    """(folder, path from the top, text) of each source file of the product."""
    for start in ("protocol", "mirrord"):
        for directory, _, names in os.walk(os.path.join(top, start)):
            for name in sorted(names):
                if name.endswith((".c", ".h")):
                    path = os.path.relpath(os.path.join(directory, name), top)
                    parts = path.split(os.sep)
                    folder = parts[0] if start == "protocol" else (
                        parts[1] if len(parts) > 2 else "main")
                    with open(os.path.join(top, path), encoding="utf-8") as f:
                        yield folder, path, f.read()


def within(path):
    """The folder within one of the tree's; "": none."""
    return path.split("/")[1] if path.count("/") > 1 else ""


def check_order(folder, path, name):
    order = ORDER.get(folder)
    if order and name.startswith(folder + "/"):
        ours, theirs = within(path.removeprefix("mirrord/")), within(name)
        if order.index(theirs) < order.index(ours):
            yield f'{path}: "{name}": {ours or folder} must not include {theirs}'


def check_file(folder, path, text, users):
    for mark, name in INCLUDE.findall(text):
        if mark == '"':
            other = name.split("/")[0] if "/" in name else None
            if other is None:
                yield f'{path}: "{name}": name the folder too'
            elif other != folder and other not in BELOW.get(folder, set()):
                yield f'{path}: "{name}": {folder} must not include {other}'
            yield from check_order(folder, path, name)
        elif name in LIBRARIES:
            users.setdefault(LIBRARIES[name], set()).add(path)
            if path.endswith(".h"):
                yield f"{path}: <{name}>: a library's header belongs into one .c file, not a header"
        elif folder == "protocol" and name not in PURE:
            yield f"{path}: <{name}>: the codec is pure"


def problems(top):
    users, files = {}, 0
    for folder, path, text in sources(top):
        files += 1
        if folder not in BELOW:
            yield f"{path}: a folder without a place in the order of includes"
        yield from check_file(folder, path, text, users)
    for library, paths in sorted(users.items()):
        if len(paths) > 1:
            yield f"{library} is included by {', '.join(sorted(paths))}: one file only"
    if files < 20:
        yield f"only {files} source files found beneath {top}"


def main():
    found = list(problems(sys.argv[1]))
    print("\n".join(found) if found else "every include keeps the rules")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
