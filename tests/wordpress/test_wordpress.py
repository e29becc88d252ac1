"""mirrord under a real WordPress: what administrators do on the primary, by WordPress's own code, and
what visitors of the secondary are answered meanwhile and after. LONG=1 is the long form: a plugin of
1,500 files and 50 updates for each setting of opcache."""

import glob
import hashlib
import os
import shutil
import subprocess

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
    """The lab with mirrord between its servers, and the shipped command after a commit, which tells
    the secondary's PHP what changed."""

    def __init__(self, env, opcache=None):
        super().__init__(env, opcache)
        hook = env.path("hook")
        shutil.copytree(f"{os.path.dirname(os.path.abspath(__file__))}/../../examples/php-fpm", hook)
        options = (f'on-commit = "{hook}/mirrord-opcache {self.secondary.socket}" '
                   'on-commit-user = www-data')
        at = f'at web2 {{ root = "{self.roots[1]}" {options} }}'
        self.config = env.config(
            f'site "shop" {{ root = "{self.roots[0]}" primary = web1 hosts = {{web1, web2}}\n'
            f'  preset = wordpress\n  {at} }}\n', ("web1", "web2"))
        env.mirrord("resync", "-c", self.config, "--as", "web1", "--adopt", "shop")
        self.daemon = env.daemon(self.config)

    def barrier(self):
        self.daemon.flush()

    def told(self):
        """The command after the last commit is through: nothing is due any more."""
        notes = glob.glob(f"{self.env.path('state-web2')}/**/on-commit", recursive=True)
        return notes and not any(os.path.getsize(n) for n in notes)

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
    """A picture and its sizes are on the secondary when the barrier says so, edited ones too; deleted
    ones are gone."""
    lab = Mirrored(env)
    number = lab.upload("cat.jpg", picture(lab), lab.login())
    lab.barrier()
    files = lab.shell("files", number)
    check(len(files) > 4, files)
    lab.same(files)
    edited = lab.shell("rotate", number)
    check(not set(files) & set(edited), edited)
    lab.barrier()
    lab.same(edited)
    lab.shell("delete-media", number)
    lab.barrier()
    for path in files + edited:
        check_equal(lab.secondary.get(f"/{path}")[0], 404, path)
    lab.daemon.stop()


@case
def test_life_of_a_plugin(env):
    """Installed, active, updated, deleted; a theme and a language pack. The secondary's plugins page
    never puts a plugin out of use because its files are not there."""
    lab = Mirrored(env)
    cookies = lab.login()
    lab.shell("install-plugin", lab.zip("1.zip", make_zip, 1, FILES, INCLUDED))
    lab.barrier()
    lab.shell("activate", MAIN)
    check_equal(lab.secondary.get("/wp-admin/plugins.php", cookies)[0], 200)
    check_equal(lab.shell("active"), [MAIN])
    check_equal(lab.secondary.get("/?shop=1"), (200, b'{"1":%d}' % (INCLUDED + 1)))
    lab.shell("update-plugin", MAIN, lab.zip("2.zip", make_zip, 2, FILES, INCLUDED))
    check_equal(lab.secondary.get("/wp-admin/plugins.php", cookies)[0], 200)
    lab.barrier()
    check_equal(lab.shell("active"), [MAIN])
    wait_for(lambda: lab.secondary.get("/?shop=1") == (200, b'{"2":%d}' % (INCLUDED + 1)),
             lambda: f"version 2: {lab.secondary.get('/?shop=1')}")
    lab.shell("delete-plugin", MAIN)
    lab.barrier()
    check(not os.path.exists(f"{lab.roots[1]}/wp-content/plugins/shop"), "the plugin is there")
    lab.shell("install-theme", lab.zip("plain1.zip", make_theme, 1))
    lab.shell("update-theme", "plain", lab.zip("plain2.zip", make_theme, 2))
    lab.shell("install-language", lab.zip("de.zip", make_language), "de_DE")
    lab.barrier()
    lab.same(["wp-content/themes/plain/style.css", "wp-content/languages/de_DE.po"])
    check(b"Version: 2.0" in lab.secondary.get("/wp-content/themes/plain/style.css")[1])
    lab.daemon.stop()


def shows(server, version):
    return server.get("/?shop=1") == (200, b'{"%d":%d}' % (version, INCLUDED + 1))


def visited_updates(env, opcache):
    """A page that is asked for after an update has reached the secondary, and PHP there was told, has
    the new version and nothing else, until the next update begins."""
    lab = Mirrored(env, opcache)
    lab.shell("install-plugin", lab.zip("v.zip", make_zip, 1, FILES, INCLUDED))
    lab.shell("activate", MAIN)
    lab.barrier()
    visitors = Visitors(lab.secondary)
    for version in range(2, 2 + UPDATES):
        visitors.settled = 0
        lab.shell("update-plugin", MAIN, lab.zip("v.zip", make_zip, version, FILES, INCLUDED))
        lab.barrier()
        wait_for(lambda: shows(lab.secondary, version), f"version {version} is served")
        wait_for(lambda: lab.told(), "the command has run")
        visitors.settled = version
        seen = visitors.pages
        wait_for(lambda: visitors.pages > seen + 8, "some more pages")
    visitors.end()
    print(f"# {visitors.pages} pages during {UPDATES} updates of {FILES} files, "
          f"{len(visitors.mixed)} were made during a switch and mixed, {len(visitors.wrong)} wrong")
    check(not visitors.wrong, "\n".join(visitors.wrong[:20]), lab.secondary.log())
    lab.daemon.stop()


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
