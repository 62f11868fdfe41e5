// What a run cost: processor time and memory of the brokers, of this process, and of everything else on the machine.
package load

import (
	"time"
)

// Usage is the state of the machine at one moment, as the kernel tells it. Machines that tell nothing leave it zero.
type Usage struct {
	At     time.Time
	Own    time.Duration // of this process
	Procs  []ProcUsage
	Busy   time.Duration // user, nice and system time of all
	Steal  time.Duration
	Total  time.Duration // of all processors, idle time too
	Kernel time.Duration // of the kernel's own threads
}

// ProcUsage is one process at one moment.
type ProcUsage struct {
	Pid                  int
	CPU                  time.Duration
	RSS, Anon            int64 // bytes
	Written              int64 // bytes given to write calls
	WriteCalls, Switches int64
}

// Cost is what one process used during a run.
type Cost struct {
	Pid           int     `json:"pid"`
	CPUSeconds    float64 `json:"cpuSeconds"`
	CPUPerMessage float64 `json:"cpuMicrosPerMessage"`
	RSSMiB        float64 `json:"rssMiB"`
	AnonMiB       float64 `json:"rssAnonMiB"`
	WrittenMiB    float64 `json:"writtenMiB"`
	WriteCalls    int64   `json:"writeCalls"`
}

// Machine is what else happened.
type Machine struct {
	ForeignPercent float64 `json:"foreignPercent"` // other programs, of all processors
	KernelPercent  float64 `json:"kernelThreadsPercent"`
	StealPercent   float64 `json:"stealPercent"`
}

func takeUsage(pids []int) Usage {
	u := machineUsage()
	for _, pid := range pids {
		u.Procs = append(u.Procs, processUsage(pid))
	}
	return u
}

// TakeUsage is the state of the machine now.
func TakeUsage(pids ...int) Usage { return takeUsage(pids) }

// Since says what the processes of u have used since from, for so many messages.
func (u Usage) Since(from Usage, messages int64) (costs []Cost, m Machine) {
	per := func(d time.Duration) float64 {
		if messages == 0 {
			return 0
		}
		return float64(d.Nanoseconds()) / 1e3 / float64(messages)
	}
	known := u.Own - from.Own
	for i, p := range u.Procs {
		was := from.Procs[i]
		cpu := p.CPU - was.CPU
		known += cpu
		costs = append(costs, Cost{
			Pid: p.Pid, CPUSeconds: cpu.Seconds(), CPUPerMessage: per(cpu), RSSMiB: mib(p.RSS), AnonMiB: mib(p.Anon),
			WrittenMiB: mib(p.Written - was.Written), WriteCalls: p.WriteCalls - was.WriteCalls,
		})
	}
	if total := (u.Total - from.Total).Seconds(); total > 0 {
		kernel := u.Kernel - from.Kernel
		m.KernelPercent = 100 * kernel.Seconds() / total
		m.StealPercent = 100 * (u.Steal - from.Steal).Seconds() / total
		m.ForeignPercent = max(0, 100*(u.Busy-from.Busy-known-kernel).Seconds()/total)
	}
	return costs, m
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
