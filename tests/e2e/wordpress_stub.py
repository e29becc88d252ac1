"""The must-use plugin for WordPress in a PHP of its own, with as much of WordPress around it as it meets."""

import html
import json
import os
import re
import shutil
import subprocess

from harness import Skip, check, check_equal, read_text

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGIN = os.path.join(HERE, "../../examples/wordpress/mirrord-barrier.php")


def php(env, root, code, constants=None, uid=None, ini=()):
    """What the code put into $out, the notes it left, and what it logged. It must print nothing."""
    if not shutil.which("php"):
        raise Skip("php is not there (php-cli)")
    log = env.path("php.log")
    if os.path.exists(log):
        os.unlink(log)
    for name in (PLUGIN, os.path.join(HERE, "wordpress_stub.php")):
        shutil.copy(name, env.dir)
        os.chmod(env.path(os.path.basename(name)), 0o644)
    if uid:
        with open(log, "w"):
            os.chown(log, uid, uid)
    options = [word for setting in ini for word in ("-d", setting)]
    p = subprocess.run(["php", "-n", *options, env.path("wordpress_stub.php"),
                        env.path("mirrord-barrier.php"), root], input=code.encode(),
                       capture_output=True, timeout=60, check=False, user=uid, group=uid,
                       extra_groups=[] if uid else None,
                       env=env.environ(ERROR_LOG=log, CONSTANTS=json.dumps(constants or {})))
    out = p.stdout.decode().splitlines()
    check(p.returncode == 0 and out, f"php ended with {p.returncode}\n{p.stdout}\n{p.stderr}")
    result = json.loads(out[-1])
    check_equal((result["said"], out[:-1]), ("", []), "output")
    return result["out"], result["transients"], read_text(log)


def site_health(env, root, sockets):
    """(status, lines) of the plugin's test in Site Health, which asks at the site's socket."""
    out, _, _ = php(env, root, "$out = call_user_func(apply_filters('site_status_tests', array())"
                    "['direct']['mirrord']['test']);", {"MIRRORD_SITES": sockets})
    return out["status"], [html.unescape(line) for line in re.findall(r"<li>(.*?)</li>", out["description"])]
