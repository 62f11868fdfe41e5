// Package bed brings up real hosts on one Linux machine, for tests: each node boots its own systemd, sshd and firewall from a
// Debian image inside a network namespace, and an operator's namespace stands beside them from which the program under test runs.
//
//	operator 192.168.31.1   ──┐
//	node1    192.168.31.101 ──┼── br0 in the switch namespace (no uplink: no packet leaves the bed)
//	node2    192.168.31.102 ──┘
//
// The machine itself keeps its interfaces, routes, firewall rules and sysctls: both ends of every cable are born inside the
// bed's namespaces. Several beds can stand side by side with the same addresses; each has a random name of its own.
//
// Accounts on every node: root, ops (sudo without a password), dev (sudo with one) and guest (no sudo), all with Password. The
// operator's key opens root, ops and dev.
//
// What a node cannot do: load kernel modules, set the clock, change machine-wide sysctls, enforce MemoryMax on a machine that
// binds the memory controller to cgroup v1, lose unsynced data in a power cut (the page cache is the machine's).
package bed

// Password of root, ops, dev and guest on every node.
const Password = "bed-password"

// KeyPassphrase opens the operator's second key (Bed.SealedKey).
const KeyPassphrase = "bed-passphrase"
