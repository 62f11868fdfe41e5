package chaos

// A host: one thread that lives in a network namespace of its own. Whatever is started or opened on it belongs there. Nothing
// has a name outside, so nothing is left when the test binary is gone, however it ended.

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

type host struct {
	name string
	tid  int // 0: any thread of the test
	work chan func()
}

// newHost starts the thread, with a network of its own or (shared) in that of the test. A namespace ends with its last process.
func newHost(name string, shared bool) (*host, error) {
	h := &host{name: name, work: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		var err error
		if !shared {
			err = unix.Unshare(unix.CLONE_NEWNET)
		}
		h.tid = unix.Gettid()
		made <- err
		for f := range h.work {
			f()
		}
	}()
	if err := <-made; err != nil {
		close(h.work)
		return nil, fmt.Errorf("network namespace of %s: %w", name, err)
	}
	return h, nil
}

// do runs f on the host.
func (h *host) do(f func() error) error {
	if h.tid == 0 {
		return f()
	}
	done := make(chan error)
	h.work <- func() { done <- f() }
	return <-done
}

func (h *host) close() {
	if h.tid != 0 {
		close(h.work)
	}
}

// feed runs a program on the host, with something to read, and waits for it.
func (h *host) feed(text, name string, args ...string) error {
	return h.do(func() error { return feed(text, name, args...) })
}

// start starts a program on the host. It is killed when the host's thread ends, at the latest with the test binary.
func (h *host) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return h.do(cmd.Start)
}

func command(name string, args ...string) error { return feed("", name, args...) }

func feed(text, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s%s", name, strings.Join(args, " "), err, out, text)
	}
	return nil
}

// sysctl sets a value of the host's own network: /proc/sys/net is that of the thread which looks.
func (h *host) sysctl(name, value string) error {
	return h.do(func() error { return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644) })
}
