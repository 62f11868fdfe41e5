package chaos

// One name server or broker: a process on a host of its own, with a home that outlives it.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"rmqctl/test/peers"
)

// bootTime is generous: JVMs on two busy cores.
const bootTime = 90 * time.Second

// Member is one process of a cluster.
type Member struct {
	Name  string // broker-a-0; namesrv-0
	Zone  string // its data centre
	Set   *Set   // nil: a name server
	Addr  string // where clients reach it
	Home  string
	Store string // a broker's

	c    *Cluster
	card *card
	disk *disk // nil: a folder
	kind string
	conf map[string]string

	mu      sync.Mutex // guards all below
	proc    *process
	runs    int
	stopped int // faults that have it paused
	line    *slowLine
}

// process is one life of a member.
type process struct {
	cmd  *exec.Cmd
	in   io.Closer
	log  string
	done chan struct{}
}

// Start starts the process, unless it runs.
func (m *Member) Start() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.aliveLocked() {
		return nil
	}
	m.runs++
	p := &process{log: filepath.Join(m.Home, fmt.Sprintf("log-%d", m.runs)), done: make(chan struct{})}
	conf := filepath.Join(m.Home, "server.properties")
	peers.Properties(m.c.t, conf, m.conf)
	if m.c.layout.Program == peers.Ours {
		p.cmd = peers.OurCommand(m.c.binary, m.kind, m.Home, conf)
		p.cmd.Env = append(p.cmd.Env, knobs+"="+m.Home)
	} else {
		p.cmd = peers.Command(m.c.t, m.c.layout.Program, m.kind, m.Home, conf)
	}
	if m.disk != nil {
		if err := m.boot(p); err != nil {
			return err
		}
	}
	out, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := m.card.start(p.cmd); err != nil {
		return fmt.Errorf("start %s: %w", m.Name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	m.proc, m.stopped = p, 0
	return nil
}

// boot lets the process see a boot id of its host's own, which is another after each power cut. Disks that are unmounted later
// leave its mount namespace, too.
func (m *Member) boot(p *process) error {
	file := filepath.Join(m.Home, "boot_id")
	if err := os.WriteFile(file, fmt.Appendf(nil, "%08d-0000-4000-8000-%012d\n", m.card.no, m.disk.cuts), 0o644); err != nil {
		return err
	}
	args := append([]string{"--mount", "--propagation", "slave", "--", "/bin/sh", "-c", `mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"`, "sh", file, p.cmd.Path}, p.cmd.Args[1:]...)
	outer := exec.Command("unshare", args...)
	outer.Env, outer.Dir = p.cmd.Env, p.cmd.Dir
	p.cmd = outer
	return nil
}

// Ready waits until the process says that it serves.
func (m *Member) Ready(within time.Duration) error {
	m.mu.Lock()
	p := m.proc
	m.mu.Unlock()
	for late := time.Now().Add(within); ; time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(p.log)
		switch {
		case err != nil:
			return err
		case bytes.Contains(b, []byte("boot success")):
			return nil
		case p.ended():
			return fmt.Errorf("%s ended before it served:\n%s", m.Name, tail(b, 3000))
		case time.Now().After(late):
			return fmt.Errorf("%s does not serve within %v:\n%s", m.Name, within, tail(b, 3000))
		}
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill is kill -9, and waits for the end.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		_ = m.proc.in.Close()
		_ = m.proc.cmd.Process.Kill()
		<-m.proc.done
	}
}

// pause stops the process (by 1) or lets it go on (by -1); two faults may overlap. One that was started anew runs.
func (m *Member) pause(by int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.aliveLocked() || m.stopped+by < 0 {
		return nil
	}
	was := m.stopped > 0
	m.stopped += by
	switch now := m.stopped > 0; {
	case now && !was:
		return m.signal(syscall.SIGSTOP)
	case was && !now:
		return m.signal(syscall.SIGCONT)
	}
	return nil
}

func (m *Member) signal(s os.Signal) error {
	if err := m.proc.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Alive: the process runs, if perhaps paused.
func (m *Member) Alive() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.aliveLocked()
}

func (m *Member) aliveLocked() bool { return m.proc != nil && !m.proc.ended() }

// Configure changes properties for the next start.
func (m *Member) Configure(props map[string]string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.Copy(m.conf, props)
}

// Log is the end of what the member said in all its lives.
func (m *Member) Log(most int) string {
	m.mu.Lock()
	runs := m.runs
	m.mu.Unlock()
	var all []byte
	for n := 1; n <= runs; n++ {
		b, _ := os.ReadFile(filepath.Join(m.Home, fmt.Sprintf("log-%d", n)))
		all = append(append(all, fmt.Sprintf("--- life %d\n", n)...), b...)
	}
	if b, err := os.ReadFile(filepath.Join(m.Home, "server.log")); err == nil { // Java's
		all = append(append(all, "--- server.log\n"...), b...)
	}
	return tail(all, most)
}

func tail(b []byte, most int) string {
	if len(b) > most {
		return "…" + string(b[len(b)-most:])
	}
	return string(b)
}

func (m *Member) String() string { return m.Name }

// turn sets a knob of a build that has it (Layout.Knobs): a file in the home that the process looks at.
func (m *Member) turn(knob, value string) error {
	path := filepath.Join(m.Home, knob)
	if value == "" {
		err := os.Remove(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		return err
	}
	if err := os.WriteFile(path+".new", []byte(value), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
