# Runs once inside the image, offline: accounts, ssh, and nothing that makes noise. PASSWORD is in the environment.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# A node has no way out of its bed: no package sources, no resolver.
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
rm -f /etc/resolv.conf /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
: >/etc/resolv.conf
: >/etc/machine-id

for user in ops dev guest; do
	useradd --create-home --shell /bin/bash "$user"
done
for user in root ops dev guest; do
	echo "$user:$PASSWORD"
done | chpasswd
cat >/etc/sudoers.d/bed <<'S'
ops ALL=(ALL:ALL) NOPASSWD: ALL
dev ALL=(ALL:ALL) ALL
S
chmod 440 /etc/sudoers.d/bed
cat >/etc/ssh/sshd_config.d/bed.conf <<'S'
PermitRootLogin yes
PasswordAuthentication yes
UseDNS no
S

for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer \
	systemd-timesyncd.service systemd-networkd-wait-online.service console-getty.service; do
	ln -sf /dev/null "/etc/systemd/system/$unit"
done
# Each node chooses its firewall when it is made.
systemctl disable firewalld nftables 2>/dev/null
systemctl enable ssh 2>/dev/null
