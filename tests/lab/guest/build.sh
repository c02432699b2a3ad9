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
    # The meta package names the kernel of the day.
    package=$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p' | head -n 1)
    [ -n "$package" ] || { echo "apt knows no linux-image-cloud-amd64" >&2; return 1; }
    rm -rf "$guest/download"
    mkdir "$guest/download"
    (cd "$guest/download" && apt-get -qq -o APT::Sandbox::User=root download "$package")
}
if [ ! -d "$guest/kernel" ]; then
    # apt's lists may be missing, or name a version that is no longer there.
    download || { apt-get -q update -o APT::Update::Error-Mode=any && download; } || exit 1
    dpkg -x "$guest"/download/*.deb "$guest/download/kernel"
    cp "$guest"/download/kernel/boot/vmlinuz-* "$guest/vmlinuz"
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
    file=$(find "$guest/kernel/lib/modules" -name "$module.ko")
    [ -n "$file" ] || continue
    cp "$file" "$root/modules/"
    echo "/modules/$module.ko" >>"$root/modules/order"
done
# Not compressed: the guest's CPU is emulated, the copy is cheaper than the unpacking.
(cd "$root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) >"$guest/initramfs.cpio"
rm -rf "$root"
echo "$inputs" >"$guest/inputs"
