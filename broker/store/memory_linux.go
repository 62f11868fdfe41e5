// How much memory this machine has, on Linux.

package store

import "golang.org/x/sys/unix"

// machineMemory is the size of this machine's memory.
func machineMemory() int64 {
	var si unix.Sysinfo_t
	if err := unix.Sysinfo(&si); err != nil {
		return 8 << 30
	}
	return int64(si.Totalram) * int64(si.Unit)
}
