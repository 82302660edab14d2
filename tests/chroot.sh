#!/bin/sh
# The static rig in an empty chroot (no libc, no /etc, no home) does the main job over
# TLS against a maxd with a private authority. Needs root, for the chroot.
set -eu
cd "$(dirname "$0")/.."
rig=target/static/rig
maxd=target/debug/maxd
chroot=$(command -v chroot || echo /usr/sbin/chroot)
work=$(mktemp -d)
pid=
clean() {
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true
    rm -rf "$work"
}
trap clean EXIT
fail() {
    echo "chroot: $1" >&2
    cat "$work/maxd.log" >&2
    exit 1
}

"$maxd" serve --data "$work/data" --listen 127.0.0.1:0 --apps-listen 127.0.0.1:0 --domain localhost \
    --tls-self-signed --ready-file "$work/ready" >"$work/maxd.log" 2>&1 &
pid=$!
tries=0
until [ -f "$work/ready" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] && kill -0 "$pid" 2>/dev/null || fail "maxd did not start"
    sleep 0.1
done
url=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$work/ready")
token=$("$maxd" token create --data "$work/data" --user ada)

mkdir -p "$work/root/site"
cp "$rig" "$work/root/rig"
cp "$work/data/tls/ca.pem" "$work/root/ca.pem"
cp tests/apps/static/* "$work/root/site/"
run() {
    echo "\$ rig $*"
    env -i RIG_URL="$url" RIG_TOKEN="$token" RIG_CA=/ca.pem "$chroot" "$work/root" /rig "$@" || fail "rig $1 ended with $?"
}
run whoami
run create network blue
run create app web --network blue
run deploy /site --app web --network blue
run status app web.blue
run logs build web.blue
run list apps
# What is in memory: nothing both writable and executable, and of the file only .data
# writable; what was relocated is read-only again.
mkfifo "$work/token"
env -i RIG_CONFIG_DIR=/config "$chroot" "$work/root" /rig login --url "$url" --token-stdin <"$work/token" >/dev/null 2>&1 &
rig_pid=$!
exec 3>"$work/token"
maps() { grep -c "$1" "/proc/$rig_pid/maps" || true; }
tries=0
until [ "$(maps '/rig$')" -ge 4 ]; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] || fail "rig's memory is not as expected"
    sleep 0.1
done
found="$(maps ' rwx') $(maps ' r--p .*/rig$') $(maps ' r-xp .*/rig$') $(maps ' rw-p .*/rig$')"
exec 3>&-
wait "$rig_pid" || true
[ "$found" = "0 2 1 1" ] || fail "rig's memory is not protected: $found"
[ "$(ls "$work/root" | tr '\n' ' ')" = "ca.pem rig site " ] || fail "rig left something behind"
echo "chroot: the main job works in an empty chroot"
