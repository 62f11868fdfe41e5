package torture

// The switch between a store and its disk.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"

	"rmqctl/internal/vfs"
)

var errOff = errors.New("the power is off")

// moment says when the power goes off: before, in or after the chosen operation.
type moment int

const (
	before moment = iota
	within        // a write gets its first sectors into the file; other operations: before
	after
)

// power is a disk that can be switched off. Operations that change the disk are counted; at number at it goes off, and from
// then on nothing works.
type power struct {
	disk *vfs.Mem
	fs   *vfs.Fault

	mu      sync.Mutex // guards all below
	rng     *rand.Rand
	n       int
	at      int // 0: never
	when    moment
	off     bool
	cutOp   vfs.Op
	restful float64 // chance of a WriteBack before an operation
	trace   func(string)
	edges   func(n int, op vfs.Op, when moment) // is told of every operation, twice
	peek    func()                              // is called before the log is synced, without any lock of ours
}

func newPower(disk *vfs.Mem, rng *rand.Rand) *power {
	p := &power{disk: disk, rng: rng}
	p.fs = &vfs.Fault{FS: disk, Before: p.before, After: p.after}
	return p
}

func changes(op vfs.Op) bool {
	switch op.Kind {
	case "read", "open", "readdir", "usage", "lock":
		return false
	}
	return true
}

func (p *power) before(op vfs.Op) error {
	if op.Kind == "sync" && p.peek != nil && strings.Contains(op.Name, "/commitlog/0") && !p.isOff() {
		p.peek()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off {
		return errOff
	}
	if !changes(op) {
		return nil
	}
	p.n++
	if p.trace != nil {
		p.trace(fmt.Sprintf("%4d %-8s %s %d+%d", p.n, op.Kind, op.Name, op.Off, op.Len))
	}
	if p.restful > 0 && p.rng.Float64() < p.restful {
		p.disk.WriteBack(p.rng, vfs.AnyCut(p.rng))
	}
	if p.edges != nil {
		p.edges(p.n, op, before)
	}
	if p.n != p.at || p.when == after {
		return nil
	}
	p.goOff(op)
	if n := p.sectors(op); p.when == within && n > 0 {
		return &vfs.Short{N: n, Err: errOff}
	}
	return errOff
}

// sectors is a part of a write that ends between two sectors; 0 when there is none.
func (p *power) sectors(op vfs.Op) int {
	const sector = 512
	first := sector - int(op.Off%sector)
	if op.Kind != "write" || first >= op.Len {
		return 0
	}
	return first + p.rng.IntN((op.Len-first+sector-1)/sector)*sector
}

func (p *power) after(op vfs.Op) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.edges != nil && changes(op) {
		p.edges(p.n, op, after)
	}
	if !p.off && p.at > 0 && p.n == p.at && p.when == after && changes(op) {
		p.goOff(op)
	}
	if p.off {
		return errOff
	}
	return nil
}

func (p *power) goOff(op vfs.Op) {
	p.off, p.cutOp = true, op
	if p.trace != nil {
		p.trace(fmt.Sprintf("     power off, %d", p.when))
	}
}

// switchOff is a cut between two operations.
func (p *power) switchOff() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.off {
		p.goOff(vfs.Op{})
	}
}

func (p *power) isOff() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.off
}
