package vfs

// What a Mem looks like after its process was killed, or its power cut.
//
// A kill takes nothing that was written. A power cut takes what was not synced, as far as it likes:
//
//	sectors   each has its old bytes or its new ones, whatever became of its neighbours: a record may be torn, and a later
//	          write may survive an earlier one
//	sizes     the old one, the new one, the smallest in between, or anything on the way while a file grows
//	names     every creation, removal and renaming is kept or lost by itself; only a renamed file always has one of its two
//	          names, or both
//
// File.Sync protects a file's bytes and its size, SyncDir the names in one directory. Neither protects the name of the
// directory itself: that takes SyncDir of its parent (MakeDirs does it). WriteBack is what a kernel does in between: it
// writes some of what waits, in any order, so the disk may hold a version that was never synced and is not the newest.

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
)

// sector is the smallest piece that a disk writes whole.
const sector = 512

// Cut says how a power cut treats what was not synced.
type Cut struct {
	Page  bool    // the disk writes 4 KiB at once: a page is kept or lost as a whole
	Data  float64 // chance that a sector has its new bytes
	Size  float64 // chance that a file has a new size
	Names float64 // chance that a change of a directory is there
}

// AnyCut draws a cut: nothing survives, or all of it, data without names, names without data, or something in between.
func AnyCut(rng *rand.Rand) Cut {
	chance := func() float64 {
		switch rng.IntN(4) {
		case 0:
			return 0
		case 1:
			return 1
		}
		return rng.Float64()
	}
	return Cut{Page: rng.IntN(2) == 0, Data: chance(), Size: chance(), Names: chance()}
}

// Clone is the file system after its process was killed: everything written is seen, but no more of it is on the disk than
// before. Locks are gone.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := NewMem()
	out.Now, out.total, out.used = m.Now, m.total, m.used
	c := cloner{}
	out.root = c.node(m.root)
	changes := map[*nameChange]*nameChange{}
	for _, old := range m.journal {
		n := *old
		n.dir, n.node, n.after = c.node(old.dir), c.node(old.node), changes[old.after]
		changes[old] = &n
		out.journal = append(out.journal, &n)
	}
	return out
}

// PowerCut is the file system after a power cut. m stays as it is.
func (m *Mem) PowerCut(rng *rand.Rand, c Cut) *Mem {
	out := m.Clone()
	out.writeBack(rng, c)
	out.fall()
	return out
}

// CrashClone is PowerCut with one chance for everything, and pages of 4 KiB. Without rng nothing survives.
func (m *Mem) CrashClone(rng *rand.Rand, chance float64) *Mem {
	if rng == nil {
		rng, chance = rand.New(rand.NewPCG(0, 0)), 0
	}
	return m.PowerCut(rng, Cut{Page: true, Data: chance, Size: chance, Names: chance})
}

// WriteBack puts some of what waits on the disk, as a kernel does whenever it likes. Readers see nothing of it.
func (m *Mem) WriteBack(rng *rand.Rand, c Cut) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writeBack(rng, c)
}

func (m *Mem) writeBack(rng *rand.Rand, c Cut) {
	m.carryOut(func(*nameChange) bool { return rng.Float64() < c.Names })
	for _, n := range m.nodes() {
		if n.dir {
			continue
		}
		if (n.size != n.diskSize || n.low < n.size) && rng.Float64() < c.Size {
			n.sizeToDisk(rng)
		}
		keep := false
		n.toDisk(func(s int) bool {
			if !c.Page || s < 0 {
				keep = rng.Float64() < c.Data
			}
			return keep
		})
	}
}

// nameChange is one change of a directory that the disk does not have yet.
type nameChange struct {
	dir   *memNode
	name  string
	node  *memNode    // nil: the name goes
	after *nameChange // a renamed file loses its old name only after it got the new one
	done  bool        // on the disk, or made void by a later change of the same name that is
}

// set changes a name, for readers now and for the disk later.
func (m *Mem) set(dir *memNode, name string, node *memNode) *nameChange {
	if node == nil {
		delete(dir.children, name)
	} else {
		dir.children[name] = node
	}
	c := &nameChange{dir: dir, name: name, node: node}
	m.journal = append(m.journal, c)
	return c
}

// carryOut puts the changes of names that keep picks on the disk, in order.
func (m *Mem) carryOut(keep func(*nameChange) bool) {
	for i, c := range m.journal {
		if c.after != nil && !c.after.done || !keep(c) {
			continue
		}
		if c.node == nil {
			delete(c.dir.durable, c.name)
		} else {
			c.dir.durable[c.name] = c.node
		}
		c.done = true
		for _, old := range m.journal[:i] {
			old.done = old.done || old.dir == c.dir && old.name == c.name
		}
	}
	m.journal = slices.DeleteFunc(m.journal, func(c *nameChange) bool { return c.done })
}

// nodes is everything that is seen or on the disk, in an order that depends on nothing but history.
func (m *Mem) nodes() []*memNode {
	var out []*memNode
	seen := map[*memNode]bool{}
	var walk func(n *memNode)
	walk = func(n *memNode) {
		if n == nil || seen[n] {
			return
		}
		seen[n] = true
		out = append(out, n)
		for _, list := range []map[string]*memNode{n.children, n.durable} {
			for _, name := range sortedKeys(list) {
				walk(list[name])
			}
		}
	}
	walk(m.root)
	for _, c := range m.journal { // made, and renamed or removed again
		walk(c.node)
	}
	return out
}

// fall makes what is on the disk all there is.
func (m *Mem) fall() {
	m.journal, m.used = nil, 0
	for _, n := range m.nodes() {
		n.children = maps.Clone(n.durable)
		n.size, n.low = n.diskSize, n.diskSize
		clear(n.dirty)
		clear(n.pages)
		for i, p := range n.disk {
			if i*memPage >= n.size {
				delete(n.disk, i)
				continue
			}
			clear(p[min(n.size-i*memPage, memPage):])
			cp := *p
			n.pages[i] = &cp
		}
	}
	for _, n := range m.nodes() {
		m.used += int64(len(n.pages)) * memPage
	}
}

// touch marks the sectors that hold bytes [from, to) of page i as not synced.
func (n *memNode) touch(i int64, from, to int) {
	for s := from / sector; s*sector < to; s++ {
		n.dirty[i] |= 1 << s
	}
}

// toDisk puts those dirty sectors on the disk that keep picks. It is asked for the page first (-1), then for each sector.
func (n *memNode) toDisk(keep func(sector int) bool) {
	for _, i := range sortedKeys(n.dirty) {
		keep(-1)
		for s := range memPage / sector {
			if n.dirty[i]&(1<<s) == 0 || !keep(s) {
				continue
			}
			n.dirty[i] &^= 1 << s
			n.sectorToDisk(i, s)
		}
		if n.dirty[i] == 0 {
			delete(n.dirty, i)
			if n.pages[i] == nil {
				delete(n.disk, i)
			}
		}
	}
}

func (n *memNode) sectorToDisk(i int64, s int) {
	to := n.disk[i]
	if to == nil {
		to = new([memPage]byte)
		n.disk[i] = to
	}
	if from := n.pages[i]; from != nil {
		copy(to[s*sector:(s+1)*sector], from[s*sector:])
	} else {
		clear(to[s*sector : (s+1)*sector])
	}
}

// sizeToDisk puts a size on the disk that the file had since the last sync.
func (n *memNode) sizeToDisk(rng *rand.Rand) {
	switch rng.IntN(4) {
	case 0:
		n.shrinkDisk(n.low)
		n.diskSize = n.low
	case 1:
		n.shrinkDisk(n.low)
		n.diskSize = n.low + rng.Int64N(n.size-n.low+1)/sector*sector
	default:
		n.shrinkDisk(n.low)
		n.diskSize, n.low = n.size, n.size
	}
}

// shrinkDisk drops what the disk has beyond size; what is written there again waits again.
func (n *memNode) shrinkDisk(size int64) {
	if size >= n.diskSize {
		return
	}
	for i, p := range n.disk {
		if (i+1)*memPage <= size {
			continue
		}
		from := int(max(size-i*memPage, 0))
		clear(p[from:])
		n.touch(i, from, memPage)
	}
}

// sync is File.Sync.
func (n *memNode) sync() {
	n.toDisk(func(int) bool { return true })
	n.diskSize, n.low = n.size, n.size
}

// cloner copies a tree; a file with two names stays one file.
type cloner map[*memNode]*memNode

func (c cloner) node(n *memNode) *memNode {
	if n == nil {
		return nil
	}
	if done := c[n]; done != nil {
		return done
	}
	cp := *n
	c[n] = &cp
	cp.children, cp.durable = c.names(n.children), c.names(n.durable)
	cp.pages, cp.disk, cp.dirty = clonePages(n.pages), clonePages(n.disk), maps.Clone(n.dirty)
	return &cp
}

func (c cloner) names(list map[string]*memNode) map[string]*memNode {
	if list == nil {
		return nil
	}
	out := make(map[string]*memNode, len(list))
	for name, n := range list {
		out[name] = c.node(n)
	}
	return out
}

func clonePages(pages map[int64]*[memPage]byte) map[int64]*[memPage]byte {
	if pages == nil {
		return nil
	}
	out := make(map[int64]*[memPage]byte, len(pages))
	for i, p := range pages {
		cp := *p
		out[i] = &cp
	}
	return out
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
