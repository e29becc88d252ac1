"""mirrord under a real WordPress: what administrators do on the primary, by WordPress's own code, and
what visitors of the secondary are answered meanwhile and after. All cases share one pair of servers.
LONG=1 is the long form: 50 updates instead of a few for each setting of opcache."""

import hashlib
import os
import subprocess
import threading

from lab import Lab, tools  # first: it makes the way to the harness
from harness import Env, case, check, check_equal, main, wait_for
from plugin import MAIN, Visitors, make_language, make_theme, make_zip

UPDATES = int(os.environ.get("WP_UPDATES", 50 if os.environ.get("LONG") else 2))
FILES, INCLUDED = 1500, 120
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

    shared = None

    @classmethod
    def get(cls):
        """The one of all cases, with nothing under way."""
        tools()
        if not cls.shared:
            cls.shared = cls(Env())
        cls.shared.daemon.flush("--hook")
        return cls.shared

    def __init__(self, env):
        super().__init__(env)
        self.version = 0  # of the plugin
        socket = self.secondary.socket
        options = (f'on-commit = "{self.lib}/mirrord-opcache {socket}" on-commit-user = www-data '
                   f'on-switch = "{self.lib}/mirrord-gate {socket} 25" on-switch-timeout = 30s')
        at = f'at web2 {{ root = "{self.roots[1]}" {options} }}'
        self.config = env.config(
            f'site "shop" {{ root = "{self.roots[0]}" primary = web1 hosts = {{web1, web2}}\n'
            f'  preset = wordpress\n  {at} }}\n', ("web1", "web2"))
        env.mirrord("resync", "-c", self.config, "--as", "web1", "--adopt", "shop")
        self.daemon = env.daemon(self.config)

    def all_went_well(self):
        """Both commands worked all the time, and nobody waited in vain."""
        target = self.daemon.status()["sites"][0]["secondaries"][0]
        check_equal(target["hook"]["failures"], 0, target)
        check("mirrord:" not in self.primary.log(), self.primary.log())

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

    def next_plugin(self):
        """A zip of the plugin's next version."""
        self.version += 1
        return self.zip("v.zip", make_zip, self.version, FILES, INCLUDED)

    def install_plugin(self):
        """Unless it is."""
        if self.shell("active") == [MAIN]:
            return
        self.shell("install-plugin", self.next_plugin())
        self.shell("activate", MAIN)
        self.shows_it()

    def update_plugin(self):
        self.shell("update-plugin", MAIN, self.next_plugin())

    def shows_it(self):
        """The secondary's page has the version, and no file of another one."""
        wanted = b'{"%d":%d}' % (self.version, INCLUDED + 1)
        check_equal(self.secondary.get("/?shop=1"), (200, wanted))


def picture(lab):
    path = os.path.join(lab.tmp, "cat.jpg")
    subprocess.run([tools()["php"], "-r", PICTURE, path], check=True)
    with open(path, "rb") as f:
        return f.read()


@case(env=False)
def test_media():
    """A picture and its sizes are on the secondary when the upload's request ends, edited ones too;
    deleted ones are gone."""
    lab = Mirrored.get()
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
    lab.all_went_well()


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


@case(env=False)
def test_life_of_a_plugin():
    """Installed, active, updated, deleted; a theme and a language pack. The secondary's plugins page
    never puts a plugin out of use because its files are not there."""
    lab = Mirrored.get()
    cookies = lab.login()
    lab.install_plugin()
    check_equal(lab.secondary.get("/wp-admin/plugins.php", cookies)[0], 200)
    check_equal(lab.shell("active"), [MAIN])
    administrator = Administrator(lab.secondary, cookies)
    lab.update_plugin()
    lab.shows_it()
    administrator.end()
    check_equal(lab.shell("active"), [MAIN])
    lab.shell("delete-plugin", MAIN)
    check(not os.path.exists(f"{lab.roots[1]}/wp-content/plugins/shop"), "the plugin is there")
    lab.shell("install-theme", lab.zip("plain1.zip", make_theme, 1))
    lab.shell("update-theme", "plain", lab.zip("plain2.zip", make_theme, 2))
    lab.shell("install-language", lab.zip("de.zip", make_language), "de_DE")
    lab.same(["wp-content/themes/plain/style.css", "wp-content/languages/de_DE.po"])
    check(b"Version: 2.0" in lab.secondary.get("/wp-content/themes/plain/style.css")[1])
    lab.all_went_well()


def visited_updates(opcache):
    """No page has files of two versions, nor fails; and a page that is asked for after an update's
    request has ended has the new version."""
    lab = Mirrored.get()
    lab.secondary.start_fpm(opcache)
    lab.install_plugin()
    lab.shows_it()
    visitors = Visitors(lab.secondary)
    for _ in range(UPDATES):
        visitors.settled = 0
        lab.update_plugin()
        visitors.settled = lab.version
        lab.shows_it()
        seen = visitors.pages
        wait_for(lambda: visitors.pages > seen + 8, "some more pages", 60)
    visitors.end()
    print(f"# {visitors.pages} pages during {UPDATES} updates of {FILES} files: "
          f"{len(visitors.mixed)} mixed, {len(visitors.wrong)} wrong; the slowest took "
          f"{visitors.slowest:.1f} s", flush=True)
    check(not visitors.wrong and not visitors.mixed, "\n".join(visitors.wrong[:20]),
          "\n".join(visitors.mixed[:20]), lab.secondary.log())
    lab.all_went_well()


@case(env=False)
def test_updates_while_opcache_never_looks():
    visited_updates({"validate_timestamps": 0})


@case(env=False)
def test_updates_while_opcache_always_looks():
    visited_updates({"revalidate_freq": 0})


@case(env=False)
def test_updates_while_opcache_looks_at_times():
    visited_updates({})


@case(env=False)
def test_site_health_and_the_end():
    """Site Health says that all is level, and nothing is left when it ends."""
    lab = Mirrored.get()
    said = lab.shell("health")
    check_equal(said["status"], "good", said)
    check("<li>web2: level</li>" in said["description"], said)
    Mirrored.shared = None
    lab.daemon.stop()
    lab.env.settle()
    lab.env.close()


main()
