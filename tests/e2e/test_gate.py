"""Pages of a real PHP-FPM while a unit is switched: with the shipped command around the switch none has
files of two versions, nor an old one after the barrier; without it, some do. Its opcache never looks at
files."""

import os
import shutil
import threading
import time

from fpm import EXAMPLES, OWNER, Fpm, fastcgi
from harness import MIRRORD, ROOT, Skip, case, check, check_equal, main, read_text, wait_for, \
    write_text
from pair import Pair
from trees import put

PRESET = "preset = wordpress settle = 100ms"
PLUGIN = "wp-content/plugins/three"
PAGE = f"""<?php
include '{PLUGIN}/a.php';
usleep(20000);
include '{PLUGIN}/b.php';
include '{PLUGIN}/c.php';
"""
VISITORS = 4
SWITCHES = 8
SWITCHES_MAX = 60  # until a page was mixed, without the gate


def make_version(src, version):
    """As WordPress does it: the old directory goes, the new one comes."""
    new = f"{src}/wp-content/upgrade/three"
    for name in "abc":
        put(f"{new}/{name}.php", b"<?php echo '%d ';" % version)
    if os.path.exists(f"{src}/{PLUGIN}"):
        shutil.rmtree(f"{src}/{PLUGIN}")
    os.makedirs(f"{src}/wp-content/plugins", exist_ok=True)
    os.rename(new, f"{src}/{PLUGIN}")


class Visitors:
    """They ask for the page, over and over. What they may never see is collected."""

    def __init__(self, socket, page):
        self.socket, self.page = socket, page
        self.settled = 0  # pages asked for from now on have this version; 0: one or the other
        self.pages, self.mixed, self.wrong = 0, [], []
        self.ending, self.lock = False, threading.Lock()
        self.threads = [threading.Thread(target=self.visit, daemon=True) for _ in range(VISITORS)]
        for t in self.threads:
            t.start()

    def visit(self):
        while not self.ending:
            settled = self.settled
            try:
                said = fastcgi(self.socket, self.page)
            except (OSError, ValueError) as error:
                said = repr(error)
            with self.lock:
                self.judge(settled if settled == self.settled else 0, said)

    def judge(self, settled, said):
        self.pages += 1
        versions = said.split()
        if len(versions) != 3 or not all(v.isdigit() for v in versions):
            self.wrong.append(said[:300])
        elif len(set(versions)) > 1:
            self.mixed.append(said)
        elif settled and versions[0] != str(settled):
            self.wrong.append(f"{said} although all was {settled} before")

    def some_more(self):
        seen = self.pages
        wait_for(lambda: self.pages > seen + VISITORS, "some more pages")

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join(60)
            check(not t.is_alive(), "a visitor waits for its page")


class Mirrored:
    """A pair whose secondary is served by PHP-FPM."""

    def __init__(self, env):
        if not ROOT:
            raise Skip("needs root, for a pool of another user")
        os.chmod(env.dir, 0o755)
        self.env, self.version, self.said = env, 1, env.path("receiver.log")
        self.lib = env.path("lib")
        shutil.copytree(EXAMPLES, self.lib)
        gate = env.path("gate")
        os.mkdir(gate, 0o700)
        shutil.chown(gate, OWNER)
        self.fpm = Fpm(env, VISITORS + 2, "\n".join([
            f"env[MIRRORD_GATE] = {gate}",
            f"php_admin_value[auto_prepend_file] = {self.lib}/gate.php"]))
        self.pair = Pair(env, secondaries=1, options=PRESET, start=False, fill=self.fill,
                         leave_out=lambda path: path.startswith(b"wp-content/upgrade"))
        shutil.chown(self.pair.src, OWNER)
        self.text = read_text(self.pair.config)

    @staticmethod
    def fill(src):
        put(f"{src}/page.php", PAGE.encode())
        make_version(src, 1)

    def start(self, more):
        """With the command after a commit, and more."""
        hook = f'{PRESET} on-commit = "{self.lib}/mirrord-opcache {self.fpm.socket}" {more}'
        theirs = write_text(self.env.path("theirs.conf"), self.text.replace(PRESET, hook))
        self.env.far_end("web2", f"exec '{MIRRORD}' receive -v -c '{theirs}' --as web2 "
                                 f"--state-dir '{self.env.path('state-web2')}' 2>>'{self.said}'")
        self.pair.restart()
        self.pair.flushed()

    def page(self):
        return f"{self.pair.dests[0]}/page.php"

    def update(self, visitors=None):
        if visitors:
            visitors.settled = 0
        self.version += 1
        make_version(self.pair.src, self.version)
        self.pair.flushed()

    def explain(self):
        return f"{self.pair.daemon.text()[-2000:]}\n{read_text(self.said)[-2000:]}\n{self.fpm.log()[-2000:]}"


@case
def test_no_page_is_mixed(env):
    m = Mirrored(env)
    m.start(f'on-switch = "{m.lib}/mirrord-gate {m.fpm.socket} 10" on-switch-timeout = 25s')
    wait_for(lambda: fastcgi(m.fpm.socket, m.page()) == "1 1 1 ", "the page")
    visitors = Visitors(m.fpm.socket, m.page())
    for _ in range(SWITCHES):
        visitors.some_more()
        m.update(visitors)
        visitors.settled = m.version
        check_equal(fastcgi(m.fpm.socket, m.page()), f"{m.version} " * 3, m.explain())
    visitors.some_more()
    visitors.end()
    target = m.pair.daemon.status()["sites"][0]["secondaries"][0]
    check_equal(target["hook"]["failures"], 0, target)
    check(not visitors.mixed and not visitors.wrong, len(visitors.mixed), "of", visitors.pages,
          "mixed:", visitors.mixed[:5], visitors.wrong[:5], m.explain())


@case
def test_some_are_without_it(env):
    """The control: the same pages, the same switches."""
    m = Mirrored(env)
    m.start("")
    wait_for(lambda: fastcgi(m.fpm.socket, m.page()) == "1 1 1 ", "the page")
    visitors = Visitors(m.fpm.socket, m.page())
    for _ in range(SWITCHES_MAX):
        visitors.some_more()
        m.update()
        wait_for(lambda: fastcgi(m.fpm.socket, m.page()) == f"{m.version} " * 3, "the new version")
        if visitors.mixed:
            break
    visitors.end()
    check(visitors.mixed and not visitors.wrong, visitors.pages, visitors.wrong[:5], m.explain())


@case
def test_a_page_that_takes_too_long(env):
    """It is not waited for, and the others are not mixed all the same; the secondary says so."""
    m = Mirrored(env)
    go, begun = env.path("go"), env.path("begun")
    slow = write_text(env.path("slow.php"), f"<?php touch('{begun}'); "
                      f"for ($i = 0; $i < 3000 && !file_exists('{go}'); $i++) {{ usleep(10000); "
                      "clearstatcache(); } echo 'slow';", 0o644)
    write_text(begun, "")
    os.remove(begun)
    os.chmod(env.dir, 0o777)
    m.start(f'on-switch = "{m.lib}/mirrord-gate {m.fpm.socket} 0.3" on-switch-timeout = 25s')
    said = []
    visit = threading.Thread(target=lambda: said.append(fastcgi(m.fpm.socket, slow)), daemon=True)
    visit.start()
    wait_for(lambda: os.path.exists(begun), "the slow page has begun")
    since = time.monotonic()
    m.update()
    check(time.monotonic() - since > 0.3, "the switch did not wait for it")
    check_equal(fastcgi(m.fpm.socket, m.page()), "2 2 2 ", "at once")
    check_equal(said, [], "the slow page is still being made")
    wait_for(lambda: "was not waited for" in read_text(m.said), m.explain)
    write_text(go, "", 0o644)
    visit.join(30)
    check_equal(said, ["slow"])


if __name__ == "__main__":
    main()
