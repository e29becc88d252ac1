"""The receiver's fences, each without the other: a build with -Dfaults=true can be told not to
confine paths (MIRRORD_UNCONFINED), and which layers of the sandbox to leave out (MIRRORD_SANDBOX).
Somebody on the secondary puts a link to a directory outside in the place of one that is mirrored;
what is outside must stay as it is."""

import os

from harness import MIRRORD, Skip, case, check, check_equal, main, read_text, wait_for, write_text
from pair import site_text
from trees import check_same, put, remove, snapshot


class Attack:
    def __init__(self, env, name, exports):
        self.src, self.dest = env.path("src-" + name), env.path("far-" + name, "dest")
        self.outside, self.log = env.path("outside-" + name), env.path("log-" + name)
        os.mkdir(env.path("far-" + name))
        for path in ("d/in/changed", "d/in/goes", "d/in/mode", "other"):
            put(f"{self.src}/{path}", b"as it was")
        put(f"{self.src}/d/in/large", b"as it was" * 300_000)
        far = env.far_end("far-" + name, f"{exports}exec '{MIRRORD}' \"$@\" --state-dir "
                          f"'{env.path('state-' + name)}' 2>>'{self.log}'")
        config = write_text(env.path(f"{name}.conf"), f"""state-dir = "{env.path("near-" + name)}"
            control = "{env.path("control-" + name)}"
            host web1 {{ }} host web2 {{ transport = child remote-command = "{far}" }}
            """ + site_text("example.com", self.src, [self.dest], "max-delete = \"100%\""))
        self.daemon = env.daemon(config)
        self.daemon.flush()

    def swap(self):
        """The mirrored directory goes, with the same content, where the link leads."""
        os.rename(f"{self.dest}/d", self.outside)
        os.symlink(self.outside, f"{self.dest}/d")
        self.before = snapshot(self.outside)

    def change(self):
        """In a directory beneath it: of the one that was swapped nothing is sent."""
        put(f"{self.src}/d/in/new", b"comes")
        put(f"{self.src}/d/in/changed", b"is something else now")
        put(f"{self.src}/d/in/large", b"as it was" * 300_000 + b" and more")
        os.chmod(f"{self.src}/d/in/mode", 0o600)
        remove(f"{self.src}/d/in/goes")
        put(f"{self.src}/other", b"goes on")
        wait_for(lambda: read_text(f"{self.dest}/other") == "goes on", "the rest goes on")
        self.daemon.flush("--timeout", "2", code=None)

    def run(self):
        self.swap()
        self.change()
        changed = snapshot(self.outside) != self.before
        self.unconfined = self.daemon.status()["secondaries"][0]["unconfined"]
        check_equal(self.unconfined, "not confined by" in read_text(self.log), "what status says")
        self.daemon.stop()
        return changed


def exports(**settings):
    return "".join(f"export {k}={v}; " for k, v in settings.items())


@case
def test_paths_without_confinement(env):
    """Landlock alone; and with the sandbox off, the confined paths alone."""
    check(not Attack(env, "landlock", exports(MIRRORD_UNCONFINED=1)).run(), "the sandbox holds")
    paths = Attack(env, "paths", exports(MIRRORD_SANDBOX=0))
    check(not paths.run(), "the paths hold")
    check(paths.unconfined, "the primary knows that there is no sandbox")
    check(Attack(env, "neither", exports(MIRRORD_UNCONFINED=1, MIRRORD_SANDBOX=0)).run(),
          "without both the attack works: the other two say something")


LABEL = "security.selinux"


def label(path):
    try:
        return os.getxattr(path, LABEL).decode()
    except OSError:
        return None


EXPECTED = {
    "": "root", "up": "up", "up/f": "up f", "up/deep/new": "deep", "up/new": "up", "up/new/dir": "up",
    "up/new/dir/f": "up", "top": None, "units/u": "u", "units/u/code": "code", "units/u/code/f": "code f",
    "units/u/g": "u", "units/u/new": "u", "units/u/new/f": "u", "units/other": "units", "units/other/f": "units"}


class Labelled:
    """A secondary that has labels, which root may set where no security module handles them."""

    def __init__(self, env, name, exports):
        self.env, self.src, self.dest = env, env.path("src-" + name), env.path("far-" + name, "dest")
        self.log = env.path("log-" + name)
        os.mkdir(env.path("far-" + name))
        for path in ("up/f", "up/deep/f", "units/u/code/f", "units/u/g", "top"):
            put(f"{self.src}/{path}", b"as it was")
        far = env.far_end("far-" + name, f"{exports}exec '{MIRRORD}' \"$@\" --state-dir "
                          f"'{env.path('state-' + name)}' 2>>'{self.log}'")
        self.config = write_text(env.path(f"{name}.conf"), f"""state-dir = "{env.path("near-" + name)}"
            control = "{env.path("control-" + name)}"
            host web1 {{ }} host web2 {{ transport = child remote-command = "{far}" }}
            """ + site_text("example.com", self.src, [self.dest], "unit = {\"units/*\"} settle = 100ms"))
        daemon = env.daemon(self.config)
        daemon.flush()
        daemon.stop()
        for path, text in (("", "root"), ("up", "up"), ("up/f", "up f"), ("up/deep", "deep"), ("units", "units"),
                           ("units/u", "u"), ("units/u/code", "code"), ("units/u/code/f", "code f")):
            os.setxattr(os.path.join(self.dest, path), LABEL, text.encode())

    def change(self):
        daemon = self.env.daemon(self.config)
        for path in ("up/f", "up/deep/new", "up/new/dir/f", "units/u/code/f", "units/u/g", "units/u/new/f",
                     "units/other/f"):
            put(f"{self.src}/{path}", b"is something else now")
        daemon.flush()
        check_same(self.src, self.dest)
        daemon.stop()

    def labels(self):
        return {path: label(os.path.join(self.dest, path)) for path in EXPECTED}


@case(sshd=False)
def test_security_labels_are_those_of_the_place(env):
    here = put(env.path("labelled"), b"")
    try:
        os.setxattr(here, LABEL, b"any")
    except OSError as e:
        raise Skip(f"{LABEL}: {e.strerror}") from None
    free = Labelled(env, "free", exports(MIRRORD_SANDBOX=0))
    free.change()
    check_equal(free.labels(), EXPECTED, "labels")
    check("security label" not in read_text(free.log), read_text(free.log))
    # Confined it may where SELinux decides; else only who administers the system may: all arrives, and it is said once.
    confined = Labelled(env, "confined", "")
    confined.change()
    said = read_text(confined.log).count("security label of its place")
    check_equal(said, 0 if confined.labels() == EXPECTED else 1, f"{confined.labels()}\n{read_text(confined.log)}")


if __name__ == "__main__":
    main()
