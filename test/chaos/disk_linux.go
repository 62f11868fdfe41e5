package chaos

// A broker's disk: a small ext4 file system in a file. It can be full, it can hang, and its power can be cut, each for real:
//
//	full       a file takes the last byte
//	slow       the file system is frozen (FIFREEZE) and thawed again and again: each write and each fsync waits for its turn
//	power cut  the file system is shut down without flushing its journal (EXT4_IOC_SHUTDOWN), and mounted anew: what no fsync
//	           and no writeback brought to the disk is gone, torn and reordered as ext4 has it. The host's boot id is another then

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	fiFreeze     = 0xC0045877
	fiThaw       = 0xC0045878
	ext4Shutdown = 0x8004587D
	noLogFlush   = 2
)

type disk struct {
	image, dir string
	mu         sync.Mutex // guards all below
	slow       chan struct{}
	slowed     sync.WaitGroup
	full       int
	cuts       int // of its power
}

func newDisk(dir string, megabytes int) (*disk, error) {
	d := &disk{image: dir + ".img", dir: dir}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	err = errors.Join(f.Truncate(int64(megabytes)<<20), f.Close())
	if err == nil {
		err = command("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", d.image)
	}
	if err == nil {
		err = d.mount()
	}
	return d, err
}

func (d *disk) mount() error  { return command("mount", "-o", "loop", d.image, d.dir) }
func (d *disk) detach() error { return unix.Unmount(d.dir, unix.MNT_DETACH) }

// remove ends the disk.
func (d *disk) remove() {
	_ = d.setSlow(0)
	_ = d.detach()
}

func (d *disk) ioctl(what uint, arg uintptr) error {
	fd, err := unix.Open(d.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.IoctlSetInt(fd, what, int(arg))
}

// setSlow makes writes wait up to each; 0 ends it.
func (d *disk) setSlow(each time.Duration) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.slow != nil {
		close(d.slow)
		d.slowed.Wait()
		d.slow = nil
	}
	if each == 0 {
		return nil
	}
	stop := make(chan struct{})
	d.slow = stop
	d.slowed.Go(func() {
		for {
			err := d.ioctl(fiFreeze, 0)
			wait(stop, each)
			if err == nil {
				_ = d.ioctl(fiThaw, 0)
			}
			if !wait(stop, each/20+time.Millisecond) {
				return
			}
		}
	})
	return nil
}

// wait is false when stop came first.
func wait(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}

// fill takes (by 1) all space to the last byte, or gives it back (by -1).
func (d *disk) fill(by int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	was := d.full
	d.full += by
	filler := filepath.Join(d.dir, "filler")
	switch {
	case was == 1 && d.full == 0:
		return os.Remove(filler)
	case was > 0 || d.full == 0:
		return nil
	}
	f, err := os.Create(filler)
	if err != nil {
		return err
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		_, err := f.Write(make([]byte, size))
		switch {
		case errors.Is(err, syscall.ENOSPC):
			size /= 16
		case err != nil:
			return err
		}
	}
	return nil
}

// cutPower loses what is not on the disk. Nobody may have files open.
func (d *disk) cutPower() error {
	if err := d.setSlow(0); err != nil {
		return err
	}
	fd, err := unix.Open(d.dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	err = unix.IoctlSetPointerInt(fd, ext4Shutdown, noLogFlush)
	unix.Close(fd)
	if err == nil {
		err = d.unmount()
	}
	if err == nil {
		err = d.mount()
	}
	if err != nil {
		return fmt.Errorf("cut the power of %s: %w", d.dir, err)
	}
	d.cuts++
	return nil
}

// unmount waits for who is about to let go: the kernel frees the files of a killed process a moment after it was waited for,
// and a process that this one is starting has our descriptors until it runs its program.
func (d *disk) unmount() (err error) {
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err = unix.Unmount(d.dir, 0); !errors.Is(err, syscall.EBUSY) || time.Now().After(end) {
			return err
		}
	}
}

// NeedDisks is Need for what Layout.DiskMB gives.
func NeedDisks(t testing.TB) {
	t.Helper()
	Need(t)
	for _, tool := range []string{"mkfs.ext4", "mount", "losetup", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("CI must be able to make disks: %v", err)
			}
			t.Skip(err)
		}
	}
}
