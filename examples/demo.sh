#!/bin/sh
# mirrord at work, on this machine alone: builds it, starts a private sshd on a free loopback port with
# throwaway keys, mirrors a WordPress-shaped tree once, then runs the daemon with two secondaries and
# shows how long uploads and a changed plugin file take to appear on each. Removes all it made.
# Usage: sh examples/demo.sh
set -eu
exec </dev/null
top=$(cd "$(dirname "$0")/.." && pwd)
. "$top/tests/packages.sh"
say() { printf '\n== %s\n' "$*"; }

# shellcheck disable=SC2086 # lists
packages_need $packages_build $packages_ssh

shm=/dev/shm
[ -w "$shm" ] && [ "$(df -Pk "$shm" | awk 'NR == 2 { print $4 }')" -gt 1000000 ] || shm=${TMPDIR:-/tmp}
work=$(mktemp -d "$shm/mirrord-demo-XXXXXX")
pids=
clean_up() {
    for pid in $pids; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# COMMAND…: until it succeeds, at most a minute.
wait_until() {
    tries=600
    until "$@" 2>/dev/null; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ]; then
            echo "gave up waiting for: $*" >&2
            cat "$work"/*.log >&2
            exit 1
        fi
        sleep 0.1
    done
}

say "building"
{ meson setup "$work/build" "$top" -Dtests=false --buildtype release &&
    meson compile -C "$work/build"; } >"$work/build.log" 2>&1 ||
    { cat "$work/build.log" && exit 1; }
mirrord=$work/build/mirrord/mirrord
echo "$mirrord"

say "a private sshd and keys"
sshd=$(command -v sshd || echo /usr/sbin/sshd)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
ssh-keygen -q -t ed25519 -N '' -C 'demo host' -f "$work/host_key"
ssh-keygen -q -t ed25519 -N '' -C 'demo user' -f "$work/key"
cp "$work/key.pub" "$work/authorized_keys"
echo "[127.0.0.1]:$port $(cut -d ' ' -f 1-2 "$work/host_key.pub")" >"$work/known_hosts"
cat >"$work/sshd_config" <<END
Port $port
ListenAddress 127.0.0.1
HostKey $work/host_key
AuthorizedKeysFile $work/authorized_keys
PidFile none
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME=$work
END
[ "$(id -u)" != 0 ] || mkdir -p /run/sshd
"$sshd" -D -e -f "$work/sshd_config" >"$work/sshd.log" 2>&1 &
pids="$!"
wait_until grep -q 'Server listening' "$work/sshd.log"
echo "127.0.0.1 port $port"

say "a tree like a WordPress document root"
mkdir "$work/data"
PYTHONPATH=$top/tests/e2e python3 -B -c 'import sys, trees; trees.WordPress(sys.argv[1], 5000)' "$work/data/web1"
echo "$(find "$work/data/web1" -type f | wc -l) files, $(du -sm "$work/data/web1" | cut -f 1) MB"

# Each far end gets a state directory of its own: on real servers they are different machines.
for host in once web2 web3; do
    printf '#!/bin/sh\nexec "%s" "$@" --state-dir "%s/state-%s"\n' "$mirrord" "$work" "$host" >"$work/on-$host"
    chmod +x "$work/on-$host"
done

say "mirrord resync: the whole tree, once"
"$mirrord" resync -p "$port" -i "$work/key" --known-hosts "$work/known_hosts" \
    --remote-command "$work/on-once" --state-dir "$work/state-web1" \
    "$work/data/web1" "127.0.0.1:$work/data/once"
echo "and again, with nothing to do:"
"$mirrord" resync -p "$port" -i "$work/key" --known-hosts "$work/known_hosts" \
    --remote-command "$work/on-once" --state-dir "$work/state-web1" \
    "$work/data/web1" "127.0.0.1:$work/data/once"

say "mirrord run: the daemon, with two secondaries"
cat >"$work/mirrord.conf" <<END
state-dir   = "$work/state-web1"
control     = "$work/control"
identity    = "$work/key"
known-hosts = "$work/known_hosts"

host web1 { address = "127.0.0.1" }
host web2 { address = "127.0.0.1"  port = $port  remote-command = "$work/on-web2" }
host web3 { address = "127.0.0.1"  port = $port  remote-command = "$work/on-web3" }

site "example.com" {
  root    = "$work/data/web1"
  hosts   = {web1, web2, web3}
  primary = web1
  at web2 { root = "$work/data/web2" }
  at web3 { root = "$work/data/web3" }
}
END
cat "$work/mirrord.conf"
"$mirrord" run -c "$work/mirrord.conf" --as web1 2>"$work/daemon.log" &
pids="$! $pids"
wait_until grep -qw ready "$work/daemon.log"
grep -w ready "$work/daemon.log"

say "milliseconds until a change is on each secondary"
python3 -B - "$work/data" <<'END'
import os, sys, time

data = sys.argv[1]
size = lambda n: f"{n / 1000:.0f} KB"


def appears(path, content):
    """Writes it on web1; milliseconds from the close until each secondary has it, whole."""
    full = os.path.join(data, "web1", path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "wb") as f:
        f.write(content)
        f.flush()
        start, found = time.monotonic(), {}
    while len(found) < 2:
        for host in {"web2", "web3"} - set(found):
            try:
                with open(os.path.join(data, host, path), "rb") as f:
                    if f.read() == content:
                        found[host] = (time.monotonic() - start) * 1000
            except FileNotFoundError:
                pass
        if time.monotonic() - start > 30:
            sys.exit(f"{path} did not come in 30 s")
        time.sleep(0.0005)
    return found


print(f"{'what':46}{'size':>8}{'web2':>9}{'web3':>9}")
changes = [(f"wp-content/uploads/2024/05/picture-{i}.jpg", os.urandom(5000 * 3 ** i)) for i in range(5)]
plugin = next(os.path.join(d, n) for d, _, names in os.walk(os.path.join(data, "web1/wp-content/plugins"))
              for n in sorted(names))
with open(plugin, "rb") as f:
    code = f.read() + b"\n/* changed */\n"
changes.append((os.path.relpath(plugin, os.path.join(data, "web1")), code))
for path, content in changes:
    found = appears(path, content)
    print(f"{path:46}{size(len(content)):>8}{found['web2']:9.1f}{found['web3']:9.1f}", flush=True)
END

say "mirrord flush, mirrord status"
"$mirrord" flush -c "$work/mirrord.conf"
"$mirrord" status -c "$work/mirrord.conf"

say "done; removing everything"
