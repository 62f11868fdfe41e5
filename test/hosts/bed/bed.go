//go:build linux

package bed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a bed.
type Options struct {
	Nodes     int                      // 4 if zero
	Firewalls []string                 // firewalld, nftables or none, dealt out over the nodes in turn; firewalld if empty
	Log       func(f string, a ...any) // slow and odd things; nothing if nil
}

// Bed is a set of hosts and the operator's place beside them.
type Bed struct {
	id    string
	dir   string // everything of this bed: overlays, keys, consoles
	image string
	log   func(string, ...any)
	lock  func() // held while the bed stands: a bed without a holder is swept away by the next one
	keys  *keys

	Nodes []*Node
}

// New brings up a bed for one test (or one TestMain-like helper) and removes it when that test ends.
func New(t testing.TB, o Options) *Bed {
	t.Helper()
	Require(t)
	if o.Log == nil {
		o.Log = t.Logf
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	b, err := Up(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Up brings a bed up and waits until every node has booted. Leftovers of beds whose process died are removed first.
func Up(ctx context.Context, o Options) (*Bed, error) {
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	if o.Nodes == 0 {
		o.Nodes = 4
	}
	if len(o.Firewalls) == 0 {
		o.Firewalls = []string{"firewalld"}
	}
	cache := CacheDir()
	if err := sweep(ctx, cache, o.Log); err != nil {
		return nil, fmt.Errorf("remove what an earlier run left: %w", err)
	}
	img, err := image(ctx, cache, o.Log)
	if err != nil {
		return nil, err
	}
	b := &Bed{id: newID(), image: img, log: o.Log}
	b.dir = filepath.Join(bedsDir(cache), b.id)
	if b.lock, err = lock(ctx, b.dir+".lock"); err != nil {
		return nil, err
	}
	if err := b.build(ctx, o); err != nil {
		return nil, errors.Join(err, b.Down())
	}
	return b, nil
}

func (b *Bed) build(ctx context.Context, o Options) error {
	if err := os.MkdirAll(b.dir, 0o755); err != nil {
		return err
	}
	if err := b.mountScratch(); err != nil {
		return err
	}
	var err error
	if b.keys, err = newKeys(o.Nodes); err != nil {
		return err
	}
	for i := range o.Nodes {
		name := fmt.Sprintf("node%d", i+1)
		b.Nodes = append(b.Nodes, &Node{
			Name: name, Addr: fmt.Sprint(nodeNetwork, firstNode+i), Firewall: o.Firewalls[i%len(o.Firewalls)],
			bed: b, index: i, dir: filepath.Join(b.dir, name),
		})
	}
	if err := b.furnishOperator(); err != nil {
		return err
	}
	if err := b.addSwitch(ctx); err != nil {
		return err
	}
	if err := b.plugIn(ctx, operator, operatorIP); err != nil {
		return err
	}
	return b.Each(func(n *Node) error { return n.On(ctx) })
}

// Each runs f on all nodes at once.
func (b *Bed) Each(f func(n *Node) error) error {
	errs := make([]error, len(b.Nodes))
	var wg sync.WaitGroup
	for i, n := range b.Nodes {
		wg.Go(func() {
			if err := f(n); err != nil {
				errs[i] = fmt.Errorf("%s: %w", n.Name, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Reset gives the named nodes (all if none is named) a fresh disk and boots them.
func (b *Bed) Reset(ctx context.Context, names ...string) error {
	return b.Each(func(n *Node) error {
		if len(names) > 0 && !slices.Contains(names, n.Name) {
			return nil
		}
		return n.Reset(ctx)
	})
}

// Node finds a node by its name.
func (b *Bed) Node(name string) *Node {
	for _, n := range b.Nodes {
		if n.Name == name {
			return n
		}
	}
	panic("no such node: " + name)
}

// Down cuts the power of all nodes and removes everything the bed made. It may be called more than once.
func (b *Bed) Down() error {
	if b.lock == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := b.Each(func(n *Node) error { return n.Cut(ctx) })
	err = errors.Join(err, clean(ctx, b.id, b.dir))
	b.lock()
	b.lock = nil
	return errors.Join(err, os.Remove(b.dir+".lock"))
}

// Via is the command prefix that puts a program into a member's namespace ("operator" or a node's name) and becomes it.
func (b *Bed) Via(member string) []string { return []string{"ip", "netns", "exec", b.ns(member)} }

// Command is a program in the operator's namespace, with the operator's home and name resolution. The caller runs it.
func (b *Bed) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	via := append(b.Via(operator), name)
	cmd := exec.CommandContext(ctx, via[0], append(via[1:], args...)...)
	cmd.Env = append(os.Environ(), "HOME="+b.Home(), "SSH_AUTH_SOCK=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "XDG_STATE_HOME=")
	cmd.Dir = b.Home()
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Home is the operator's home folder: keys in .ssh, no known_hosts yet.
func (b *Bed) Home() string { return filepath.Join(b.dir, operator) }

// OperatorAddr is the address nodes see the operator under.
func (b *Bed) OperatorAddr() string { return operatorIP }

// mountScratch moves the bed to memory where the disk is itself an overlay, as in a container: such a disk cannot hold the
// writable layer of another one.
func (b *Bed) mountScratch() error {
	const overlayMagic = 0x794c7630
	var fs unix.Statfs_t
	if err := unix.Statfs(b.dir, &fs); err != nil {
		return err
	}
	if fs.Type != overlayMagic {
		return nil
	}
	return unix.Mount("bed", b.dir, "tmpfs", 0, "mode=755")
}

// newID is short (it names interfaces' namespaces) and random: two beds never share one.
func newID() string {
	var b [4]byte
	rand.Read(b[:])
	return fmt.Sprintf("bed%x", b)
}
