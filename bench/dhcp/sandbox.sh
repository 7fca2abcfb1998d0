#!/bin/sh
# sandbox.sh COMMAND...: runs it with private copies of /etc, /run and the clients' state
# directories, so that no client touches the machine's own. The caller has unshared the mounts;
# everything vanishes with the command.
set -e
state="dhcpcd dhcp NetworkManager systemd/network dbus iphelper"
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
for lower in /etc /var/lib; do
  mkdir -p "$work/upper$lower" "$work/work$lower"
  mount -t overlay overlay -o "lowerdir=$lower,upperdir=$work/upper$lower,workdir=$work/work$lower" "$lower"
done
umount -l "$work"
rmdir "$work"
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/dbus /run/udhcpc /run/iphelper \
  /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif 2>/dev/null || true
for directory in $state; do
  mkdir -p "/var/lib/$directory"
  mount -t tmpfs tmpfs "/var/lib/$directory"
done
mount -t sysfs -o ro sysfs /sys
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
: > /etc/resolv.conf
cd /
exec "$@"
