#!/bin/bash
# The completion for bash offers what the program's help has and what the configuration names.
# Usage: check_completion.sh TOP-OF-THE-TREE MIRRORD
top=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ln -s "$2" "$work/mirrord"
PATH=$work:$PATH
cat >"$work/c.conf" <<'CONF'
host web1 { address = "a" }
host web2 { address = "b" }
site "example.com" { root = "/srv/x" hosts = {web1, web2} primary = web1 }
sites "shops" { glob = "/srv/*/htdocs" hosts = {web1, web2} primary = web1 }
CONF
. "$top/examples/bash-completion/mirrord"
passed=0 failed=0

offers() { # WANTED… -- the words on the line
    local wanted=()
    while [ "$1" != -- ]; do
        wanted+=("$1")
        shift
    done
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMPREPLY=()
    _mirrord
    for w in "${wanted[@]}"; do
        if printf '%s\n' "${COMPREPLY[@]}" | grep -qxF -- "$w"; then
            passed=$((passed + 1))
        else
            failed=$((failed + 1))
            echo "FAIL '$*' does not offer '$w' but: ${COMPREPLY[*]}"
        fi
    done
}

offers run resync status flush help --version -- mirrord ""
offers resync reload receive recover -- mirrord re
offers --timeout --all --config -t -- mirrord flush -
offers --max-delete --adopt -- mirrord resync --
offers example.com shops web2 -- mirrord flush -c "$work/c.conf" ""
offers web1 web2 -- mirrord run -c "$work/c.conf" --as ""
offers web1 web2 -- mirrord pair -c "$work/c.conf" web
offers --rehost --rotate --accept-fingerprint -- mirrord pair --
offers web2 -- mirrord pair -c "$work/c.conf" --rehost ""
offers --http --agent --orphaned --quiet -- mirrord health --
offers up down -- mirrord health --orphaned ""
offers example.com shops -- mirrord health -c "$work/c.conf" --http ""
offers libssh2 openssh -- mirrord resync --transport ""
echo "$passed passed, $failed failed"
[ $failed = 0 ]
