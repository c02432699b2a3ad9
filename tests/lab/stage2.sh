# Second program of the lab: a machine fit for libvirtd, then the command, then power off.
umount -l /mnt
. /run/lab/settings
export LAB_RESULTS=/run/lab/results HOME=/root LANG=C.UTF-8 TERM="${LAB_TERM:-dumb}"

# The lab has no udev, so nothing loads modules by itself.
modprobe -d /run/lab/modules -a fuse bridge tun veth dummy vrf 8021q vxlan macvlan

hostname lab
echo '127.0.0.1 localhost lab' >/etc/hosts
ip link set lo up
# Guests and bridges here speak IPv4 only: no address detection to wait for, no stray frames.
echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6

# Debian's libvirt-daemon-system would bring these files and users, and start a daemon on the host.
# (libvirtd looks the user up, although nothing runs as it here.)
grep -q '^libvirt-qemu:' /etc/group || echo 'libvirt-qemu:x:64055:' >>/etc/group
grep -q '^libvirt-qemu:' /etc/passwd || echo 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin' >>/etc/passwd
mkdir -p /etc/libvirt/qemu/networks /var/lib/libvirt/qemu /var/lib/libvirt/dnsmasq /var/cache/libvirt /var/log/libvirt/qemu
cat >/etc/libvirt/libvirtd.conf <<'EOF'
unix_sock_group = "root"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
EOF
# namespaces: QEMU's private /dev has no ptmx here. The rest: root, and nothing that costs time.
# The filtered capability makes libvirt ask QEMU for each CPU property: 6 s in each start.
cat >/etc/libvirt/qemu.conf <<'EOF'
user = "root"
group = "root"
namespaces = []
security_driver = "none"
seccomp_sandbox = 0
dynamic_ownership = 0
remember_owner = 0
stdio_handler = "file"
capability_filters = [ "cpu-unavailable-features" ]
EOF
# What libvirt found out about QEMU in an earlier lab: the probe takes 20 s.
[ ! -d "$LAB_CHECKOUT/.lab/cache/libvirt" ] || cp -a "$LAB_CHECKOUT/.lab/cache/libvirt/." /var/cache/libvirt/

cd "$LAB_CHECKOUT"
status=0
case $LAB_INTERACTIVE in
yes) setsid -c -w sh /run/lab/command </dev/tty0 >/dev/tty0 2>&1 || status=$? ;;
*)
    # A line of its own for the command's output; raw, so that bytes arrive as they were written.
    stty -F /dev/ttyS0 raw
    setsid -w sh /run/lab/command </dev/null >/dev/ttyS0 2>&1 || status=$?
    ;;
esac

mkdir -p $LAB_RESULTS/cache
cp -a /var/cache/libvirt $LAB_RESULTS/cache/
echo $status >$LAB_RESULTS/status
sync
echo o >/proc/sysrq-trigger
# The power goes off in the background; init must not end before.
sleep 60
