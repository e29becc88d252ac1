"""A real PHP-FPM whose opcache never looks at files: after a commit the new code is served, without a
reload, and nothing but the changed files was dropped."""

import json
import os
import shutil
import socket
import struct
import subprocess

from harness import MIRRORD, ROOT, Skip, case, check, check_equal, main, read_text, wait_for, \
    write_text
from pair import Pair
from trees import put

OWNER = "nobody"
EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/php-fpm")


def find_fpm():
    found = sorted(f"/usr/sbin/{n}" for n in os.listdir("/usr/sbin") if n.startswith("php-fpm"))
    check(found, "php-fpm is not installed (tests/packages.sh names it)")
    return found[-1]


def record(kind, content):
    return struct.pack(">BBHHBB", 1, kind, 1, len(content), 0, 0) + content


def fastcgi(path, script, **more):
    """What the script prints, of one request to the pool."""
    values = {"SCRIPT_FILENAME": script, "REQUEST_METHOD": "GET", "GATEWAY_INTERFACE": "CGI/1.1",
              **more}
    pairs = b"".join(struct.pack(">II", len(k) | 1 << 31, len(v) | 1 << 31) + k.encode() + v.encode()
                     for k, v in values.items())
    out = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(record(1, struct.pack(">HB5x", 1, 0)) + record(4, pairs) + record(4, b"") +
                  record(5, b""))
        stream = s.makefile("rb")
        while True:
            _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", stream.read(8))
            content = stream.read(length + padding)[:length]
            if kind == 3:
                return out.partition(b"\r\n\r\n")[2].decode()
            if kind == 6:
                out += content


class Fpm:
    """A master of its own, which ends with the environment."""

    def __init__(self, env):
        self.socket = env.path("fpm.sock")
        conf = write_text(env.path("fpm.conf"), f"""[global]
error_log = {env.path("fpm.log")}
daemonize = no
[pool]
user = {OWNER}
listen = {self.socket}
listen.owner = {OWNER}
pm = static
pm.max_children = 2
php_admin_value[opcache.enable] = 1
php_admin_value[opcache.validate_timestamps] = 0
php_admin_value[opcache.file_update_protection] = 0
""")
        self.process = env.spawn([find_fpm(), "-F", "-R", "-y", conf], stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.socket), lambda: read_text(env.path("fpm.log")))


@case
def test_new_code_is_served(env):
    if not ROOT:
        raise Skip("needs root, for a pool of another user")
    os.chmod(env.dir, 0o755)
    where = env.path("lib")
    shutil.copytree(EXAMPLES, where)
    options = "preset = wordpress settle = 100ms"
    pair = Pair(env, secondaries=1, options=options, start=False, fill=lambda src: [
        put(f"{src}/{n}.php", b"<?php echo 'one';") for n in ("a", "b", "d/c")])
    for top, _, _ in os.walk(pair.src):
        shutil.chown(top, OWNER)
    fpm = Fpm(env)
    dest = pair.dests[0]
    text = read_text(pair.config)
    theirs = write_text(env.path("theirs.conf"), text.replace(
        options, f'{options} on-commit = "{where}/mirrord-opcache {fpm.socket}"'))
    env.far_end("web2", f"exec '{MIRRORD}' receive -c '{theirs}' --as web2 "
                        f"--state-dir '{env.path('state-web2')}'")
    look = write_text(env.path("look.php"), "<?php echo json_encode(array_map(fn($s) => $s['hits'], "
                                            "opcache_get_status()['scripts']));", 0o644)
    pair.restart()
    pair.flushed()

    def target():
        return pair.daemon.status()["sites"][0]["secondaries"][0]

    def serves(name):
        return fastcgi(fpm.socket, f"{dest}/{name}.php")

    def cached():
        return {os.path.relpath(p, dest) for p in json.loads(fastcgi(fpm.socket, look))
                if p.startswith(dest)}
    noted = env.path("state-web2", "roots")
    notes = [f"{noted}/{n}/on-commit" for n in os.listdir(noted)]
    wait_for(lambda: all(read_text(n) == "" for n in notes), "the first run")
    for name in ("a", "b", "d/c"):
        check_equal(serves(name), "one", name)
    check_equal(cached(), {"a.php", "b.php", "d/c.php"}, "in the cache")
    # Without a word from us the old code would stay: the same size, and nobody looks at times.
    put(f"{pair.src}/a.php", b"<?php echo 'two';")
    pair.flushed()
    wait_for(lambda: serves("a") == "two", lambda: f"new code: {target()} {env.sshd_log()[-2000:]}")
    wait_for(lambda: "a.php" in cached(), "it is cached anew")
    check_equal(cached(), {"a.php", "b.php", "d/c.php"}, "nothing else was dropped")
    hits = json.loads(fastcgi(fpm.socket, look))
    check_equal(serves("b"), "one", "b")
    check_equal(json.loads(fastcgi(fpm.socket, look))[f"{dest}/b.php"], hits[f"{dest}/b.php"] + 1,
                "b's entry is the one it was")
    check(fpm.process.poll() is None, "the pool's master still runs")
    # A directory goes, with what was cached of it.
    include = write_text(env.path("include.php"), "<?php @include $_SERVER['WANTED'];", 0o644)

    def included():
        return fastcgi(fpm.socket, include, WANTED=f"{dest}/d/c.php")
    check_equal(included(), "one", "an included file")
    shutil.rmtree(f"{pair.src}/d")
    pair.flushed()
    wait_for(lambda: included() == "", lambda: f"dropped: {included()}")
    check_equal(target()["hook"]["failures"], 0, target())
    # What comes by a web server is refused.
    script = f"{where}/opcache-invalidate.php"
    said = fastcgi(fpm.socket, script, REQUEST_METHOD="POST", REMOTE_ADDR="127.0.0.1",
                   MIRRORD_ROOT=dest)
    check(said.startswith("refused"), said)


if __name__ == "__main__":
    main()
