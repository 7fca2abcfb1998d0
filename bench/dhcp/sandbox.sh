#!/bin/sh
# sandbox.sh COMMAND...: runs it with private copies of /etc, /run and the clients' state
# directories, so that no client touches the machine's own. The caller has unshared the mounts;
# everything vanishes with the command.
set -e
work=$(mktemp -d)
mount -t tmpfs tmpfs "$work"
mkdir "$work/upper" "$work/work"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$work/upper,workdir=$work/work" /etc
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/dbus /run/udhcpc /run/iphelper \
  /run/systemd/netif/leases /run/systemd/netif/links /run/systemd/netif/lldp
chown -R systemd-network /run/systemd/netif 2>/dev/null || true
# What a client's package did not make is made below a tmpfs over /var/lib's own children only.
for directory in dhcpcd dhcp NetworkManager systemd/network dbus iphelper; do
  if [ ! -d "/var/lib/$directory" ]; then
    made="$made $directory"
  fi
done
if [ -n "$made" ]; then
  mkdir "$work/lib" "$work/libwork"
  mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$work/lib,workdir=$work/libwork" /var/lib
  for directory in $made; do mkdir -p "/var/lib/$directory"; done
fi
for directory in dhcpcd dhcp NetworkManager systemd/network dbus iphelper; do
  mount -t tmpfs tmpfs "/var/lib/$directory"
done
mount -t sysfs -o ro sysfs /sys
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
: > /etc/resolv.conf
cd /
umount -l "$work"
rmdir "$work" 2>/dev/null || true
exec "$@"
