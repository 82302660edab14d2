#!/bin/sh
# Runs its arguments where max.internal is 10.99.0.1, an address of this machine that is no
# loopback address. To be called in namespaces of its own: unshare -rnm sh tests/proxies.sh …
set -eu
ip link set lo up
ip link add max0 type veth peer name max1
ip addr add 10.99.0.1/24 dev max0
ip link set max0 up
ip link set max1 up
hosts=$(mktemp)
printf '127.0.0.1 localhost\n10.99.0.1 max.internal\n' >"$hosts"
mount --bind "$hosts" /etc/hosts
rm "$hosts"
exec "$@"
