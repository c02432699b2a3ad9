#!/bin/sh
# Bring libvirt's own test suite, from Debian's source package, to .lab/corpus: thousands of XML files to read.
# Uses the machine's own package sources; needs no deb-src line, and changes none. Nothing of it is committed.
set -eu
cd "$(dirname "$0")/../.."
corpus=$PWD/.lab/corpus
[ ! -e "$corpus/complete" ] || exit 0
rm -rf "$corpus"
mkdir -p "$corpus/sources" "$corpus/lists/partial" "$corpus/package"

for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >>"$corpus/sources/corpus.list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$corpus/sources/$(basename "$file")"
done
apt="-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$corpus/sources -o Dir::State::lists=$corpus/lists"
# shellcheck disable=SC2086 # three options of apt-get, each of which is two words
(cd "$corpus/package" && apt-get -qq $apt update && apt-get -qq $apt source --download-only libvirt) >"$corpus/log" 2>&1 ||
    { echo "corpus: libvirt's source package could not be fetched; see $corpus/log" >&2; exit 1; }
for archive in "$corpus"/package/libvirt_*.orig.tar.?z; do
    tar -xf "$archive" -C "$corpus" --wildcards '*/tests/*.xml'
done
touch "$corpus/complete"
