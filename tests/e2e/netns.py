"""Whole hosts on this machine: each a set of namespaces with its own network, processes, host name, and
/etc, /root, /run, /srv, /var/lib and /usr/local/bin, where mirrord is. They have an sshd, at port 22
unless another is asked for, and reach each other by name. Nothing of it is seen from outside, and all of it ends with the environment."""

import os
import shutil
import subprocess

from harness import MIRRORD, ROOT, Skip, children, keygen, read_text, wait_for, write_text
from terminal import type_at

PREPARE = r"""
set -e
host=$1 files=$2
for dir in etc root run srv var/lib usr/local/bin; do
    mount --bind "$files/$dir" "/$dir"
done
hostname "$host"
ip link set lo up
touch "$files/ready"
exec sleep infinity
"""
SSHD_CONFIG = """Port {port}
HostKey /etc/ssh/ssh_host_ed25519_key
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
LogLevel VERBOSE
"""
# What a host has of this machine's /etc: accounts, and how names, programs and clocks are found.
ETC = ("passwd", "group", "shadow", "nsswitch.conf", "host.conf", "gai.conf", "services", "login.defs",
       "environment", "pam.d", "security", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
       "ssl/openssl.cnf")


def _run(argv):
    r = subprocess.run(argv, capture_output=True, text=True, check=False)
    if r.returncode:
        raise Skip(f"no right to make networks: {' '.join(argv)}: {r.stderr.strip()}")


class Network:
    """The hosts and the bridge between them; they end with the `with`. With `ipv6` they have nothing else."""

    def __init__(self, env, names, ports=None, ipv6=False):
        if not ROOT:
            raise Skip("namespaces need root")
        for tool in ("unshare", "nsenter", "ip"):
            if not shutil.which(tool):
                raise Skip(f"{tool} is not installed")
        self.env = env
        self.admin = keygen(env.path("admin"))
        self.switch = env.spawn(["unshare", "-n", "sleep", "infinity"])
        self.within(["ip", "link", "add", "bridge0", "type", "bridge"], wait=True)
        self.within(["ip", "link", "set", "bridge0", "up"])
        self.hosts = {}
        self.prefix, start = (64, "fd77::") if ipv6 else (24, "10.77.0.")
        addresses = {name: f"{start}{i + 1}" for i, name in enumerate(names)}
        for name in names:
            self.hosts[name] = Host(self, name, addresses, (ports or {}).get(name, 22))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for p in [self.switch] + [h.holder for h in self.hosts.values()]:
            p.kill()
            p.wait()

    def within(self, argv, wait=False):
        """In the switch's network; `wait`: until it has one of its own."""
        if wait:
            pid = self.switch.pid
            ours = os.readlink("/proc/self/ns/net")
            wait_for(lambda: self.switch.poll() is not None or
                     os.readlink(f"/proc/{pid}/ns/net") != ours, "a network of its own")
            if self.switch.poll() is not None:
                raise Skip("no right to make a network namespace")
        _run(["nsenter", "-t", str(self.switch.pid), "-n", *argv])


class Host:
    def __init__(self, network, name, addresses, port):
        self.env, self.name, self.address, self.port = network.env, name, addresses[name], port
        self.files = self.env.path(name)
        self.background = []
        self._lay_out(network, addresses)
        self.holder = self.env.spawn(
            ["unshare", "-m", "-u", "-n", "-p", "-f", "--kill-child", "--mount-proc",
             "--propagation", "private", "sh", "-c", PREPARE, "sh", name, self.files],
            stderr=subprocess.PIPE)
        wait_for(lambda: os.path.exists(f"{self.files}/ready") or self.holder.poll() is not None,
                 f"{name} is there")
        if self.holder.poll() is not None:
            raise Skip("no right to make namespaces: " +
                       self.holder.stderr.read().decode().strip())
        self.pid = children(self.holder.pid)[0]
        plug = f"plug-{name}"
        network.within(["ip", "link", "add", plug, "type", "veth", "peer", "name", "eth0", "netns",
                        str(self.pid)])
        network.within(["ip", "link", "set", plug, "master", "bridge0", "up"])
        self.run(f"ip addr add {self.address}/{network.prefix} dev eth0 {'nodad' if ':' in self.address else ''} && "
                 "ip link set eth0 up")
        self.sshd()

    def _lay_out(self, network, addresses):
        for name in ETC:
            self._copy_of_ours(f"/etc/{name}")
        for name in ("root/.ssh", "run/sshd", "srv/www", "var/lib", "usr/local/bin"):
            os.makedirs(f"{self.files}/{name}", 0o755)
        os.chmod(f"{self.files}/root", 0o700)
        os.chmod(f"{self.files}/root/.ssh", 0o700)
        shutil.copy(MIRRORD, f"{self.files}/usr/local/bin/mirrord")
        etc = f"{self.files}/etc"
        names = "".join(f"{a} {n}\n" for n, a in addresses.items())
        write_text(f"{etc}/hosts", "127.0.0.1 localhost\n" + names, 0o644)
        write_text(f"{etc}/hostname", self.name + "\n", 0o644)
        write_text(f"{etc}/machine-id", os.urandom(16).hex() + "\n", 0o644)
        os.makedirs(f"{etc}/ssh")
        self.new_host_key()
        write_text(f"{etc}/ssh/sshd_config", SSHD_CONFIG.format(port=self.port), 0o644)
        shutil.copy(network.admin, f"{self.files}/root/.ssh/id_ed25519")
        shutil.copy(network.admin + ".pub", f"{self.files}/root/.ssh/authorized_keys")

    def _copy_of_ours(self, path):
        there = self.files + path
        os.makedirs(os.path.dirname(there), exist_ok=True)
        if os.path.isdir(path):
            shutil.copytree(path, there, symlinks=True)
        elif os.path.exists(path):
            shutil.copy2(path, there)

    def new_host_key(self):
        key = f"{self.files}/etc/ssh/ssh_host_ed25519_key"
        for name in (key, key + ".pub"):
            if os.path.exists(name):
                os.unlink(name)
        keygen(key)

    def fingerprint(self):
        key = f"{self.files}/etc/ssh/ssh_host_ed25519_key.pub"
        return subprocess.check_output(["ssh-keygen", "-lf", key], text=True).split()[1]

    def enter(self, command):
        """The argument vector of a shell's command on this host."""
        return ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", "--",
                "env", "HOME=/root", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "sh", "-c", f"cd /root; {command}"]

    def run(self, command, code=0, timeout=120):
        r = self.env.run(*self.enter(command), code=None, timeout=timeout)
        r.argv = [f"{self.name}#", command]
        if code is not None and r.code != code:
            raise AssertionError(f"exit {r.code} instead of {code}\n{r}\n--- sshd\n" + "\n".join(
                read_text(f"{self.env.path(n)}/run/sshd.log")[-1500:]
                for n in sorted(os.listdir(self.env.dir)) if n.startswith("web")))
        return r

    def type(self, command, *answers, code=0, seconds=120):
        """At a terminal where somebody types: (a pattern that is waited for, what is typed)."""
        return type_at(self.env, self.enter(command), answers, code, seconds, [f"{self.name}#", command])

    def start(self, command, log):
        """In the background; its output goes to a file in /run."""
        p = self.env.spawn(self.enter(f"exec {command} >>/run/{log} 2>&1"))
        self.background.append(p)
        return p

    def log(self, name):
        return read_text(f"{self.files}/run/{name}")

    def sshd(self):
        before = len(self.log("sshd.log"))
        self.start("/usr/sbin/sshd -D -e", "sshd.log")
        wait_for(lambda: "Server listening" in self.log("sshd.log")[before:],
                 lambda: f"{self.name}: sshd listens\n{self.log('sshd.log')}")

    def die(self):
        """All its processes, at once; the network and the files stay."""
        self.run("kill -9 -1", code=None)
        for p in self.background:
            p.wait()
        self.background = []

    def put(self, path, data):
        where = self.files + path
        os.makedirs(os.path.dirname(where), exist_ok=True)
        with open(where, "wb") as f:
            f.write(data)

    def get(self, path):
        try:
            with open(self.files + path, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return None
