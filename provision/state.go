// What a host remembers of its cluster, below <state>/<cluster>: the journal of runs, the manifest of what the cluster
// created there, and the inventory that was applied, without secrets. And the lock.
//
//	journal.jsonl    one line per event of a run, appended and synced
//	manifest.json    {"cluster": …, "owned": [{"kind","name","role","run"}, …]}
//	inventory.toml   the inventory as it was last applied
//
// A thing is written to the manifest before it is created: so there is never one that destroy would not find.

package provision

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"rmqctl/inventory"
	"rmqctl/provision/agent"
	"rmqctl/provision/step"
)

// state is a host's memory during a run that holds the lock.
type state struct {
	dir   string
	agent *agent.Client
	run   string
	mu    sync.Mutex // guards m: two brokers of one host are worked on at once
	m     manifest
}

type manifest struct {
	Cluster string  `json:"cluster"`
	Owned   []owned `json:"owned"`
}

type owned struct {
	step.Owned
	Role string `json:"role"`
	Run  string `json:"run"`
}

func stateDir(inv *inventory.Inventory, n *inventory.Node) string {
	return path.Join(n.Paths.State, inv.Name)
}

func lockPath(inv *inventory.Inventory, n *inventory.Node) string {
	return path.Join(n.Paths.Run, inv.Name+".lock")
}

func loadState(ctx context.Context, dir, cluster, run string, a *agent.Client) (*state, error) {
	s := &state{dir: dir, agent: a, run: run, m: manifest{Cluster: cluster}}
	b, err := a.Host(ctx).ReadFile(s.path("manifest.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &s.m); err != nil {
		return nil, fmt.Errorf("%s: %w", s.path("manifest.json"), err)
	}
	return s, nil
}

func (s *state) path(name string) string { return path.Join(s.dir, name) }

func (s *state) owns(o step.Owned) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ownsLocked(o)
}

func (s *state) ownsLocked(o step.Owned) bool {
	for _, h := range s.m.Owned {
		if h.Owned == o {
			return true
		}
	}
	return false
}

func (s *state) own(ctx context.Context, role string, o step.Owned) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ownsLocked(o) {
		return nil
	}
	s.m.Owned = append(s.m.Owned, owned{o, role, s.run})
	return s.saveLocked(ctx)
}

func (s *state) disown(ctx context.Context, o step.Owned) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.m.Owned {
		if h.Owned == o {
			s.m.Owned = append(s.m.Owned[:i:i], s.m.Owned[i+1:]...)
			return s.saveLocked(ctx)
		}
	}
	return nil
}

func (s *state) saveLocked(ctx context.Context) error {
	b, err := json.MarshalIndent(s.m, "", "  ")
	if err != nil {
		return err
	}
	return s.put(ctx, "manifest.json", append(b, '\n'))
}

func (s *state) put(ctx context.Context, name string, b []byte) error {
	h := s.agent.Host(ctx)
	if err := h.Mkdir(s.dir, 0o755); err != nil {
		return err
	}
	return h.WriteFile(s.path(name), b, 0o644)
}

// entry is a line of the journal.
type entry struct {
	Time    string `json:"time"`
	Run     string `json:"run"`
	Role    string `json:"role,omitempty"`
	Step    string `json:"step,omitempty"`
	What    string `json:"what"` // run, begin, done, failed, end
	Why     string `json:"why,omitempty"`
	User    string `json:"user,omitempty"`
	From    string `json:"from,omitempty"`
	Command string `json:"command,omitempty"`
}

func (s *state) journal(ctx context.Context, now time.Time, en entry) error {
	en.Time, en.Run = now.UTC().Format(time.RFC3339Nano), s.run
	b, err := json.Marshal(en)
	if err != nil {
		return err
	}
	return s.agent.Append(ctx, s.path("journal.jsonl"), append(b, '\n'))
}

// lock takes the cluster's lock on every host, in the inventory's order, so that two runs cannot hold half of it each
// for long: the second meets the first's lock on the first host that both want.
func (e *engine) lock(ctx context.Context) error { return e.lockHosts(ctx, e.hosts) }

func (e *engine) lockHosts(ctx context.Context, hosts []*host) error {
	user, from := e.who()
	holder := agent.Holder{Run: e.id, User: user, Host: from, PID: os.Getpid(), Command: e.o.Command, Since: e.clock.Now().Unix()}
	until := e.clock.Now().Add(e.o.LockWait)
	for _, h := range hosts {
		for {
			err := h.m.Agent().Lock(ctx, lockPath(e.inv, h.node), holder)
			var held *agent.LockedError
			if errors.As(err, &held) {
				if e.clock.Now().Before(until) {
					e.emit(Event{Host: h.name(), Step: "lock", State: Progress, Why: "held by " + held.Holder.String()})
					if err := e.wait(ctx, time.Second); err != nil {
						return err
					}
					continue
				}
				return &LockedError{Host: h.name(), Holder: held.Holder}
			}
			if err != nil {
				return fmt.Errorf("lock %s: %w", h.name(), err)
			}
			break
		}
	}
	for _, h := range hosts {
		s, err := loadState(ctx, stateDir(e.inv, h.node), e.inv.Name, e.id, h.m.Agent())
		if err != nil {
			return fmt.Errorf("%s: %w", h.name(), err)
		}
		h.state = s
		h.stray = h.stray && len(s.m.Owned) == 0
		if err := s.journal(ctx, e.clock.Now(), entry{What: "run", User: user, From: from, Command: e.o.Command}); err != nil {
			return fmt.Errorf("journal of %s: %w", h.name(), err)
		}
	}
	return nil
}

// finish writes how the run ended.
func (e *engine) finish(ctx context.Context, err error) {
	en := entry{What: "end"}
	if err != nil {
		en.What, en.Why = "failed", err.Error()
	}
	ctx = context.WithoutCancel(ctx)
	for _, h := range e.hosts {
		if h.state == nil {
			continue
		}
		if jerr := h.state.journal(ctx, e.clock.Now(), en); jerr != nil {
			e.log.Warn("journal not written", "host", h.name(), "err", jerr)
		}
		if err == nil {
			e.keepInventory(ctx, h)
		}
		if uerr := h.m.Agent().Unlock(ctx, lockPath(e.inv, h.node)); uerr != nil {
			e.log.Warn("lock not given back", "host", h.name(), "err", uerr)
		}
	}
}

func (e *engine) keepInventory(ctx context.Context, h *host) {
	text := []byte(e.inv.Redacted())
	if old, err := h.m.Agent().Host(ctx).ReadFile(h.state.path("inventory.toml")); err == nil && string(old) == string(text) {
		return
	}
	if err := h.state.put(ctx, "inventory.toml", text); err != nil {
		e.log.Warn("applied inventory not kept", "host", h.name(), "err", err)
	}
}
