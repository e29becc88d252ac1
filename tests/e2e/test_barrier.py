"""The sites' own sockets, asked by other users, and what asks them: the must-use plugin for WordPress,
against the daemon and against servers that answer badly or not at all."""

import json
import os
import socket
import stat
import threading
import time

from harness import ROOT, Env, Skip, case, check, check_equal, free_port, main
from pair import site_text
from trees import put
from wordpress_stub import php

OWNER, STRANGER = 33, 34


# Sockets, as another user ------------------------------------------------------------------------

def as_user(uid, function):
    """What the function returns (JSON), or the name of its OSError, in a process of that user."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            answer = function()
        except OSError as e:
            answer = type(e).__name__
        os.write(w, json.dumps(answer).encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        text = f.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def ask(path, *requests):
    """Each request's answer."""
    out = []
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(60)
        s.connect(path)
        with s.makefile("rb") as f:
            for request in requests:
                s.sendall(json.dumps(request).encode() + b"\n")
                out.append(json.loads(f.readline()))
    return out


class Stage:
    """A daemon with two sites of different users; web2 is there, web3 never is. For all cases that need one."""

    env = daemon = None

    @classmethod
    def get(cls):
        if not ROOT:
            raise Skip("needs root, to be several users")
        if cls.env:
            return cls
        cls.env = env = Env()
        os.chmod(env.dir, 0o711)
        text = ""
        for name, owner in (("one.example", OWNER), ("two.example", STRANGER)):
            src = env.path(name)
            put(f"{src}/wp-content/uploads/first.txt", b"there from the start")
            for top, dirs, files in os.walk(src):
                for n in [top] + [os.path.join(top, f) for f in files]:
                    os.chown(n, owner, owner)
            text += site_text(name, src, [env.path(f"far-{name}"), env.path(f"away-{name}")],
                              'unit = {"wp-content/plugins/*"} settle = 50ms')
        config = env.config(text, ports={"web3": free_port()})
        cls.daemon = env.daemon(config)
        return cls

    @classmethod
    def socket(cls, name="one.example"):
        return cls.env.path("sites", name)


@case(env=False)
def test_nobody_else_can_use_it():
    s = Stage.get()
    one, two = s.socket(), s.socket("two.example")
    check_equal(stat.S_IMODE(os.stat(s.env.path("sites")).st_mode), 0o711, "mode of the directory")
    status = {"do": "status", "site": "two.example"}
    answer = as_user(OWNER, lambda: ask(one, status))[0]
    check_equal((answer["site"], answer["role"]), ("one.example", "primary"), "answer")
    check("two.example" not in json.dumps(answer), "it names another site", answer)
    check_equal(as_user(STRANGER, lambda: ask(one, status)), "PermissionError", "a stranger")
    check_equal(as_user(OWNER, lambda: ask(two, status)), "PermissionError", "at the other site's")
    check_equal(as_user(OWNER, lambda: os.listdir(s.env.path("sites"))), "PermissionError", "list")
    check_equal(as_user(OWNER, lambda: ask(s.env.path("control"), status)), "PermissionError", "control")


@case(env=False)
def test_two_requests_in_bounds():
    s = Stage.get()
    refused = as_user(STRANGER, lambda: ask(
        s.socket("two.example"), {"do": "resync"}, {"do": "pause", "name": "one.example"}, {"do": "flush"},
        {"do": "flush", "paths": [s.env.path("one.example", "x")]}, {"do": "flush", "paths": ["../x"]},
        {"do": "flush", "paths": ["x"] * 257}))
    check_equal([a.get("code") for a in refused], [2] * 6, "codes")

    def hammer():
        with socket.socket(socket.AF_UNIX) as c:
            c.connect(s.socket("two.example"))
            with c.makefile("rb") as f:
                while True:
                    c.sendall(b'{"do":"status"}\n' * 20)
                    for _ in range(20):
                        if json.loads(f.readline()).get("code") == 6:
                            return "busy"

    check_equal(as_user(STRANGER, hammer), "busy", "asking all the time")
    check_equal(as_user(OWNER, lambda: ask(s.socket(), {"do": "status"}))[0]["site"], "one.example", "the other one")


# The plugin --------------------------------------------------------------------------------------

class Server:
    """Answers as it is told to: `answer` gets a request and a connection."""

    def __init__(self, path, answer):
        self.path, self.answer, self.requests, self.lock = path, answer, [], threading.Lock()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(c,), daemon=True).start()

    def serve(self, c):
        with c, c.makefile("rb") as f:
            try:
                for line in f:
                    request = json.loads(line)
                    with self.lock:
                        self.requests.append(request)
                    if not self.answer(request, c):
                        return
            except OSError:
                pass

    def flushed(self):
        return [r["paths"] for r in self.requests if r["do"] == "flush"]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)


def line(c, reply):
    c.sendall(json.dumps(reply).encode() + b"\n")
    return True


def wordpress(env):
    root = env.path("wp")
    for name in ("wp-content/uploads/a.jpg", "wp-content/uploads/a-100x100.jpg", "wp-content/plugins/x/x.php",
                 "wp-content/themes/t/style.css", "wp-content/uploads/b\xff.jpg"):
        put(os.fsencode(root) + b"/" + name.encode("latin-1"), b"x")
    return root


@case(sshd=False)
def test_which_paths_are_waited_for(env):
    root = wordpress(env)
    status = {"role": "primary", "host": "web1", "site": "s", "root": root, "state": "ok", "secondaries": [
        {"name": "web2", "state": "held", "error": "<b>", "connection": "up"}]}
    server = Server(env.path("socket"), lambda r, c: line(
        c, status if r["do"] == "status" else {"level": True, "waiting": []}))
    code = r"""
    $c = WP_CONTENT_DIR;
    $attached[1] = "$c/uploads/a.jpg";
    $meta = array('sizes' => array('s' => array('file' => 'a-100x100.jpg'), 'odd' => 3), 'original_image' => 'gone.jpg');
    $given = array('file' => "$c/uploads/a.jpg");
    $out[] = apply_filters('wp_handle_upload', $given, 'upload') === $given;
    $out[] = apply_filters('wp_generate_attachment_metadata', $meta, 1, 'create') === $meta;
    $out[] = apply_filters('wp_update_attachment_metadata', $meta, 1) === $meta; // nothing new
    $out[] = apply_filters('wp_update_attachment_metadata', false, 2) === false;
    do_action('upgrader_process_complete', null, array('type' => 'plugin', 'plugins' => array('x/x.php', 'hello.php')));
    do_action('upgrader_process_complete', null, array('type' => 'theme', 'theme' => 't'));
    do_action('upgrader_process_complete', (object) array('result' => array('destination' => "$c/plugins/x/")), array());
    do_action('upgrader_process_complete', null, array('type' => 'core'));
    do_action('upgrader_process_complete', null, array('type' => 'translation'));
    do_action('upgrader_process_complete', new stdClass(), null);
    apply_filters('wp_handle_upload', array('error' => 'no'));
    apply_filters('wp_handle_upload', array('file' => '/etc/passwd')); // not in the mirrored tree
    apply_filters('wp_handle_upload', array('file' => "$c/uploads/b\xff.jpg"));
    // From here on at the end, in one question.
    apply_filters('wp_delete_file', "$c/uploads/gone/deep/a.jpg");
    apply_filters('image_make_intermediate_size', "$c/uploads/a.jpg");
    do_action('deleted_plugin', 'x/x.php', true);
    $_POST = array('file' => 'x/x.php', 'newcontent' => '');
    do_action('wp_ajax_edit-theme-plugin-file');
    $_POST = array('file' => '../../x', 'theme' => 't');
    do_action('load-theme-editor.php');
    $_POST = array('file' => 'style.css', 'theme' => 't');
    do_action('load-theme-editor.php');
    $health = apply_filters('site_status_tests', array())['direct']['mirrord']['test'];
    $out[] = call_user_func($health);
    """
    out, notes, log = php(env, root, code, {"MIRRORD_SOCKET": env.path("socket")})
    server.close()
    check_equal(out[:4], [True] * 4, "what the filters return")
    check_equal((out[4]["status"], "held: &lt;b&gt;" in out[4]["description"]), ("critical", True), "health")
    check_equal((notes, log), ([], ""), "notes, log")
    up, plugins = "wp-content/uploads", "wp-content/plugins"
    check_equal(server.flushed(), [
        [f"{up}/a.jpg"], [f"{up}/a.jpg", f"{up}/a-100x100.jpg"], [f"{plugins}/x", f"{plugins}/hello.php"],
        ["wp-content/themes/t"], [f"{plugins}/x"], ["wp-admin", "wp-includes"], ["wp-content/languages"], [up],
        [f"{up}/gone/deep/a.jpg", f"{up}/a.jpg", f"{plugins}/x", f"{plugins}/x/x.php",
         "wp-content/themes/t/style.css"]], "what was waited for")
    check_equal([r["hook"] for r in server.requests if r["do"] == "flush"],
                [False] * 2 + [True] * 5 + [False] + [True], "for code PHP has to be told, too")


def dribble(c, reply):
    for b in json.dumps(reply).encode() + b"\n":
        c.sendall(bytes([b]))
        time.sleep(0.0005)
    return True


BAD = {
    "silent": (lambda r, c: time.sleep(20), "in time"),
    "garbage": (lambda r, c: c.sendall(b"<html>\xff\xfe</html>\n") or True, "no JSON"),
    "a number": (lambda r, c: c.sendall(b"17\n") or True, "no JSON"),
    "cut off": (lambda r, c: c.sendall(b'{"role":"pri'), "ended the conversation"),
    "endless": (lambda r, c: all(c.sendall(b"x" * 65536) is None for _ in range(200)), "does not end|in time"),
    "an error": (lambda r, c: line(c, {"error": "no such thing\n", "code": 2}), "no such thing"),
    "odd fields": (lambda r, c: line(c, {"role": [], "root": 7, "secondaries": "x", "level": False,
                                         "waiting": [1, {"why": []}]}), None),
    "dribbling": (lambda r, c: dribble(c, {"root": "/nowhere", "level": True}), None),
}


@case(sshd=False)
def test_it_goes_on_whatever_happens(env):
    """Servers that do not answer, or answer badly, cost their time, a line in the log, and nothing else."""
    root = wordpress(env)
    code = """
    $begun = microtime(true);
    $given = array('file' => WP_CONTENT_DIR . '/uploads/a.jpg');
    for ($i = 0; $i < 3; $i++) {
        $out[] = apply_filters('wp_handle_upload', $given) === $given;
    }
    $out[] = is_array(call_user_func(apply_filters('site_status_tests', array())['direct']['mirrord']['test']));
    """
    for name, (answer, says) in BAD.items():
        server = Server(env.path("socket"), answer)
        out, notes, log = php(env, root, code, {"MIRRORD_SOCKET": env.path("socket"), "MIRRORD_SECONDS": 0.3})
        server.close()
        check_equal(out, [True] * 4, name)
        check(log.count("\n") == (1 if says else 0), name, "log:", log)
        check(not says or any(w in log for w in says.split("|")), name, "log:", log)
        check_equal(bool(notes), bool(says), f"{name}: a note")


@case(sshd=False)
def test_the_limit_and_after_it(env):
    """mirrord is told how long may be waited; who has waited in vain once waits less for a while."""
    root = wordpress(env)
    late = {"level": False, "held": False, "waiting": [{"peer": "web3", "site": "s", "why": "being sent"}]}
    here = {"role": "primary", "root": root}
    server = Server(env.path("socket"), lambda r, c: line(c, here if r["do"] == "status" else late))
    code = """
    $upload = array('file' => WP_CONTENT_DIR . '/uploads/a.jpg');
    apply_filters('wp_handle_upload', $upload);
    apply_filters('wp_handle_upload', $upload);
    """
    _, notes, log = php(env, root, code, {"MIRRORD_SOCKET": env.path("socket")})
    limits = [r["timeout_ms"] for r in server.requests if r["do"] == "flush"]
    check(2000 < limits[0] <= 3000 and limits[1] <= 250, limits)
    check_equal(notes["mirrord_barrier_late"]["why"], "web3: being sent", "note")
    check("a.jpg is not known to be on the other servers: web3: being sent" in log and log.count("\n") == 1, log)
    # Busy is no answer: it is asked again.
    busy = iter([True, False])
    server.answer = lambda r, c: line(c, here if r["do"] == "status" else
                                      {"error": "busy", "code": 6} if next(busy) else {"level": True})
    code = "apply_filters('wp_handle_upload', array('file' => WP_CONTENT_DIR . '/uploads/a.jpg'));"
    _, notes, log = php(env, root, code, {"MIRRORD_SOCKET": env.path("socket"), "MIRRORD_SECONDS": 20})
    server.close()
    check_equal((notes, log), ([], ""), "after busy")


@case(sshd=False)
def test_on_a_secondary(env):
    """Site Health says what `mirrord health` says of this server."""
    root = wordpress(env)
    site = {"role": "secondary", "host": "web2", "primary": "web1", "root": root, "secondaries": []}
    server = Server(env.path("socket"), lambda r, c: line(c, site))
    code = """
    $out[] = call_user_func(apply_filters('site_status_tests', array())['direct']['mirrord']['test'])['description'];
    """
    for health, said in (({"healthy": False, "state": "behind", "why": "it lacks <3> paths"},
                          "This server is DOWN: behind, it lacks &lt;3&gt; paths"),
                         ({"healthy": True, "state": "level", "why": ""}, "This server is up: level"),
                         (None, "its primary is web1"), ("odd", "its primary is web1")):
        site["health"] = health
        out, _, log = php(env, root, code, {"MIRRORD_SOCKET": env.path("socket")})
        check(said in out[0] and ("This server is" in out[0]) == isinstance(health, dict), out[0], log)
    server.close()


@case(sshd=False)
def test_without_mirrord(env):
    """No socket that fits is no news; one that is named and is not there is; '' turns all off."""
    root = wordpress(env)
    code = """
    $out[] = apply_filters('wp_handle_upload', array('file' => WP_CONTENT_DIR . '/uploads/a.jpg'));
    $tests = apply_filters('site_status_tests', array());
    $out[] = $tests ? call_user_func($tests['direct']['mirrord']['test'])['status'] : 'off';
    """
    for constants, health, logged in (({"MIRRORD_SITES": env.path("no")}, "recommended", 0),
                                      ({"MIRRORD_SOCKET": env.path("no")}, "critical", 1),
                                      ({"MIRRORD_SOCKET": ""}, "off", 0)):
        out, _, log = php(env, root, code, constants)
        check_equal((out[1], log.count("\n")), (health, logged), constants)
    # A PHP that may do little.
    for ini in ("disable_functions=stream_socket_client", "disable_functions=stream_select,hash,stat,realpath",
                f"open_basedir={env.dir}"):
        out, _, log = php(env, root, code, {"MIRRORD_SITES": "/no"}, ini=[ini])
        check_equal(list(out[0]), ["file"], ini)


@case(sshd=False)
def test_the_commands_of_wp_cli(env):
    root = wordpress(env)
    server = Server(env.path("socket"), lambda r, c: line(c, {
        "role": "primary", "host": "web1", "site": "s", "root": root,
        "secondaries": [{"name": "web2", "state": "pushing", "owed_paths": 3, "behind_ms": 1500, "connection": "up"}]}
        if r["do"] == "status" else {"level": "uploads" in r["paths"][0]}))
    code = r"""
    $command = new Mirrord_Command();
    $command->status(array(), array());
    $command->flush(array('wp-content/uploads/'), array());
    $command->flush(array(), array('timeout' => '1'));
    $out = WP_CLI::$said;
    """
    stub = r"""
    namespace WP_CLI\Utils { function format_items($format, $items, $fields) {
        \WP_CLI::$said[] = implode('|', array_intersect_key($items[0], array_flip($fields))); } }
    namespace { class WP_CLI { public static $said = array();
        static function __callStatic($name, $arguments) { self::$said[] = "$name: " . (string) $arguments[0]; } } }
    """
    with open(env.path("cli.php"), "w") as f:
        f.write("<?php" + stub)
    out, _, _ = php(env, root, f"require '{env.path('cli.php')}';" + code, {"MIRRORD_SOCKET": env.path("socket")})
    server.close()
    check_equal(out, [f"log: web1 is primary of s ({env.path('socket')})",
                      "web2|pushing, 3 paths behind, the oldest for 1.5 s|1.5", "success: they are there",
                      "error: not in time"], "said")


# Against the daemon: by now web3 has been away for long ------------------------------------------

@case(env=False)
def test_flush_waits_for_the_paths_and_for_no_dead_secondary():
    s = Stage.get()
    src, dest = s.env.path("one.example"), s.env.path("far-one.example")

    def flush(i):
        put(f"{src}/wp-content/uploads/f{i}", b"x" * 1000)
        paths = [f"{src}/wp-content/uploads/f{i}", "wp-content/uploads/first.txt"]
        answer = ask(s.socket(), {"do": "flush", "paths": paths, "timeout_ms": 30000})[0]
        return answer, os.path.exists(f"{dest}/wp-content/uploads/f{i}")

    for i in range(5):
        answer, there = as_user(OWNER, lambda: flush(i))
        check(answer["level"] and there, f"flush {i}", answer, there)
    check_equal([(w["peer"], w["why"]) for w in answer["waiting"]], [("web3", "it is down")], "waiting")

    def update():  # a unit waits until it rests; whoever waits for it has all of it
        for i in range(30):
            put(f"{src}/wp-content/plugins/x/{i}.php", b"<?php // %d" % i)
        request = {"do": "flush", "paths": ["wp-content/plugins/x"], "timeout_ms": 30000}
        return ask(s.socket(), request)[0]["level"], len(os.listdir(f"{dest}/wp-content/plugins/x"))

    check_equal(as_user(OWNER, update), [True, 30], "a plugin")


@case(env=False)
def test_the_plugin_waits():
    """What a hook has seen is on the secondary when the hook returns; the socket is found by the root."""
    s = Stage.get()
    src, dest = s.env.path("one.example"), s.env.path("far-one.example")
    code = """
    $dir = WP_CONTENT_DIR . '/uploads/';
    file_put_contents($dir . 'cat.jpg', str_repeat('x', 100000));
    apply_filters('wp_handle_upload', array('file' => $dir . 'cat.jpg', 'url' => '', 'type' => ''), 'upload');
    $out[] = file_exists('%s/wp-content/uploads/cat.jpg');
    $attached[7] = $dir . 'cat.jpg';
    file_put_contents($dir . 'cat-150x150.jpg', 'small');
    apply_filters('wp_update_attachment_metadata', array('sizes' => array(array('file' => 'cat-150x150.jpg'))), 7);
    $out[] = file_exists('%s/wp-content/uploads/cat-150x150.jpg');
    apply_filters('wp_delete_file', $dir . 'cat.jpg');
    unlink($dir . 'cat.jpg');
    do_action('shutdown');
    clearstatcache();
    $out[] = file_exists('%s/wp-content/uploads/cat.jpg');
    $health = apply_filters('site_status_tests', array())['direct']['mirrord']['test'];
    $out[] = call_user_func($health);
    """ % (dest, dest, dest)
    no_exec = "disable_functions=exec,passthru,shell_exec,system,proc_open,popen,pcntl_exec"  # as hosts have it
    out, notes, log = php(s.env, src, code, {"MIRRORD_SITES": s.env.path("sites"), "MIRRORD_SECONDS": 30}, OWNER,
                          [no_exec])
    check_equal((out[:3], notes, log), ([True, True, False], [], ""), "waited, notes, log")
    check_equal(out[3]["status"], "recommended", "health: web3 is away")
    for words in ("<li>web2: level</li>", "<li>web3: away for"):
        check(words in out[3]["description"], words, "is not in", out[3]["description"])
    # Another user's PHP goes on, and says why it did not wait.
    out, notes, log = php(s.env, src, "$out = apply_filters('wp_handle_upload', array('file' => __FILE__));",
                          {"MIRRORD_SITES": s.env.path("sites")}, STRANGER)
    check("Permission denied" in log and "file" in out, log, out)


@case(env=False)
def test_the_daemon_ends_cleanly():
    """…and takes the sockets with it."""
    env, Stage.env = Stage.env, None
    if not env:
        raise Skip("nothing was started")
    try:
        Stage.daemon.stop()
        check(not os.path.exists(env.path("sites")), os.listdir(env.dir))
        env.settle()
        check(not env.sanitizer_reports(), *env.sanitizer_reports())
    finally:
        env.close()


if __name__ == "__main__":
    main()
