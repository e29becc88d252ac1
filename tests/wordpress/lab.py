"""A real WordPress on two servers, on one machine: MariaDB, and for each server a PHP-FPM and an nginx
of its own, over two document roots of which mirrord keeps the second equal to the first. What belongs
to WordPress is asked of shell.php, which runs inside it.

Everything is private: processes of the environment (see harness.py), sockets and files beneath its
directory, free ports of 127.0.0.1. Nothing of the machine's own services is touched.
"""

import glob
import grp
import http.client
import json
import os
import pwd
import shutil
import subprocess
import sys
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))

from harness import Skip, check, free_port, read_text, wait_for, write_text  # noqa: E402

USER = "www-data"
SOURCE = "/usr/share/wordpress"
EXAMPLES = os.path.join(HERE, "../../examples")
PASSWORD = "a throwaway one"


def newest(pattern):
    found = sorted(glob.glob(pattern))
    return found[-1] if found else None


def tools():
    """The programs, each the newest there is."""
    found = {
        "fpm": newest("/usr/sbin/php-fpm[0-9]*"),
        "php": newest("/usr/bin/php[0-9]*.[0-9]*"),
        "nginx": shutil.which("nginx") or newest("/usr/sbin/nginx"),
        "mariadbd": shutil.which("mariadbd") or newest("/usr/sbin/mariadbd"),
        "install": shutil.which("mariadb-install-db"),
    }
    missing = [name for name, path in found.items() if not path]
    if not os.path.exists(f"{SOURCE}/wp-load.php"):
        missing.append("wordpress")
    if missing or os.geteuid() != 0:
        raise Skip(f"not here: {', '.join(missing) or 'root'} (sh tests/wordpress/run.sh installs)")
    return found


def give(path, user=USER):
    """The path and what is beneath it belongs to the user."""
    subprocess.run(["chown", "-R", f"{user}:{user}", path], check=True)


class Database:
    """MariaDB on a socket, without a network and without care for power loss."""

    def __init__(self, env, tool):
        self.dir = env.path("database")
        self.socket = f"{self.dir}/sock"
        os.mkdir(self.dir)
        shutil.chown(self.dir, "mysql", "mysql")
        common = ["--no-defaults", f"--datadir={self.dir}", "--user=mysql"]
        env.run(tool["install"], *common, "--auth-root-authentication-method=normal",
                "--skip-test-db")
        self.log = env.path("database.log")
        with open(self.log, "wb") as log:
            self.process = env.spawn(
                [tool["mariadbd"], *common, f"--socket={self.dir}/sock", "--skip-networking",
                 "--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0",
                 "--innodb-use-native-aio=0", f"--pid-file={self.dir}/pid"],
                stdout=log, stderr=log)
        wait_for(lambda: "ready for connections" in read_text(self.log),
                 lambda: f"the database is up\n{read_text(self.log)}", 60)
        env.run("mariadb", "--no-defaults", f"--socket={self.socket}", "-uroot", "-e",
                f"CREATE DATABASE wp; CREATE USER 'wp'@'localhost' IDENTIFIED BY '{PASSWORD}';"
                "GRANT ALL ON wp.* TO 'wp'@'localhost'")


class Server:
    """One web server: a root, its PHP-FPM (an opcache of its own) and its nginx. With a gate its
    requests can be held."""

    def __init__(self, lab, name, root, gate=False):
        self.lab, self.name, self.root = lab, name, root
        self.dir = lab.env.path(f"web-{name}")
        os.mkdir(self.dir)
        give(self.dir)
        self.socket = f"{self.dir}/fpm.sock"
        self.port = free_port()
        self.gate = f"{self.dir}/gate" if gate else None
        if gate:
            os.mkdir(self.gate, 0o700)
            give(self.gate)
        self.fpm = None
        self.start_fpm({})
        self._start_nginx()

    def start_fpm(self, opcache):
        """Anew, with an empty opcache of these settings."""
        if self.fpm:
            self.fpm.terminate()
            self.fpm.wait()
            if os.path.exists(self.socket):
                os.unlink(self.socket)
        config = write_text(f"{self.dir}/fpm.conf", "\n".join([
            "[global]", "daemonize = no", f"error_log = {self.dir}/fpm.log",
            "[www]", f"user = {USER}", f"group = {USER}", f"listen = {self.socket}",
            f"listen.owner = {USER}", "listen.mode = 0600", "pm = static", "pm.max_children = 4",
            "catch_workers_output = yes",
            f"php_admin_value[error_log] = {self.dir}/php.log",
            "php_admin_flag[log_errors] = on", "php_admin_flag[display_errors] = on",
            f"php_admin_value[upload_tmp_dir] = {self.lab.tmp}",
            "php_admin_value[upload_max_filesize] = 64M", "php_admin_value[post_max_size] = 64M",
            "php_admin_value[memory_limit] = 512M", *([
                f"env[MIRRORD_GATE] = {self.gate}",
                f"php_admin_value[auto_prepend_file] = {self.lab.lib}/gate.php",
            ] if self.gate else []), ""]), 0o644)
        options = [a for k, v in opcache.items() for a in ("-d", f"opcache.{k}={v}")]
        with open(f"{self.dir}/fpm.out", "wb") as log:
            self.fpm = self.lab.env.spawn(
                [self.lab.tool["fpm"], "-F", "-R", "-y", config, *options], stdout=log, stderr=log)
        wait_for(lambda: os.path.exists(self.socket),
                 lambda: f"PHP-FPM listens\n{read_text(self.dir + '/fpm.out')}")

    def _start_nginx(self):
        config = write_text(f"{self.dir}/nginx.conf", f"""
daemon off; pid {self.dir}/nginx.pid; user {USER}; worker_processes 1; error_log {self.dir}/error.log;
events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types; access_log off; client_max_body_size 64m;
  client_body_temp_path {self.dir}/body; proxy_temp_path {self.dir}/proxy;
  fastcgi_temp_path {self.dir}/fastcgi; uwsgi_temp_path {self.dir}/uwsgi;
  scgi_temp_path {self.dir}/scgi;
  server {{
    listen 127.0.0.1:{self.port}; root {self.root}; index index.php;
    location / {{ try_files $uri $uri/ /index.php?$args; }}
    location /wp-content/uploads/ {{ try_files $uri =404; }}
    location ~ \\.php$ {{
      include /etc/nginx/fastcgi_params; fastcgi_pass unix:{self.socket};
      fastcgi_param SCRIPT_FILENAME $document_root$fastcgi_script_name; fastcgi_read_timeout 120;
    }}
  }}
}}
""", 0o644)
        with open(f"{self.dir}/nginx.out", "wb") as log:
            self.nginx = self.lab.env.spawn([self.lab.tool["nginx"], "-c", config], stdout=log,
                                            stderr=log)
        wait_for(lambda: self._answers(),
                 lambda: f"nginx answers\n{read_text(self.dir + '/nginx.out')}")

    def _answers(self):
        try:
            self.get("/wp-includes/css/buttons.css")
            return True
        except OSError:
            return False

    def get(self, path, headers=None):
        """(status, body)."""
        return self.request("GET", path, None, headers)

    def request(self, method, path, body=None, headers=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            # Both servers are one site: the same name in front of both.
            c.request(method, path, body, {"Host": "shop.example", **(headers or {})})
            r = c.getresponse()
            return r.status, r.read()
        finally:
            c.close()

    def log(self):
        return "".join(read_text(f"{self.dir}/{n}")[-3000:]
                       for n in ("php.log", "fpm.log", "error.log"))


class Lab:
    """Both servers, with WordPress installed."""

    def __init__(self, env):
        self.env, self.tool = env, tools()
        os.chmod(env.dir, 0o711)
        self.tmp = env.path("tmp")
        os.mkdir(self.tmp)
        os.chmod(self.tmp, 0o1777)
        self.lib = env.path("lib")
        shutil.copytree(f"{EXAMPLES}/php-fpm", self.lib)
        self.roots = [env.path("primary", "htdocs"), env.path("secondary", "htdocs")]
        self.database = Database(env, self.tool)
        self._unpack()
        os.makedirs(os.path.dirname(self.roots[1]))
        os.mkdir(self.roots[1])  # for nginx to start; mirrord fills it
        give(self.roots[1])
        self.primary = Server(self, "primary", self.roots[0])
        self.secondary = Server(self, "secondary", self.roots[1], gate=True)
        self.shell("install")

    def _unpack(self):
        """As a zip would have it: Debian's symbolic links are followed."""
        root = self.roots[0]
        os.makedirs(os.path.dirname(root))
        subprocess.run(["cp", "-rL", SOURCE, root], check=True)
        content = f"{root}/wp-content"
        if not os.path.isdir(f"{content}/themes"):
            subprocess.run(["cp", "-rL", "/var/lib/wordpress/wp-content/.", content], check=True)
        for name in ("plugins", "uploads", "upgrade", "mu-plugins", "languages"):
            os.makedirs(f"{content}/{name}", exist_ok=True)
        shutil.copy(f"{EXAMPLES}/wordpress/mirrord-barrier.php", f"{content}/mu-plugins/")
        write_text(f"{root}/wp-config.php", self._config(), 0o640)
        give(root)

    def _config(self):
        salts = "".join(f"define('{n}', '{n} of a test');\n" for n in (
            "AUTH_KEY", "SECURE_AUTH_KEY", "LOGGED_IN_KEY", "NONCE_KEY", "AUTH_SALT",
            "SECURE_AUTH_SALT", "LOGGED_IN_SALT", "NONCE_SALT"))
        return f"""<?php
define('DB_NAME', 'wp'); define('DB_USER', 'wp'); define('DB_PASSWORD', '{PASSWORD}');
define('DB_HOST', 'localhost:{self.database.socket}'); define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
{salts}define('WP_HOME', 'http://shop.example'); define('WP_SITEURL', 'http://shop.example');
define('WP_ENVIRONMENT_TYPE', 'local'); define('FS_METHOD', 'direct');
define('DISABLE_WP_CRON', true); define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('MIRRORD_SITES', '{self.env.path("sites")}'); define('MIRRORD_SECONDS', 60);
$table_prefix = 'wp_';
if (!defined('ABSPATH')) define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
"""

    def shell(self, operation, *arguments, root=None):
        """What an administrator does, by WordPress's own code, as the site's user. Returns what
        shell.php printed."""
        def as_user():
            os.setgroups([])
            os.setgid(grp.getgrnam(USER).gr_gid)
            os.setuid(pwd.getpwnam(USER).pw_uid)
        p = self.env.spawn(
            [self.tool["php"], "-d", "memory_limit=512M", "-d", f"sys_temp_dir={self.tmp}",
             f"{HERE}/shell.php", root or self.roots[0], operation, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=as_user,
            environ={"HOME": self.tmp, "TMPDIR": self.tmp})
        out, err = p.communicate(timeout=240)
        check(p.returncode == 0, f"shell.php {operation}: {p.returncode}\n",
              out.decode(errors="replace")[-3000:], err.decode(errors="replace")[-3000:])
        return json.loads(out.decode().splitlines()[-1])

    def login(self):
        """Logs an administrator in; the cookies are good on both servers."""
        body = urllib.parse.urlencode({"log": "admin", "pwd": PASSWORD, "testcookie": "1"})
        c = http.client.HTTPConnection("127.0.0.1", self.primary.port, timeout=60)
        c.request("POST", "/wp-login.php", body, {
            "Host": "shop.example", "Content-Type": "application/x-www-form-urlencoded",
            "Cookie": "wordpress_test_cookie=WP+Cookie+check"})
        r = c.getresponse()
        r.read()
        cookies = [v.split(";")[0] for k, v in r.getheaders() if k.lower() == "set-cookie"]
        c.close()
        check(r.status == 302, "the log-in", r.status, self.primary.log())
        return {"Cookie": "; ".join(cookies)}

    def upload(self, name, data, cookies):
        """By the media library's form, through nginx and PHP-FPM. The attachment's number."""
        mark = "----mirrord-test"
        nonce = self.nonce("media-form", cookies)
        parts = b""
        for key, value in (("name", name), ("action", "upload-attachment"), ("_wpnonce", nonce)):
            parts += (f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'
                      f"{value}\r\n").encode()
        parts += (f'--{mark}\r\nContent-Disposition: form-data; name="async-upload"; '
                  f'filename="{name}"\r\nContent-Type: image/jpeg\r\n\r\n').encode()
        parts += data + f"\r\n--{mark}--\r\n".encode()
        status, body = self.primary.request("POST", "/wp-admin/async-upload.php", parts, {
            **cookies, "Content-Type": f"multipart/form-data; boundary={mark}"})
        check(status == 200, "the upload", status, body[:2000], self.primary.log())
        answer = json.loads(body)
        check(answer.get("success"), answer)
        return answer["data"]["id"]

    def nonce(self, action, cookies):
        status, body = self.primary.get(
            "/wp-admin/media-new.php", cookies)
        check(status == 200, "media-new.php", status, body[:1000], self.primary.log())
        text = body.decode(errors="replace")
        marker = '"_wpnonce":"'
        check(marker in text, f"no nonce of {action} in", text[-2000:])
        return text.split(marker)[1].split('"')[0]
