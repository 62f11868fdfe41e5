package chaos

// The home of the tests: the test binary runs itself again in a network and a mount namespace of its own.

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside marks the second run.
const inside = "RMQCTL_CHAOS_INSIDE"

// Main is what TestMain of a package calls that uses Network: it runs the tests where the clients of all clusters live, at
// one end of their bridges. Without root it runs them where they are.
func Main(m *testing.M) int {
	defer removeBuilds()
	switch {
	case os.Getenv(inside) != "":
		if err := settle(); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: prepare the namespace:", err)
			return 1
		}
		atOnce(3)
		return m.Run()
	case Possible() != nil:
		return m.Run()
	}
	runtime.LockOSThread() // the signal at this process's end is tied to the thread that started the child
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case errors.As(err, &ended):
		return max(ended.ExitCode(), 1)
	case err != nil:
		fmt.Fprintln(os.Stderr, "chaos: run in a namespace:", err)
		return 1
	}
	return 0
}

// atOnce has more tests run at once than there may be processors: most of their time they wait.
func atOnce(n int) {
	flag.Parse()
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked && runtime.GOMAXPROCS(0) < n {
		_ = flag.Set("test.parallel", strconv.Itoa(n))
	}
}

// settle makes the namespaces fit to live in: what is mounted here is not seen outside, and is seen in namespaces made from here.
func settle() error {
	for _, how := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", "/", "", unix.MS_REC|how, ""); err != nil {
			return err
		}
	}
	return command("ip", "link", "set", "lo", "up")
}

// Possible says why Network cannot be used here; nil if it can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces and mounts")
	}
	for _, tool := range []string{"ip", "nft", "tc"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	return nil
}

// Need skips a test that needs what Network gives, and fails it in CI: there it must be possible.
func Need(t testing.TB) {
	t.Helper()
	if err := Possible(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must be able to make networks: %v", err)
		}
		t.Skip(err)
	}
	if os.Getenv(inside) == "" {
		t.Fatal("TestMain must call chaos.Main")
	}
}
