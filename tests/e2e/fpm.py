"""A real PHP-FPM of the test's own, asked by FastCGI."""

import os
import socket
import struct
import subprocess

from harness import check, read_text, wait_for, write_text

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
    """A master of its own, which ends with the environment. `more`: lines of its pool."""

    def __init__(self, env, children=2, more=""):
        self.socket = env.path("fpm.sock")
        self.path = env.path("fpm.log")
        conf = write_text(env.path("fpm.conf"), f"""[global]
error_log = {self.path}
daemonize = no
[pool]
user = {OWNER}
listen = {self.socket}
listen.owner = {OWNER}
pm = static
pm.max_children = {children}
php_admin_value[opcache.enable] = 1
php_admin_value[opcache.validate_timestamps] = 0
php_admin_value[opcache.file_update_protection] = 0
{more}
""")
        self.process = env.spawn([find_fpm(), "-F", "-R", "-y", conf], stderr=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.socket), self.log)

    def log(self):
        return read_text(self.path)
