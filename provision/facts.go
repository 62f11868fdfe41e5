// What has to be known of a host before its plan can be made: which kind of machine it is, and so which binary it gets,
// and whether our agent lies there already.

package provision

import (
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"rmqctl/provision/role"
	"rmqctl/provision/step"
)

// binary is the program for one kind of machine.
type binary struct {
	kind string // linux/amd64
	role.Binary
}

var sums struct {
	sync.Mutex
	known map[string]role.Binary
}

// hashed reads a binary once per run of the program.
func hashed(file, version string) (role.Binary, error) {
	sums.Lock()
	defer sums.Unlock()
	st, err := os.Stat(file)
	if err != nil {
		return role.Binary{}, err
	}
	key := fmt.Sprint(file, st.Size(), st.ModTime())
	if b, ok := sums.known[key]; ok {
		return b, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return role.Binary{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return role.Binary{}, err
	}
	b := role.Binary{Path: file, Sum: hex.EncodeToString(h.Sum(nil)), Size: n, Version: version}
	if sums.known == nil {
		sums.known = map[string]role.Binary{}
	}
	sums.known[key] = b
	return b, nil
}

// kindOf is the kind of machine a program is for.
func kindOf(file string) string {
	f, err := elf.Open(file)
	if err != nil {
		return runtime.GOOS + "/" + runtime.GOARCH // not ELF: it can only be for the likes of this machine
	}
	defer f.Close()
	switch f.Machine {
	case elf.EM_X86_64:
		return "linux/amd64"
	case elf.EM_AARCH64:
		return "linux/arm64"
	}
	return "linux/" + strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
}

// dialLimit is how long one host tries to reach another.
const dialLimit = 3 * time.Second

var machines = map[string]string{"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

// kindOfHost reads `uname -sm`.
func kindOfHost(uname string) string {
	f := strings.Fields(strings.ToLower(uname))
	if len(f) != 2 {
		return uname
	}
	if a := machines[f[1]]; a != "" {
		f[1] = a
	}
	return f[0] + "/" + f[1]
}

func (e *engine) facts(ctx context.Context, h *host) error {
	if h.node.Local() {
		h.bin.kind = kindOf(e.o.Binary)
	} else {
		out, err := h.m.Look(ctx).Query(step.AskUname())
		if err != nil {
			return err
		}
		h.bin.kind = kindOfHost(out)
	}
	file := e.o.Binaries[h.bin.kind]
	if file == "" && kindOf(e.o.Binary) == h.bin.kind {
		file = e.o.Binary
	}
	if file == "" {
		return fmt.Errorf("%s is %s, and this rmqctl is for %s: give --binary %s=PATH", h.name(), h.bin.kind, kindOf(e.o.Binary), h.bin.kind)
	}
	var err error
	if h.bin.Binary, err = hashed(file, e.o.Version); err != nil {
		return err
	}
	if err := e.findAgent(ctx, h); err != nil {
		return err
	}
	e.fill(h)
	return nil
}

// findAgent starts the agent if some release of ours lies on the host: the wanted one, or else any. To start it changes
// nothing. A host without one is looked at with plain commands.
func (e *engine) findAgent(ctx context.Context, h *host) error {
	if h.m.Agent() != nil {
		return nil
	}
	dir := path.Join(h.node.Paths.Install, "releases")
	list, err := h.m.Look(ctx).Query(step.AskList(dir))
	if err != nil {
		return err
	}
	names := strings.Fields(list)
	slices.SortFunc(names, func(a, b string) int { // ours first
		return strings.Compare(b, a)
	})
	want := h.bin.Sum[:12]
	if i := slices.Index(names, want); i > 0 {
		names[0], names[i] = names[i], names[0]
	}
	for _, n := range names {
		if strings.HasPrefix(n, ".") {
			continue
		}
		err = h.m.StartAgent(ctx, path.Join(dir, n, "rmqctl"))
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		e.log.Debug("agent not started", "host", h.name(), "release", n, "err", err)
	}
	return nil
}

// fill makes the host's tasks.
func (e *engine) fill(h *host) {
	h.sup = role.Supervisor(e.inv, h.node)
	h.tasks = []*task{{host: h, role: "host", steps: role.Host(e.inv, h.node, h.bin.Binary)}}
	if ns := h.node.NameServer; ns != nil {
		h.tasks = append(h.tasks, &task{host: h, role: "namesrv", unit: ns.Unit(), ns: ns, steps: role.NameServer(e.inv, ns, h.bin.Binary)})
	}
	for _, b := range h.node.Brokers {
		h.tasks = append(h.tasks, &task{host: h, role: b.Member, unit: b.Unit(), broker: b, steps: role.Broker(e.inv, b, h.bin.Binary)})
	}
}

// tasks picks tasks of all hosts, in the inventory's order.
func (e *engine) tasks(pick func(*task) bool) []*task {
	var out []*task
	for _, h := range e.hosts {
		for _, t := range h.tasks {
			if pick(t) {
				out = append(out, t)
			}
		}
	}
	return out
}

func isHost(t *task) bool    { return t.unit == "" }
func isNamesrv(t *task) bool { return t.ns != nil }
func isMaster(t *task) bool  { return t.broker != nil && t.broker.Master() }
func isSlave(t *task) bool   { return t.broker != nil && !t.broker.Master() && !t.broker.Raft() }
func isRaft(t *task) bool    { return t.broker != nil && t.broker.Raft() }

// only keeps what the operator named: a node, a broker, a group or a role.
func (e *engine) only(tasks []*task) ([]*task, error) {
	if len(e.o.Only) == 0 {
		return tasks, nil
	}
	used := map[string]bool{}
	var out []*task
	for _, t := range tasks {
		hit := false
		for _, w := range e.o.Only {
			if w == t.host.name() || w == t.role || t.broker != nil && w == t.broker.Name || w == t.host.name()+"/"+t.role {
				used[w], hit = true, true
			}
		}
		if hit {
			out = append(out, t)
		}
	}
	var missing []string
	for _, w := range e.o.Only {
		if !used[w] {
			missing = append(missing, w)
		}
	}
	if missing != nil {
		return nil, errors.New("no such node, group or broker: " + strings.Join(missing, ", "))
	}
	return out, nil
}

func dialQuery(addr string) step.Query { return step.AskDial(addr, dialLimit) }
