#!/bin/sh
# Unpack Debian's FRR below .lab/frr/root, for tests/evpn. It is not installed: its package starts services, and adds
# users. Nothing on this machine changes.
set -eu
cd "$(dirname "$0")/../.."
frr=$PWD/.lab/frr
[ ! -e "$frr/complete" ] || exit 0
rm -rf "$frr"
mkdir -p "$frr/download"

download() {
    # Each release has its own names for the libraries, which this machine may lack.
    libraries=$(apt-cache depends frr 2>/dev/null | sed -n 's/^ *Depends: \(lib[^:]*\)$/\1/p' | grep -vx libc6)
    # shellcheck disable=SC2086 # the words are the packages
    (cd "$frr/download" && apt-get -qq -o APT::Sandbox::User=root download frr $libraries)
}
# apt's lists may be missing, or name a version that is no longer there.
download || { apt-get -q update -o APT::Update::Error-Mode=any && download; } || exit 1
for package in "$frr"/download/*.deb; do
    dpkg -x "$package" "$frr/root"
done
rm -rf "$frr/download"
libraries=$frr/root/usr/lib/x86_64-linux-gnu
for program in zebra bgpd; do
    lacks=$(LD_LIBRARY_PATH=$libraries:$libraries/frr ldd "$frr/root/usr/lib/frr/$program" | grep 'not found') || continue
    echo "frr: $program lacks $lacks" >&2
    exit 1
done
touch "$frr/complete"
