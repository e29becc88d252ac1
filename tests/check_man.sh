#!/bin/sh
# The manual pages are clean under mandoc's lint. Usage: check_man.sh TOP-OF-THE-TREE
command -v mandoc >/dev/null || exit 77 # meson: skipped
pages=$(find "$1" -name .git -prune -o -name 'mirrord*.[58]' -print)
case "$pages" in
*mirrord.8*mirrord.conf.5* | *mirrord.conf.5*mirrord.8*) ;;
*)
    echo "mirrord.8 and mirrord.conf.5 are not both there: $pages"
    exit 1
    ;;
esac
# shellcheck disable=SC2086 # names without blanks
mandoc -T lint -W warning $pages && echo "clean: $pages"
