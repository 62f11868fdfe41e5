// What only Linux has: a network of one's own, pinning, an idle priority, dropping a file from memory.
package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const inOwnNetwork = "BENCH_OWN_NETWORK"

// ownNetwork runs this program again in a network namespace, as root; anybody else measures on the machine's loopback.
// entered says that this has been done.
func ownNetwork(ctx context.Context) (entered bool, err error) {
	if os.Getenv(inOwnNetwork) != "" {
		return false, loopbackUp()
	}
	if os.Getuid() != 0 {
		return false, nil
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it stops its brokers and writes its page
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inOwnNetwork+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		return false, nil // not allowed here: the machine's loopback will do
	}
	return true, cmd.Wait()
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("bring the loopback up: %w", err)
	}
	return nil
}

// pin keeps this program and all it starts on some processors: "0-1,4".
func pin(cpus string) error {
	if cpus == "" {
		return nil
	}
	var set unix.CPUSet
	for part := range strings.SplitSeq(cpus, ",") {
		a, b, ok := strings.Cut(part, "-")
		from, err := strconv.Atoi(a)
		to := from
		if ok && err == nil {
			to, err = strconv.Atoi(b)
		}
		if err != nil {
			return fmt.Errorf("CPUS=%s: %w", cpus, err)
		}
		for n := from; n <= to; n++ {
			set.Set(n)
		}
	}
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, &set); err != nil {
			return fmt.Errorf("CPUS=%s: %w", cpus, err)
		}
	}
	return nil
}

// idlePriority lets this process run only when no other wants to.
func idlePriority() {
	runtime.LockOSThread()
	attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		_ = unix.SchedSetAttr(tid, &attr, 0)
	}
}

// forget drops the files below dir from the page cache.
func forget(dir string) {
	unix.Sync()
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if f, err := os.Open(path); err == nil {
				_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
				f.Close()
			}
		}
		return nil
	})
}

func syncDisks() { unix.Sync() }

// onDisk is the space a file takes: a sparse one takes less than it is long.
func onDisk(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Sysname[:]) + " " + unix.ByteSliceToString(u.Release[:])
}

func dataSync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
