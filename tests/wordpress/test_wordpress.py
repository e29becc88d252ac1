"""mirrord under a real WordPress: what administrators do on the primary, by WordPress's own code, and
what visitors of the secondary are answered meanwhile and after. LONG=1 is the long form: a plugin of
1,500 files and 50 updates for each setting of opcache."""

import hashlib
import os
import subprocess
import threading

from lab import Lab, tools  # first: it makes the way to the harness
from harness import case, check, check_equal, main, wait_for
from plugin import MAIN, Visitors, make_language, make_theme, make_zip

LONG = bool(os.environ.get("LONG"))
UPDATES = int(os.environ.get("WP_UPDATES", 50 if LONG else 3))
FILES = int(os.environ.get("WP_FILES", 1500 if LONG else 300))
INCLUDED = 120
PICTURE = """$i = imagecreatetruecolor(2000, 1500); mt_srand(7);
for ($k = 0; $k < 2000; $k++)
    imagefilledrectangle($i, mt_rand(0, 2000), mt_rand(0, 1500), mt_rand(0, 2000), mt_rand(0, 1500),
        mt_rand(0, 1 << 24));
imagejpeg($i, $argv[1], 85);"""


class Mirrored(Lab):
    """The lab with mirrord between its servers, and what is shipped for WordPress: on the secondary the
    commands around a switch and after a commit; on the primary the must-use plugin, by which an
    administrator's request ends when the secondary has what it did. The limits are long: what is
    tested is not how fast this machine is."""

    def __init__(self, env, opcache=None):
        super().__init__(env, opcache)
        socket = self.secondary.socket
        options = (f'on-commit = "{self.lib}/mirrord-opcache {socket}" on-commit-user = www-data '
                   f'on-switch = "{self.lib}/mirrord-gate {socket} 25" on-switch-timeout = 30s')
        at = f'at web2 {{ root = "{self.roots[1]}" {options} }}'
        self.config = env.config(
            f'site "shop" {{ root = "{self.roots[0]}" primary = web1 hosts = {{web1, web2}}\n'
            f'  preset = wordpress\n  {at} }}\n', ("web1", "web2"))
        env.mirrord("resync", "-c", self.config, "--as", "web1", "--adopt", "shop")
        self.daemon = env.daemon(self.config)
        self.daemon.flush()

    def end(self):
        """Both commands worked all the time, and nobody waited in vain."""
        target = self.daemon.status()["sites"][0]["secondaries"][0]
        check_equal(target["hook"]["failures"], 0, target)
        check("mirrord:" not in self.primary.log(), self.primary.log())
        self.daemon.stop()

    def same(self, paths):
        """The secondary serves these files over HTTP as the primary has them."""
        for path in paths:
            with open(f"{self.roots[0]}/{path}", "rb") as f:
                wanted = f.read()
            status, body = self.secondary.get(f"/{path}")
            check(status == 200 and hashlib.sha256(body).digest() == hashlib.sha256(wanted).digest(),
                  path, status, len(body), "bytes, expected", len(wanted))

    def zip(self, name, make, *arguments):
        path = os.path.join(self.tmp, name)
        make(path, *arguments)
        os.chmod(path, 0o644)
        return path


def picture(lab):
    path = os.path.join(lab.tmp, "cat.jpg")
    subprocess.run([tools()["php"], "-r", PICTURE, path], check=True)
    with open(path, "rb") as f:
        return f.read()


@case
def test_media(env):
    """A picture and its sizes are on the secondary when the upload's request ends, edited ones too;
    deleted ones are gone."""
    lab = Mirrored(env)
    number = lab.upload("cat.jpg", picture(lab), lab.login())
    files = lab.shell("files", number)
    check(len(files) > 4, files)
    lab.same(files)
    edited = lab.shell("rotate", number)
    check(not set(files) & set(edited), edited)
    lab.same(edited)
    lab.shell("delete-media", number)
    for path in files + edited:
        check_equal(lab.secondary.get(f"/{path}")[0], 404, path)
    lab.end()


def shows(server, version):
    check_equal(server.get("/?shop=1"), (200, b'{"%d":%d}' % (version, INCLUDED + 1)))


class Administrator:
    """Has the secondary's plugins page open, and reloads it all the time. WordPress deactivates there,
    in the shared database, whatever plugin it does not find."""

    def __init__(self, server, cookies):
        self.server, self.cookies, self.pages, self.wrong = server, cookies, 0, []
        self.ending = False
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self):
        while not self.ending:
            status, body = self.server.get("/wp-admin/plugins.php", self.cookies)
            self.pages += 1
            if status != 200 or b"has been deactivated" in body:
                self.wrong.append(f"{status}: {body[:2000]!r}")

    def end(self):
        self.ending = True
        self.thread.join(130)
        check(self.pages > 1 and not self.wrong, self.pages, "pages", self.wrong[:2])


@case
def test_life_of_a_plugin(env):
    """Installed, active, updated, deleted; a theme and a language pack. The secondary's plugins page
    never puts a plugin out of use because its files are not there."""
    lab = Mirrored(env)
    cookies = lab.login()
    lab.shell("install-plugin", lab.zip("1.zip", make_zip, 1, FILES, INCLUDED))
    lab.shell("activate", MAIN)
    check_equal(lab.secondary.get("/wp-admin/plugins.php", cookies)[0], 200)
    check_equal(lab.shell("active"), [MAIN])
    shows(lab.secondary, 1)
    administrator = Administrator(lab.secondary, cookies)
    lab.shell("update-plugin", MAIN, lab.zip("2.zip", make_zip, 2, FILES, INCLUDED))
    shows(lab.secondary, 2)
    administrator.end()
    check_equal(lab.shell("active"), [MAIN])
    lab.shell("delete-plugin", MAIN)
    check(not os.path.exists(f"{lab.roots[1]}/wp-content/plugins/shop"), "the plugin is there")
    lab.shell("install-theme", lab.zip("plain1.zip", make_theme, 1))
    lab.shell("update-theme", "plain", lab.zip("plain2.zip", make_theme, 2))
    lab.shell("install-language", lab.zip("de.zip", make_language), "de_DE")
    lab.same(["wp-content/themes/plain/style.css", "wp-content/languages/de_DE.po"])
    check(b"Version: 2.0" in lab.secondary.get("/wp-content/themes/plain/style.css")[1])
    lab.end()


def visited_updates(env, opcache):
    """No page has files of two versions, nor fails; and a page that is asked for after an update's
    request has ended has the new version."""
    lab = Mirrored(env, opcache)
    lab.shell("install-plugin", lab.zip("v.zip", make_zip, 1, FILES, INCLUDED))
    lab.shell("activate", MAIN)
    shows(lab.secondary, 1)
    visitors = Visitors(lab.secondary)
    for version in range(2, 2 + UPDATES):
        visitors.settled = 0
        lab.shell("update-plugin", MAIN, lab.zip("v.zip", make_zip, version, FILES, INCLUDED))
        visitors.settled = version
        shows(lab.secondary, version)
        seen = visitors.pages
        wait_for(lambda: visitors.pages > seen + 8, "some more pages", 60)
    visitors.end()
    print(f"# {visitors.pages} pages during {UPDATES} updates of {FILES} files: "
          f"{len(visitors.mixed)} mixed, {len(visitors.wrong)} wrong; the slowest took "
          f"{visitors.slowest:.1f} s", flush=True)
    check(not visitors.wrong and not visitors.mixed, "\n".join(visitors.wrong[:20]),
          "\n".join(visitors.mixed[:20]), lab.secondary.log())
    lab.end()


@case
def test_updates_while_opcache_never_looks(env):
    visited_updates(env, {"validate_timestamps": 0})


@case
def test_updates_while_opcache_always_looks(env):
    visited_updates(env, {"revalidate_freq": 0})


@case
def test_updates_while_opcache_looks_at_times(env):
    visited_updates(env, {})


main()
