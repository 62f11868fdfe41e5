//go:build !linux

package store

// machineMemory is a guess where asking the machine is not worth a dependency; Options.MemoryBytes overrides it.
func machineMemory() int64 { return 8 << 30 }
