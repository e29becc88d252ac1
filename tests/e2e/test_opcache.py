"""A real PHP-FPM whose opcache never looks at files: after a commit the new code is served, without a
reload, and nothing but the changed files was dropped."""

import json
import os
import shutil

from fpm import EXAMPLES, OWNER, Fpm, fastcgi
from harness import MIRRORD, ROOT, Skip, case, check, check_equal, main, read_text, wait_for, \
    write_text
from pair import Pair
from trees import put


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
