#!/bin/sh
# First program of the lab's kernel: put a throw-away layer over the host's file system.
#
# The root here is the host's own tree, mounted read-only. Everything the lab writes goes to an
# overlay in memory; the two exceptions (results and nothing else) are bound in below.
# LAB_DIR comes from the kernel command line, by way of the environment.
set -eu
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

mount -t proc proc /proc
mount -t tmpfs tmpfs /run
# Debian keeps UML's modules beside the host's own; modprobe wants them below lib/modules.
mkdir -p /run/modules/lib
ln -s /usr/lib/uml/modules /run/modules/lib/modules
modprobe -d /run/modules overlay

mkdir /run/layer /run/root
mount -t tmpfs -o size=75% layer /run/layer
mkdir /run/layer/upper /run/layer/work
mount -t overlay overlay -o lowerdir=/,upperdir=/run/layer/upper,workdir=/run/layer/work /run/root

# The checkout, kept aside: it may lie below one of the directories that get a fresh tmpfs.
. "$LAB_DIR/settings"
mkdir /run/checkout
mount --bind "/run/root$LAB_CHECKOUT" /run/checkout

cd /run/root
mkdir -p proc sys dev run tmp mnt
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t devtmpfs devtmpfs dev
mkdir -p dev/pts dev/shm
mount -t devpts -o ptmxmode=666,mode=620,gid=5 devpts dev/pts
ln -sfn pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p ".$LAB_CHECKOUT"
mount --bind /run/checkout ".$LAB_CHECKOUT"

mkdir -p run/lab/modules/lib run/lab/results
ln -s /usr/lib/uml/modules run/lab/modules/lib/modules
# From Linux 6.9 on, and with a mount(8) that asks it the new way, hostfs wants the option's name.
mount -t hostfs -o "hostfs=$LAB_DIR/results" none run/lab/results 2>/dev/null ||
    mount -t hostfs -o "$LAB_DIR/results" none run/lab/results
cp "$LAB_DIR/settings" "$LAB_DIR/command" run/lab/

# A real new root, not a chroot: LXC containers and unshare -m refuse to work in a chroot.
pivot_root . mnt
exec chroot . /bin/sh "$LAB_CHECKOUT/tests/lab/stage2.sh"
