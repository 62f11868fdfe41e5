//go:build !linux

// Machines without /proc tell nothing.
package load

import "time"

func machineUsage() Usage            { return Usage{At: time.Now()} }
func processUsage(pid int) ProcUsage { return ProcUsage{Pid: pid} }
