#!/bin/sh
# Build the lab's guest: .lab/guest/vmlinuz (Debian's cloud kernel, downloaded, never installed)
# and .lab/guest/initramfs.cpio (the virtio modules and agent.c as init). Does nothing when
# both are there and nothing they are made of has changed.
set -eu
sources=$(cd "$(dirname "$0")" && pwd)
guest=$(cd "$sources/../../.." && pwd)/.lab/guest
mkdir -p "$guest"

inputs=$(cat "$sources"/*.c "$sources"/*.h "$sources/build.sh" | sha256sum)
[ "$inputs" != "$(cat "$guest/inputs" 2>/dev/null)" ] || exit 0
rm -f "$guest/inputs"

download() {
    # The meta package names the kernel of the day; what that needs of the same version has the rest: from Debian 14 on,
    # kernel and modules have packages of their own.
    packages=$(apt-cache depends --recurse --important linux-image-cloud-amd64 2>/dev/null |
        grep -E '^linux-[a-z]+-[0-9].*-cloud-amd64$' | sort -u)
    [ -n "$packages" ] || { echo "apt knows no linux-image-cloud-amd64" >&2; return 1; }
    rm -rf "$guest/download"
    mkdir "$guest/download"
    # shellcheck disable=SC2086 # the words are the packages
    (cd "$guest/download" && apt-get -qq -o APT::Sandbox::User=root download $packages)
}
if [ ! -d "$guest/kernel" ]; then
    # apt's lists may be missing, or name a version that is no longer there.
    download || { apt-get -q update -o APT::Update::Error-Mode=any && download; } || exit 1
    for package in "$guest"/download/*.deb; do
        dpkg -x "$package" "$guest/download/kernel"
    done
    cp "$(find "$guest/download/kernel" -type f -name 'vmlinuz*')" "$guest/vmlinuz"
    mv "$guest/download/kernel" "$guest/kernel"
    rm -rf "$guest/download"
fi

root=$guest/root
rm -rf "$root"
mkdir -p "$root/modules"
gcc -std=c11 -O2 -Wall -Wextra -static -s -o "$root/init" "$sources"/*.c
# In the order in which they need each other; a kernel that has one built in lacks the file.
for module in virtio_ring virtio failover net_failover virtio_net \
    virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci; do
    file=$(find "$guest/kernel" -name "$module.ko" -o -name "$module.ko.xz")
    case $file in
    '') continue ;;
    *.xz) xz -dc "$file" >"$root/modules/$module.ko" ;;
    *) cp "$file" "$root/modules/" ;;
    esac
    echo "/modules/$module.ko" >>"$root/modules/order"
done
# Not compressed: the guest's CPU is emulated, the copy is cheaper than the unpacking.
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >"$guest/initramfs.cpio"
rm -rf "$root"
echo "$inputs" >"$guest/inputs"
