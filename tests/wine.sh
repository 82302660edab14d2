#!/bin/sh
# rig.exe under Wine: its unit tests, and the main job against a maxd on Linux.
set -eu
cd "$(dirname "$0")/.."
maxd=target/debug/maxd
work=$(mktemp -d)
pid=
clean() {
    [ -z "$pid" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; } || true
    WINEPREFIX=$work/wine wineserver64 -k 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
fail() {
    echo "wine: $1" >&2
    cat "$work/maxd.log" >&2 || true
    exit 1
}

mkdir "$work/bin"
x86_64-w64-mingw32-gcc -shared -Os -o "$work/bin/bcryptprimitives.dll" tests/wine.c -ladvapi32
cp target/windows/rig.exe "$work/bin/rig.exe"
# The newest: cargo leaves older ones behind.
# shellcheck disable=SC2012
cp "$(ls -t target/windows/x86_64-pc-windows-gnu/debug/deps/rig-*.exe | head -1)" "$work/bin/tests.exe"
wine() {
    env -i PATH="$PATH" HOME="$work" WINEPREFIX="$work/wine" WINEDEBUG=-all wine64 "$@"
}
wine "$work/bin/tests.exe" --test-threads 2 || fail "unit tests failed"

"$maxd" serve --data "$work/data" --listen 127.0.0.1:0 --apps-listen 127.0.0.1:0 --domain localhost \
    --ready-file "$work/ready" >"$work/maxd.log" 2>&1 &
pid=$!
tries=0
until [ -f "$work/ready" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 300 ] && kill -0 "$pid" 2>/dev/null || fail "maxd did not start"
    sleep 0.1
done
url=$(sed 's/.*"url":"\([^"]*\)".*/\1/' "$work/ready")
"$maxd" token create --data "$work/data" --user ada >"$work/token"

mkdir -p "$work/site/sub"
cp tests/apps/static/* "$work/site/"
echo 'sub/*.log' >"$work/site/.rigignore"
echo here >"$work/site/sub/page.txt"
echo gone >"$work/site/sub/page.log"
run() {
    echo "\$ rig $*"
    wine "$work/bin/rig.exe" "$@" >"$work/out" || fail "rig $1 ended with $?"
    cat "$work/out"
}
# says TEXT: what the last command wrote has this line, or this in a line.
says() {
    grep -qF -- "$1" "$work/out" || fail "it did not say '$1'"
}

run --version
says 'rig '
run login --url "$url" --token-stdin --context file --store file <"$work/token"
run login --url "$url" --token-stdin --context ring <"$work/token"
grep -q '"place":"keyring"' "$work"/wine/drive_c/users/*/AppData/Roaming/rig/config.json || fail "no keyring"
run whoami
says ada
run create network blue
run deploy "$work/site" --app web --network blue --create
run list apps
says running
run list apps --context file --transport longpoll
says running
run status app web.blue
says 'release 1 serves'
run logs app web.blue --tail 5
says 'release 1 serves'
run command web.blue -- cat sub/page.txt </dev/null
says here
run command web.blue -- sh -c 'test ! -e sub/page.log && test -x sub/page.txt' </dev/null
echo through | { run command web.blue -- cat; }
says through
code=0
wine "$work/bin/rig.exe" command web.blue -- sh -c 'exit 9' </dev/null || code=$?
[ "$code" = 9 ] || fail "the exit code was $code"
run logout --context ring
echo "the main job works under $(wine64 --version)"
