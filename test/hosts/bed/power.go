//go:build linux

// Power: switching a node on, cutting it off, resetting it. A goroutine of the test process stands for the power supply; the
// node is a systemd-nspawn that it starts, and starts again when the node reboots itself.
package bed

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

//go:embed boot.sh
var bootScript string

// rebootStatus is how nspawn without a unit of its own says that the node asked for a reboot.
const rebootStatus = 133

type power struct {
	pid   atomic.Int64 // nspawn's; 0 between two boots
	cut   atomic.Bool  // no further boot
	ended chan struct{}
	err   error // why the node could not boot; read after ended
}

// On switches the node on and waits until it has booted and sshd answers. A node that is on is only waited for.
func (n *Node) On(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.onLocked(ctx)
}

func (n *Node) onLocked(ctx context.Context) error {
	if n.power != nil && isClosed(n.power.ended) {
		n.power = nil // it switched itself off
	}
	if n.power == nil {
		if err := n.mount(); err != nil {
			return err
		}
		if err := n.personalise(ctx); err != nil {
			return err
		}
		n.power = &power{ended: make(chan struct{})}
		go n.supply(n.power)
	}
	return n.waitLocked(ctx)
}

// waitLocked returns when systemd has finished booting and the operator gets sshd's greeting.
func (n *Node) waitLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	p := n.power
	err := until(ctx, func() error {
		if isClosed(p.ended) {
			cancel()
			return fmt.Errorf("it went off: %w", p.err)
		}
		state, err := n.bootState(ctx, p)
		if state != "running" && state != "degraded" {
			return fmt.Errorf("state %q: %w", state, err)
		}
		return n.greets(ctx)
	})
	if err != nil {
		console, _ := os.ReadFile(n.Console())
		return fmt.Errorf("%s does not come up: %w; its console ends: %s", n.Name, err, tail(string(console), 1500))
	}
	return nil
}

func (n *Node) bootState(ctx context.Context, p *power) (string, error) {
	leader, err := p.leader()
	if err != nil {
		return "", err
	}
	out, err := run(ctx, "nsenter", "-t", leader, "-a", "--", "systemctl", "is-system-running")
	return strings.TrimSpace(out), err
}

// greets reads sshd's first line.
func (n *Node) greets(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := n.bed.Dial(ctx, operator, n.Addr+":22")
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	hello := make([]byte, 4)
	if _, err := conn.Read(hello); err != nil || string(hello) != "SSH-" {
		return fmt.Errorf("sshd greets with %q: %w", hello, err)
	}
	return nil
}

// supply keeps the node running until its power is cut or it switches itself off.
func (n *Node) supply(p *power) {
	defer close(p.ended)
	ctx := context.Background()
	// The kernel sends the node's Pdeathsig when the thread that started it ends, so that thread must live as long as we do.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for {
		// Every boot gets a fresh network namespace: no old sockets, no old firewall rules.
		if p.err = errors.Join(n.bed.discard(ctx, n.Name), n.bed.plugIn(ctx, n.Name, n.Addr)); p.err != nil {
			return
		}
		status := n.boot(p)
		if status != rebootStatus || p.cut.Load() {
			break
		}
	}
	// Off means that nobody answers, not even to ping.
	p.err = errors.Join(p.err, n.bed.discard(ctx, n.Name))
}

// boot runs nspawn to its end and returns its exit status.
func (n *Node) boot(p *power) int {
	console, err := os.OpenFile(n.Console(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		p.err = err
		return -1
	}
	defer console.Close()
	cmd := exec.Command("unshare", "--mount", "--propagation", "slave", "--", "/bin/sh", "-c", bootScript, "boot",
		n.bed.id, n.Name,
		"--directory="+n.Root(), "--machine="+n.Name, "--boot",
		"--register=no", "--keep-unit", // needs no machined and no systemd on the machine
		"--settings=no", "--console=pipe", "--network-namespace-path="+nsPath(n.bed.ns(n.Name)),
		"--capability=CAP_NET_ADMIN,CAP_NET_RAW", // firewalls
		"--drop-capability=CAP_MKNOD",            // no way to the machine's disks
		"--resolv-conf=off", "--timezone=off", "--link-journal=no")
	cmd.Stdout, cmd.Stderr = console, console
	// Should the test process die, nspawn shuts the node down by itself; the next bed sweeps up the rest.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		p.err = err
		return -1
	}
	p.pid.Store(int64(cmd.Process.Pid))
	err = cmd.Wait()
	p.pid.Store(0)
	fmt.Fprintf(console, "--- %s ended: %v\n", n.Name, err)
	return cmd.ProcessState.ExitCode()
}

// Running says whether the node is switched on, booted or not.
func (n *Node) Running() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.power != nil && !isClosed(n.power.ended)
}

// leader is the node's PID 1 as the machine numbers it.
func (n *Node) leader() (string, error) {
	n.mu.Lock()
	p := n.power
	n.mu.Unlock()
	if p == nil {
		return "", fmt.Errorf("%s is off", n.Name)
	}
	return p.leader()
}

func (p *power) leader() (string, error) {
	pid := p.pid.Load()
	if pid == 0 {
		return "", errors.New("it is not running")
	}
	list := children(int(pid))
	if len(list) == 0 {
		return "", errors.New("it has not begun to boot")
	}
	return strconv.Itoa(list[0]), nil
}

// Cut is a power cut: first the cable, so that no FIN or RST of the dying host gets out, then its PID 1, and with that one every
// process of the host at once. Files stay as the kernel has them.
func (n *Node) Cut(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cutLocked(ctx)
}

func (n *Node) cutLocked(ctx context.Context) error {
	p := n.power
	if p == nil {
		return nil
	}
	p.cut.Store(true)
	n.bed.cable(ctx, n.Name, "down")
	start := time.Now()
	err := until(ctx, func() error {
		if isClosed(p.ended) {
			return nil
		}
		if pid := int(p.pid.Load()); pid != 0 {
			stop(pid, time.Since(start) > 5*time.Second)
		}
		return errors.New("still running")
	})
	if err == nil {
		n.power = nil
	}
	return err
}

// stop kills the host under an nspawn. nspawn itself is not part of the host: it notices, reaps and ends, which leaves no zombie.
// Only one that is stuck is killed too.
func stop(nspawn int, stuck bool) {
	for _, child := range children(nspawn) {
		syscall.Kill(child, syscall.SIGKILL)
	}
	if stuck {
		syscall.Kill(nspawn, syscall.SIGKILL)
	}
}

// Off shuts the node down in order, as its own poweroff would.
func (n *Node) Off(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.power
	if p == nil {
		return nil
	}
	p.cut.Store(true)
	if pid := int(p.pid.Load()); pid != 0 {
		syscall.Kill(pid, syscall.SIGTERM)
	}
	select {
	case <-p.ended:
		n.power = nil
		return nil
	case <-time.After(60 * time.Second):
	case <-ctx.Done():
	}
	return errors.Join(fmt.Errorf("%s does not shut down", n.Name), n.cutLocked(context.Background()))
}

// Reset forgets everything the node wrote and boots it as new, with the same host keys.
func (n *Node) Reset(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.cutLocked(ctx); err != nil {
		return err
	}
	for _, m := range mountsUnder(n.Root()) {
		if err := unmount(ctx, m); err != nil {
			return err
		}
	}
	for _, sub := range []string{"upper", "work", "personal"} {
		if err := os.RemoveAll(filepath.Join(n.dir, sub)); err != nil {
			return err
		}
	}
	return n.onLocked(ctx)
}

// Wait returns when a node that reboots or was just switched on has booted.
func (n *Node) Wait(ctx context.Context) error { return n.On(ctx) }

// Unplug pulls the network cable; the node keeps running.
func (n *Node) Unplug(ctx context.Context) error { return n.bed.cable(ctx, n.Name, "down") }

// Plug puts the cable back.
func (n *Node) Plug(ctx context.Context) error { return n.bed.cable(ctx, n.Name, "up") }

// BootID changes with every boot. nspawn gives each boot of a node one of its own.
func (n *Node) BootID(ctx context.Context) (string, error) {
	out, err := n.Exec(ctx, "cat /proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(out), err
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
