#!/bin/sh
# Builds the Debian package into a directory: sh packaging/build-deb.sh [DIRECTORY]
# On Debian 12 or newer, with the packages of Build-Depends in packaging/debian/control. Nothing is fetched.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin  # Debian's own Python, whatever comes first elsewhere
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$top/build/deb}"
target=$(cd "${1:-$top/build/deb}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

mkdir "$work/macmgr"
tar -C "$top" -c --exclude='__pycache__' --exclude='*.pyc' LICENSE README.rst CHANGELOG.rst pyproject.toml docs hooks \
    macmgr packaging xml-schemas | tar -C "$work/macmgr" -x
mv "$work/macmgr/packaging/debian" "$work/macmgr/debian"
cd "$work/macmgr"
dpkg-buildpackage --build="${BUILD:-all}" --no-sign
cd "$work"
for file in macmgr_*; do
    mv "$file" "$target/"
done
