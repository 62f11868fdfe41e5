//go:build linux

// Taking beds away: a bed's own Down, and the leftovers of beds whose process died before it could.
package bed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func bedsDir(cache string) string { return filepath.Join(cache, "beds") }

// sweep removes every bed that nobody holds. The lock of a bed is released by the kernel when its process ends, however it ends.
func sweep(ctx context.Context, cache string, log func(string, ...any)) error {
	locks, err := filepath.Glob(filepath.Join(bedsDir(cache), "*.lock"))
	if err != nil {
		return err
	}
	for _, path := range locks {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			continue // gone in the meantime
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			dir := strings.TrimSuffix(path, ".lock")
			log("removing %s, which an earlier run left", filepath.Base(dir))
			err = errors.Join(clean(ctx, filepath.Base(dir), dir), os.Remove(path))
		}
		f.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// clean removes the processes, namespaces, mounts, cgroups and files of one bed, found by what they carry of its name.
func clean(ctx context.Context, id, dir string) error {
	err := until(ctx, stopAll(dir, time.Now()))
	for _, path := range namespaces(id) {
		ns := filepath.Base(path)
		for _, pid := range pidsIn(ctx, ns) {
			if p, bad := strconv.Atoi(pid); bad == nil {
				syscall.Kill(p, syscall.SIGKILL)
			}
		}
		_, del := run(ctx, "ip", "netns", "del", ns)
		err = errors.Join(err, del)
	}
	mounts := mountsUnder(dir)
	for i := len(mounts) - 1; i >= 0; i-- {
		err = errors.Join(err, unmount(ctx, mounts[i]))
	}
	err = errors.Join(err, removeCgroups(ctx, id), os.RemoveAll(etcNetns(id)))
	os.Remove("/etc/netns") // only if nothing is in it
	if left := mountsUnder(dir); len(left) > 0 {
		return errors.Join(err, fmt.Errorf("still mounted: %s", strings.Join(left, " ")))
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// stopAll cuts the power of every node whose disk lies under dir, and reports whether one is still there.
func stopAll(dir string, start time.Time) func() error {
	return func() error {
		list := nspawnsOf(dir)
		for _, pid := range list {
			stop(pid, time.Since(start) > 5*time.Second)
		}
		if len(list) > 0 {
			return fmt.Errorf("nodes still running: %v", list)
		}
		return nil
	}
}

// nspawnsOf finds the nspawn processes of a bed by their own command line, so that a recycled pid is never taken for one.
func nspawnsOf(dir string) []int {
	var list []int
	for _, pid := range allPids() {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err != nil {
			continue
		}
		args := bytes.Split(line, []byte{0})
		if filepath.Base(string(args[0])) != "systemd-nspawn" {
			continue
		}
		for _, arg := range args {
			if bytes.HasPrefix(arg, []byte("--directory="+dir+"/")) {
				list = append(list, pid)
			}
		}
	}
	return list
}

// children lists the direct children of a process, oldest first.
func children(pid int) []int {
	var list []int
	for _, p := range allPids() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			continue
		}
		// pid (comm) state ppid …: comm may hold anything, so count from its last parenthesis.
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(f) > 1 && f[1] == strconv.Itoa(pid) {
			list = append(list, p)
		}
	}
	slices.Sort(list)
	return list
}

func allPids() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			list = append(list, pid)
		}
	}
	return list
}

func namespaces(id string) []string {
	list, _ := filepath.Glob(nsPath(id + "-*"))
	return list
}

// removeCgroups removes the empty cgroups of a bed, in the same private view that made them.
func removeCgroups(ctx context.Context, id string) error {
	_, err := run(ctx, "unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-c", `
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup
[ ! -d "/sys/fs/cgroup/$1" ] || find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +`, "cgroups", id)
	return err
}
