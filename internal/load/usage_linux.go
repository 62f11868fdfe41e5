// The numbers of /proc.
package load

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the kernel's unit of processor time; 100 a second on every machine Go runs on.
const tick = 10 * time.Millisecond

func machineUsage() Usage {
	u := Usage{At: time.Now(), Own: ownCPU()}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	// cpu user nice system idle iowait irq softirq steal guest guest_nice; guest is part of user
	f := bytes.Fields(line)
	for i := 1; i < len(f) && i <= 8; i++ {
		d := time.Duration(number(f[i])) * tick
		u.Total += d
		switch i {
		case 1, 2, 3:
			u.Busy += d
		case 8:
			u.Steal = d
		}
	}
	u.Kernel = kernelThreads()
	return u
}

// ownCPU is exact to the microsecond.
func ownCPU() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// kernelThreads is the time of all threads whose parent is kthreadd.
func kernelThreads() time.Duration {
	dir, err := os.Open("/proc")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, _ := dir.Readdirnames(-1)
	var sum time.Duration
	for _, n := range names {
		if n[0] < '1' || n[0] > '9' {
			continue
		}
		if ppid, cpu, ok := stat(n); ok && ppid == 2 {
			sum += cpu
		}
	}
	return sum
}

func stat(pid string) (ppid int, cpu time.Duration, ok bool) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0, 0, false
	}
	// The name may hold blanks; behind its last bracket: state ppid ... utime and stime are the 12th and 13th from there.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 13 {
		return 0, 0, false
	}
	return int(number(f[1])), time.Duration(number(f[11])+number(f[12])) * tick, true
}

func processUsage(pid int) ProcUsage {
	p := ProcUsage{Pid: pid}
	_, p.CPU, _ = stat(strconv.Itoa(pid))
	if ns, ok := schedTime(pid); ok {
		p.CPU = ns
	}
	eachLine(fmt.Sprintf("/proc/%d/status", pid), func(name string, n int64) {
		switch name {
		case "VmRSS":
			p.RSS = n << 10
		case "RssAnon":
			p.Anon = n << 10
		}
	})
	eachLine(fmt.Sprintf("/proc/%d/io", pid), func(name string, n int64) {
		switch name {
		case "wchar":
			p.Written = n
		case "syscw":
			p.WriteCalls = n
		}
	})
	return p
}

// schedTime is the processor time of all threads that still live, in nanoseconds. Where the kernel keeps it, it is finer than
// ticks; threads that have ended are missing, so it is taken only when it is the greater.
func schedTime(pid int) (time.Duration, bool) {
	_, ticks, ok := stat(strconv.Itoa(pid))
	if !ok {
		return 0, false
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return 0, false
	}
	var sum time.Duration
	for _, t := range tasks {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/schedstat", pid, t.Name()))
		if f := bytes.Fields(b); err == nil && len(f) > 0 {
			sum += time.Duration(number(f[0]))
		}
	}
	return sum, sum > ticks
}

func eachLine(path string, f func(name string, n int64)) {
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	for line := range bytes.Lines(b) {
		name, rest, ok := bytes.Cut(line, []byte(":"))
		if fields := bytes.Fields(rest); ok && len(fields) > 0 {
			f(string(name), number(fields[0]))
		}
	}
}

func number(b []byte) int64 {
	n, _ := strconv.ParseInt(string(b), 10, 64)
	return n
}
