// Package steptest is a host in memory: files, users, systemd, two firewalls. It runs the contract that every step keeps:
// a plan writes nothing, an apply holds, an interrupted apply is finished by the next one, and taking back leaves the
// host byte for byte as it was.
package steptest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"

	"rmqctl/provision/step"
)

// ErrCut is the cable being pulled.
var ErrCut = errors.New("steptest: the cable was pulled")

// node is a file, directory or link.
type node struct {
	data         string
	mode         fs.FileMode
	owner, group string
	link         string
}

// Host is a fake host. The zero value is not usable; take NewHost.
type Host struct {
	Firewalld *Firewalld        // nil = not installed
	Nft       *Nft              // nil = not installed
	NoSystemd bool              // another init system
	NoAgent   bool              // questions that only the agent can ask are refused
	Addresses string            // output of ip -o addr show
	Free      int64             // of every disk
	Total     int64             //
	Listeners []string          // foreign "address:port pid command"
	Broken    map[string]string // unit -> its log, if it cannot start

	nodes   map[string]*node
	loaded  map[string]string // units that systemd has read
	running map[string]process
	kernel  string
	nextPID int

	Writes   int  // changes so far
	CutAt    int  // the change that fails; 0 = none
	CutAfter bool // it fails after having been made: only the answer is lost
}

type process struct {
	pid  int
	text string // the unit it was started from
}

// NewHost is a bare Debian host.
func NewHost() *Host {
	h := &Host{nodes: map[string]*node{}, loaded: map[string]string{}, running: map[string]process{}, kernel: "debian",
		Free: 50 << 30, Total: 100 << 30, nextPID: 100, Broken: map[string]string{},
		Addresses: "1: lo    inet 127.0.0.1/8 scope host lo\n2: eth0    inet 192.168.31.101/24 brd 192.168.31.255 scope global eth0"}
	for _, d := range []string{"/", "/etc", "/etc/systemd", "/etc/systemd/system", "/etc/sysctl.d", "/etc/sysconfig", "/opt", "/run", "/var", "/var/lib", "/var/log",
		"/home", "/tmp", "/mnt", "/srv", "/root", "/usr", "/usr/local", "/proc", "/proc/sys", "/proc/sys/vm"} {
		h.nodes[d] = &node{mode: fs.ModeDir | 0o755, owner: "root", group: "root"}
	}
	h.Put("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n")
	h.Put("/etc/hostname", "debian\n")
	h.Put("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
	h.Put("/etc/group", "root:x:0:\n")
	h.Put("/proc/sys/vm/max_map_count", "65530\n")
	h.Put("/proc/sys/vm/swappiness", "60\n")
	return h
}

// Put lays a file of root's on the host.
func (h *Host) Put(name, text string) {
	h.nodes[name] = &node{data: text, mode: 0o644, owner: "root", group: "root"}
}

// Text is a file's content; "" when it is absent.
func (h *Host) Text(name string) string {
	if n := h.nodes[name]; n != nil {
		return n.data
	}
	return ""
}

// PutDir makes a directory and its parents.
func (h *Host) PutDir(name string) {
	for p := name; h.nodes[p] == nil; p = path.Dir(p) {
		h.nodes[p] = &node{mode: fs.ModeDir | 0o755, owner: "root", group: "root"}
	}
}

// Own gives a path another owner.
func (h *Host) Own(name, owner string) { h.nodes[name].owner, h.nodes[name].group = owner, owner }

// Running lists the units with a process.
func (h *Host) Running() []string {
	var out []string
	for u := range h.running {
		out = append(out, u)
	}
	sort.Strings(out)
	return out
}

// PID is the unit's process; 0 when it does not run.
func (h *Host) PID(unit string) int { return h.running[unit].pid }

// Crash ends a unit's process.
func (h *Host) Crash(unit string) { delete(h.running, unit) }

// Snapshot is everything that can be seen of the host, as text.
func (h *Host) Snapshot() string {
	var lines []string
	for name, n := range h.nodes {
		lines = append(lines, fmt.Sprintf("%s %s %s:%s %q %q", name, n.mode, n.owner, n.group, n.link, n.data))
	}
	for _, u := range h.Running() {
		lines = append(lines, "running "+u)
	}
	for u, text := range h.loaded {
		lines = append(lines, fmt.Sprintf("loaded %s %q", u, text))
	}
	lines = append(lines, "name "+h.kernel)
	sort.Strings(lines)
	return strings.Join(lines, "\n") + "\n" + h.Firewalld.snapshot() + h.Nft.snapshot()
}

// Reader is the host to look at; it has no method that changes anything.
func (h *Host) Reader() step.Reader { return reader{h} }

type reader struct{ h *Host }

func (r reader) ReadFile(p string) ([]byte, error)  { return r.h.ReadFile(p) }
func (r reader) Stat(p string) (step.Info, error)   { return r.h.Stat(p) }
func (r reader) Query(q step.Query) (string, error) { return r.h.Query(q) }

// change counts a change and pulls the cable at the right one.
func (h *Host) change(do func() error) error {
	h.Writes++
	if h.Writes == h.CutAt && !h.CutAfter {
		return ErrCut
	}
	err := do()
	if h.Writes == h.CutAt {
		return ErrCut
	}
	return err
}

// ReadFile is step.Reader's.
func (h *Host) ReadFile(p string) ([]byte, error) {
	n := h.nodes[p]
	if n == nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	if n.mode.IsDir() {
		return nil, &fs.PathError{Op: "read", Path: p, Err: errors.New("is a directory")}
	}
	return []byte(n.data), nil
}

// Stat is step.Reader's.
func (h *Host) Stat(p string) (step.Info, error) {
	n := h.nodes[p]
	if n == nil {
		return step.Info{}, &fs.PathError{Op: "lstat", Path: p, Err: fs.ErrNotExist}
	}
	return step.Info{Mode: n.mode, Size: int64(len(n.data)), Owner: n.owner, Group: n.group, Link: n.link}, nil
}

// WriteFile is step.Writer's.
func (h *Host) WriteFile(p string, data []byte, mode fs.FileMode) error {
	return h.change(func() error {
		if d := h.nodes[path.Dir(p)]; d == nil || !d.mode.IsDir() {
			return &fs.PathError{Op: "create", Path: p, Err: fs.ErrNotExist}
		}
		n := &node{owner: "root", group: "root"}
		if old := h.nodes[p]; old != nil {
			n.owner, n.group = old.owner, old.group
		}
		n.data, n.mode = string(data), mode
		h.nodes[p] = n
		return nil
	})
}

// Mkdir is step.Writer's.
func (h *Host) Mkdir(p string, mode fs.FileMode) error {
	return h.change(func() error {
		if h.nodes[p] != nil {
			return nil
		}
		h.PutDir(p)
		h.nodes[p].mode = fs.ModeDir | mode
		return nil
	})
}

// Remove is step.Writer's.
func (h *Host) Remove(p string) error {
	return h.change(func() error {
		if len(h.below(p)) > 0 {
			return &fs.PathError{Op: "remove", Path: p, Err: errors.New("directory not empty")}
		}
		delete(h.nodes, p)
		return nil
	})
}

// Upload is step.Uploader's: the file's content is its hash's own text.
func (h *Host) Upload(_ context.Context, from, to, sum string, mode fs.FileMode) error {
	return h.change(func() error {
		h.PutDir(path.Dir(to))
		h.nodes[to] = &node{data: "sum " + sum, mode: mode, owner: "root", group: "root"}
		return nil
	})
}

func (h *Host) below(dir string) []string {
	var out []string
	for p := range h.nodes {
		if strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/") && p != dir {
			out = append(out, p)
		}
	}
	sort.Strings(out)
	return out
}

func (h *Host) sum(p string) string {
	n := h.nodes[p]
	if n == nil {
		return ""
	}
	if s, ok := strings.CutPrefix(n.data, "sum "); ok {
		return s
	}
	s := sha256.Sum256([]byte(n.data))
	return hex.EncodeToString(s[:])
}
