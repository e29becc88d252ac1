"""A plugin in versions, as zips that WordPress installs and updates from, and a reader of its pages:
each of its files names the version it belongs to, and a page says what all of them said."""

import json
import threading
import time
import zipfile

NAME = "shop"
MAIN = f"{NAME}/{NAME}.php"

MAIN_TEXT = """<?php
/*
Plugin Name: Shop
Version: {version}.0
*/
add_action('init', function () {{
    if (!isset($_GET['shop']))
        return;
    $GLOBALS['shop_seen'] = [{version} => 1];
    foreach (json_decode('{names}') as $name)
        include __DIR__ . "/$name";
    echo json_encode($GLOBALS['shop_seen']);
    exit;
}});
"""
PART_TEXT = """<?php // what follows is long enough to look like a class {filler}
$GLOBALS['shop_seen'][{version}] = ($GLOBALS['shop_seen'][{version}] ?? 0) + 1;
"""


def make_zip(path, version, files, included):
    """`included` of the files are what a page needs."""
    names = [f"part{i % 12}/class-{i}.php" for i in range(files - 1)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr(MAIN, MAIN_TEXT.format(version=version, names=json.dumps(names[:included])))
        for name in names:
            z.writestr(f"{NAME}/{name}", PART_TEXT.format(version=version, filler="x" * 800))
    return path


def make_theme(path, version):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("plain/style.css", f"/*\nTheme Name: Plain\nVersion: {version}.0\n*/\n")
        z.writestr("plain/index.php", f"<?php echo 'plain {version}';\n")
        for i in range(40):
            z.writestr(f"plain/parts/{i}.php", f"<?php // {version}\n")
    return path


def make_language(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        for i in range(40):
            z.writestr(f"de_DE-{i}.json", "{}")
        z.writestr("de_DE.po", 'msgid ""\nmsgstr ""\n')
        z.writestr("de_DE.mo", b"\xde\x12\x04\x95" + bytes(24))
    return path


class Visitors:
    """Threads that ask a server for the plugin's page, over and over. What no visitor may see is
    collected: `mixed`, pages with files of two versions; `wrong`, failures, and old pages although the
    update was over before they were asked for."""

    def __init__(self, server, threads=2):
        self.server, self.pages, self.wrong, self.mixed = server, 0, [], []
        self.settled = 0  # the version that every page asked for from now on has; 0: it changes
        self.ending, self.slowest = False, 0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self._visit, daemon=True) for _ in range(threads)]
        for t in self.threads:
            t.start()

    def _visit(self):
        while not self.ending:
            settled, since = self.settled, time.monotonic()
            status, body = self.server.get("/?shop=1")
            with self.lock:
                self._judge(settled if settled == self.settled else 0, since, status, body)

    def _judge(self, settled, since, status, body):
        self.pages += 1
        self.slowest = max(self.slowest, time.monotonic() - since)
        try:
            versions = sorted(int(v) for v in json.loads(body))
        except ValueError:
            versions = []
        if status != 200 or not versions:
            self.wrong.append(f"status {status}: {body[:300]!r}")
        elif len(versions) > 1:
            self.mixed.append(f"{json.loads(body)} in {time.monotonic() - since:.3f} s")
        elif settled and versions != [settled]:
            self.wrong.append(f"{json.loads(body)} although all was {settled} before")

    def end(self):
        self.ending = True
        for t in self.threads:
            t.join(130)
