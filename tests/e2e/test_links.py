"""The link: key exchanges in the middle of traffic, transports, kinds of keys, the agent, IPv6."""

import os
import re
import shutil
import socket
import subprocess

from harness import (MIRRORD, SANITIZED, USER, Env, Skip, Sshd, case, check, check_equal, keygen, main, read_text,
                     wait_for, write_text)
from pair import Pair
from trees import WordPress, check_same, put

ETM = "MACs hmac-sha2-256-etm@openssh.com,hmac-sha2-512-etm@openssh.com"
HARDENED = (ETM, "Ciphers aes256-ctr,aes128-ctr")


def simple(env):
    src, dest = env.path("src"), env.path("dest")
    put(f"{src}/f", os.urandom(200000))
    put(f"{src}/d/g", b"x")
    return src, dest


@case(options=("RekeyLimit 1M",))
def test_rekeying_with_traffic_both_ways(env):
    """Many changed files: content and deltas go out, listings and signatures come in."""
    src, dest = env.path("src"), env.path("dest")
    size = (1 if SANITIZED else 2) << 20
    for i in range(12):
        put(f"{src}/big{i}", os.urandom(size))
    WordPress(src, 500)
    for transport in ("libssh2", "openssh"):
        env.resync(src, dest, "--transport", transport, "--compress", "none")
        check_same(src, dest)
        for i in range(12):
            with open(f"{src}/big{i}", "r+b") as f:
                f.seek(i * 1000)
                f.write(os.urandom(10000))
            put(f"{src}/new{i}", os.urandom(size))
    env.resync(src, dest, "--compress", "none")
    check_same(src, dest)


@case(options=("RekeyLimit 1M",))
def test_rekeying_under_a_daemon(env):
    p = Pair(env)
    for i in range(8):
        put(f"{p.src}/f{i}", os.urandom(2 << 20))
        if i > 3:
            with open(f"{p.src}/f{i - 4}", "r+b") as f:
                f.seek(1 << 20)
                f.write(b"changed")
    p.flushed()
    check(not re.search("again|retry|closed", "".join(
        line for line in p.daemon.text().splitlines() if "progress" in line)), p.daemon.text())
    p.daemon.stop()


@case
def test_neither_keys_nor_content_are_logged(env):
    """With everything logged that can be, at both ends: content small, packed, large, and as a delta."""
    log, secret = env.path("receiver.log"), b"what-is-only-in-the-content"
    p = Pair(env, secondaries=1, start=False)
    env.far_end("web2", f"exec '{MIRRORD}' \"$@\" -v -v --state-dir '{env.path('state-web2')}' 2>>'{log}'")
    put(f"{p.src}/wp-config.php", b"password = " + secret)
    put(f"{p.src}/packed", secret * 3000)
    put(f"{p.src}/large", os.urandom(1 << 20) + secret + os.urandom(1 << 20))
    p.daemon = env.daemon(p.config)
    p.flushed()
    with open(f"{p.src}/large", "ab") as f:
        f.write(secret * 10)
    p.flushed()
    p.daemon.stop()
    said = p.daemon.text() + read_text(log)
    check("wp-config.php" in p.daemon.text() and "ENTRY" in read_text(log), "all is logged")
    key = [line for line in read_text(env.key).splitlines() if not line.startswith("-")]
    for line in [secret.decode(), secret[:12].decode()] + key:
        check(line not in said, f"{line} is in a log")


@case
def test_transports(env):
    src, dest = simple(env)
    for transport in ("libssh2", "openssh", "auto"):
        put(f"{src}/{transport}", os.urandom(70000))
        env.resync(src, dest, "--transport", transport)
        check_same(src, dest)


@case(options=HARDENED)
def test_a_hardened_sshd(env):
    """libssh2 has no -etm MACs where it is old: it says so; auto falls back and says it once."""
    src, dest = simple(env)
    r = env.resync(src, dest, "--transport", "libssh2", code=None)
    if r.code == 0:
        raise Skip("this libssh2 has the -etm MACs")
    r.says("mac|algorithm", "openssh")
    check(not os.path.exists(dest), "DEST was made")
    env.resync(src, dest, "--transport", "openssh")
    check_same(src, dest)
    put(f"{src}/more", b"x")
    r = env.resync(src, dest).says("openssh")
    check_equal(len([line for line in r.err.splitlines() if "openssh" in line]), 1, f"said\n{r}")
    check_same(src, dest)


@case(options=HARDENED)
def test_a_daemon_with_a_hardened_sshd(env):
    p = Pair(env)
    for i in range(2):
        put(f"{p.src}/f{i}", b"x")
        p.flushed("--all")
        said = [line for line in p.daemon.text().splitlines()
                if re.search("falling back|using openssh|openssh instead|common", line)]
        check(len(said) <= 2, "said more than once a host:", *said)
        env.sshd.cut()
        p.arrives(seconds=60)
    p.daemon.stop()


@case
def test_kinds_of_keys(env):
    src, dest = simple(env)
    # libssh2 1.10 loses two big numbers of each ECDSA key in OpenSSH's format that it reads.
    known = write_text(env.path("known-leaks"), "leak:CRYPTO_zalloc\n")
    for kind, more in (("ed25519", ()), ("ecdsa", ("-b", "256")), ("ecdsa", ("-b", "521")),
                       ("rsa", ("-b", "3072")), ("rsa", ("-b", "2048", "-m", "PEM"))):
        key = keygen(env.path("key-" + "-".join((kind,) + more).replace("/", "")), kind, *more)
        with open(env.authorized_keys, "w") as f, open(key + ".pub") as g:
            f.write(g.read())
        put(f"{src}/by {os.path.basename(key)}", b"x")
        suppressed = {"LSAN_OPTIONS": f"suppressions={known}:print_suppressions=0"}
        env.resync(src, dest, key=key, environ=suppressed if kind == "ecdsa" else {})
        check_same(src, dest)


@case
def test_kinds_of_host_keys(env):
    src, dest = simple(env)
    for kind, bits in (("ecdsa", "256"), ("rsa", "3072")):
        host_key = keygen(env.path(f"host_{kind}"), kind, "-b", bits)
        server = Sshd(env, host_key=host_key)
        put(f"{src}/by {kind}", b"x")
        env.resync(src, dest, server=server)
        check_same(src, dest)


@case
def test_hashed_known_hosts(env):
    src, dest = simple(env)
    subprocess.run(["ssh-keygen", "-H", "-f", env.known_hosts], check=True, capture_output=True)
    check("127.0.0.1" not in read_text(env.known_hosts))
    env.resync(src, dest)
    check_same(src, dest)


@case
def test_agent(env):
    """Without a key file the agent's keys are used."""
    src, dest = simple(env)
    sock = env.path("agent.sock")
    agent = env.spawn(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
    wait_for(lambda: os.path.exists(sock), "the agent's socket")
    environ = {"SSH_AUTH_SOCK": sock}
    env.run("ssh-add", "-q", keygen(env.path("wrong one")), environ=environ)
    env.run("ssh-add", "-q", env.key, environ=environ)
    options = env.link_options()
    at = options.index("-i")
    del options[at:at + 2]
    for transport in ("libssh2", "openssh"):
        put(f"{src}/{transport}", b"x")
        env.mirrord("resync", *options, "--transport", transport, src, env.at(dest),
                    environ=environ)
        check_same(src, dest)
    agent.terminate()


def loopback6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as s:
            s.bind(("::1", 0))
            return True
    except OSError:
        return False


@case(env=False)
def test_ipv6():
    if not loopback6():
        raise Skip("no ::1 here")
    env = Env(address="::1")
    try:
        src, dest = simple(env)
        env.resync(src, dest)
        check_same(src, dest)
        env.resync(src, dest, "--transport", "openssh")
        p = Pair(env)
        put(f"{p.src}/x", b"x")
        p.flushed()
        p.daemon.stop()
        env.settle()
    finally:
        env.close()


def jump_config(env, jump):
    """An ssh(1) whose configuration knows the sshd as `inside`, behind this one."""
    config = write_text(env.path("ssh_config"), f"""
Host inside
    HostName {env.sshd.address}
    ProxyJump jump
Host jump
    HostName {jump.address}
    Port {jump.port}
    User {USER}
    IdentityFile {env.key}
    UserKnownHostsFile {env.known_hosts}
""")
    os.mkdir(env.path("bin"))
    write_text(env.path("bin", "ssh"), f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n', 0o755)
    return {"PATH": f"{env.path('bin')}:{os.environ['PATH']}"}


@case
def test_through_a_jump_host(env):
    """Found in the SSH configuration: nothing is said to mirrord but the host's name."""
    jump = Sshd(env)
    environ = jump_config(env, jump)
    src, dest = simple(env)
    env.mirrord("resync", *env.link_options(), src, f"{USER}@inside:{dest}", environ=environ)
    check_same(src, dest)
    p = Pair(env, secondaries=1, start=False)
    text = read_text(p.config).replace(f'address = "{env.sshd.address}"', 'address = "inside"')
    write_text(p.config, text)
    p.daemon = env.daemon(p.config, environ=environ)
    p.flushed()
    check("openssh" in p.daemon.status()["secondaries"][0]["link"], p.daemon.status())
    check(jump.sessions(), "nothing goes through the jump host")
    before = p.daemon.status()["secondaries"][0]["connections"]
    jump.cut()
    put(f"{p.src}/after the cut", b"x")
    p.arrives(60)
    check(p.daemon.status()["secondaries"][0]["connections"] > before, "another connection")
    p.daemon.stop()


@case
def test_a_name_instead_of_an_address(env):
    src, dest = simple(env)
    with open(env.known_hosts) as f:
        text = f.read()
    with open(env.known_hosts, "a") as f:
        f.write(text.replace("127.0.0.1", "localhost"))
    env.mirrord("resync", *env.link_options(), src, env.at(dest).replace("127.0.0.1", "localhost"))
    check_same(src, dest)


@case
def test_a_remote_command_with_arguments(env):
    src, dest = simple(env)
    binary = os.environ["MIRRORD"]
    with open(env.remote) as f:
        exports = [line for line in f if line.startswith("export")]
    run = f"exec '{binary}' \"$@\" --state-dir '{env.path('state-plain')}'"
    wrapper = env.far_end("plain", "".join(exports) + run)
    env.resync(src, dest, remote=f"{wrapper}")
    check_same(src, dest)
    put(f"{src}/again", b"x")
    env.resync(src, dest, remote=f"env MIRRORD_X='a b' {env.remote}")
    check_same(src, dest)


if __name__ == "__main__":
    main()
