#!/bin/sh
# Builds the RPM into a directory: sh packaging/build-rpm.sh [DIRECTORY]
# Needs rpmbuild, and what BuildRequires in packaging/rpm/macmgr.spec names. Nothing is fetched. Where the libraries are
# not RPMs, as on Debian: RPMBUILD='rpmbuild --nodeps'.
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin
top=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "${1:-$top/build/rpm}"
target=$(cd "${1:-$top/build/rpm}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' "$top/macmgr/__init__.py")
mkdir -p "$work/SOURCES"
tar -C "$top" -c --exclude='__pycache__' --exclude='*.pyc' --transform "s|^|macmgr-$version/|" -z \
    -f "$work/SOURCES/macmgr-$version.tar.gz" \
    LICENSE README.rst CHANGELOG.rst pyproject.toml docs hooks macmgr packaging xml-schemas
${RPMBUILD:-rpmbuild} -bb --define "_topdir $work" "$top/packaging/rpm/macmgr.spec"
mv "$work"/RPMS/noarch/*.rpm "$target/"
