#!/bin/sh
# Build virtqemud and virtnetworkd into .lab/split: no release of Debian has them. Does nothing when both are there and
# nothing that they are made of has changed.
#
# Each is libvirtd's own program with one driver, and loads that driver and the library from Debian's packages. So only
# the programs are compiled, and what they are linked with, from the source package of the libvirt that is installed here.
# Compilers and headers are installed for it: run it in a tree of another release (tests/lab/debian.py).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
split=$(cd "$here/../.." && pwd)/.lab/split
version=$(dpkg-query -W -f '${source:Version}' libvirt-daemon)
mkdir -p "$split"

inputs=$(echo "$version" | cat - "$here/split_daemons.sh" | sha256sum)
[ "$inputs" != "$(cat "$split/inputs" 2>/dev/null)" ] || exit 0
rm -rf "$split/inputs" "$split/sources" "$split/lists" "$split/package" "$split/build"
mkdir -p "$split/sources" "$split/lists/partial" "$split/package"

echo "split: building virtqemud and virtnetworkd of libvirt $version …"
exec 3>&2 >"$split/log" 2>&1
trap 'echo "split: the build failed; see $split/log" >&3' EXIT
DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install gcc libc6-dev libglib2.0-dev libgnutls28-dev \
    libjson-c-dev libnl-3-dev libnl-route-3-dev libtirpc-dev libxml2-dev libxml2-utils meson ninja-build patch pkg-config \
    python3 xsltproc xz-utils

# A list of package sources of our own: this machine's, for source packages.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [ ! -f "$file" ] || sed -n 's/^deb /deb-src /p' "$file" >>"$split/sources/split.list"
done
for file in /etc/apt/sources.list.d/*.sources; do
    [ ! -f "$file" ] || sed 's/^Types:.*/Types: deb-src/' "$file" >"$split/sources/$(basename "$file")"
done
apt_of_ours() {
    apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$split/sources" \
        -o "Dir::State::lists=$split/lists" -o APT::Sandbox::User=root "$@"
}
apt_of_ours update
cd "$split/package"
# Each archive by itself, without the file that signs them: apt has their checksums from the release's signed list.
apt_of_ours source --download-only --tar-only "libvirt=$version"
apt_of_ours source --download-only --diff-only "libvirt=$version"
tar -xf libvirt_*.orig.tar.?z --strip-components=1
tar -xf libvirt_*.debian.tar.?z
sed 's/ *#.*//; /^$/d' debian/patches/series >patches
while read -r name; do
    patch --silent -p1 <"debian/patches/$name"
done <patches

meson setup "$split/build" --buildtype=plain --auto-features=disabled --prefix=/usr --sysconfdir=/etc --localstatedir=/var \
    --libexecdir=lib/libvirt --libdir="lib/$(gcc -print-multiarch)" -Drunstatedir=/run -Dno_git=true -Dinit_script=none \
    -Djson_c=enabled -Dlibnl=enabled -Ddriver_remote=enabled -Ddriver_libvirtd=enabled -Ddriver_qemu=enabled \
    -Ddriver_network=enabled
nice ninja -j "$(nproc)" -C "$split/build" src/virtqemud src/virtnetworkd
# Next to no library of their own, they load Debian's.
install "$split/build/src/virtqemud" "$split/build/src/virtnetworkd" "$split/"
rm -rf "$split/sources" "$split/lists" "$split/package" "$split/build"
trap - EXIT
echo "$inputs" >"$split/inputs"
