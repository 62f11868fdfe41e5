# Becomes systemd-nspawn inside a private mount namespace: $1 bed, $2 node, the rest are nspawn's options.
set -eu
bed=$1 node=$2
shift 2
# A pure cgroup v2 view whatever the machine has, and a cgroup of the node's own: nspawn rearranges the one it is started in.
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p "/sys/fs/cgroup/$bed/$node"
for c in $(cat "/sys/fs/cgroup/$bed/cgroup.controllers"); do
	echo "+$c" 2>/dev/null >"/sys/fs/cgroup/$bed/cgroup.subtree_control" || true
done
echo $$ >"/sys/fs/cgroup/$bed/$node/cgroup.procs"
# nspawn keeps notes in /run/systemd; the machine may have a systemd of its own there.
mkdir -p /run/systemd
mount -t tmpfs -o mode=755 tmpfs /run/systemd
# /proc/sys/net belongs to the node's network namespace and may be written; the rest stays read-only.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec systemd-nspawn "$@"
