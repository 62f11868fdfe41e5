package torture

// A world: one seed's program, life after life, and what it remembers of it.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/vfs"
)

// sent is one message and what became of it.
type sent struct {
	id     int
	topic  string
	queue  int32
	body   string
	key    string
	known  bool // acknowledged, or read by a consumer, or found after a restart
	gone   bool // a cut took it, rightly: it must not come back
	at     int64
	phys   int64
	next   int64
	reader bool // a consumer saw it
}

// world is the state of one seed.
type world struct {
	rng   *rand.Rand
	o     store.Options
	sync  bool // SYNC_FLUSH
	await bool // SYNC_FLUSH by AwaitFlushed: readers may be ahead of the disk
	disk  *vfs.Mem
	p     *power
	s     *store.Store
	trace func(string)

	all      []*sent
	byID     map[int]*sent
	deleting string           // topic whose deletion was under way when the power went off
	deleted  int64            // where the log ended when a topic was deleted last: a log cut there would bring it back
	readers  map[string]int64 // consumer positions by queue
	flushed  int64            // a completed flush reached this, before the power went off
	firstSeg int64            // retention had deleted everything below, when the power went off
	powerCut bool             // the last end was a power cut, not a kill

	seenMu sync.Mutex // guards seen
	seen   [][]byte   // records that readers got while the log was being synced
	cuts   tally
}

// tally counts for the report.
type tally struct{ seeds, cuts, kills, inRecovery, clean, acked, lost, read int }

func (t *tally) add(o tally) {
	t.seeds += o.seeds
	t.cuts += o.cuts
	t.kills += o.kills
	t.inRecovery += o.inRecovery
	t.clean += o.clean
	t.acked += o.acked
	t.lost += o.lost
	t.read += o.read
}

var topics = []string{"T", "orders", "%RETRY%g"}

const dir = "/data/store"

func newWorld(seed uint64, trace func(string)) *world {
	rng := rand.New(rand.NewPCG(seed, 0x70726f6f66))
	w := &world{rng: rng, trace: trace, byID: map[int]*sent{}, readers: map[string]int64{}}
	w.sync = rng.IntN(2) == 0
	w.await = w.sync && rng.IntN(4) == 0
	t := store.DefaultTunables()
	t.FlushInterval, t.FlushThoroughInterval, t.FlushLeastPages = 510*time.Millisecond, 2*time.Second, 1
	t.QueueFlushInterval, t.QueueFlushLeastPages, t.QueueFlushThoroughInterval = 1030*time.Millisecond, 0, 7*time.Second
	t.CleanInterval, t.FileReserved, t.DeletePause = 3070*time.Millisecond, 20*time.Second, 0
	t.DeleteWhen = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}
	t.SyncFlush = w.sync && !w.await
	w.o = store.Options{Dir: dir, SegmentSize: 4096 << rng.IntN(3), QueueSegmentSize: int64(20 * (5 + rng.IntN(200))),
		IndexSlots: 50, IndexEntries: int32(20 + rng.IntN(100)), OpenFiles: 3 + rng.IntN(20), TailBytes: 1 << 17, Tunables: &t}
	w.o.Events.OnFlush = func(flushed int64) {
		if !w.p.isOff() {
			w.flushed = max(w.flushed, flushed)
		}
	}
	w.o.Events.OnCorrupt = func(what string, off int64) { w.say("corrupt at %d: %s", off, what) }
	w.disk = vfs.NewMem()
	w.disk.MkdirAll("/data", 0o755)
	w.disk.SyncDir("/")
	w.disk.Now = time.Now
	return w
}

func (w *world) say(format string, a ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf(format, a...))
	}
}

// run plays the whole seed.
func (w *world) run() error {
	w.cuts.seeds = 1
	for life := range 1 + w.rng.IntN(4) {
		w.say("life %d: sync %v, segment %d", life, w.sync, w.o.SegmentSize)
		if err := w.open(); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if err := w.verify(); err != nil {
			w.end()
			return fmt.Errorf("life %d: %w", life, err)
		}
		if err := w.live(); err != nil {
			w.end()
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	return w.last()
}

// last opens what is left once more, without any harm.
func (w *world) last() error {
	if err := w.open(); err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	defer w.end()
	if err := w.verify(); err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	return nil
}

// open starts the store on what the disk has, with up to three cuts while it recovers.
func (w *world) open() error {
	for range w.rng.IntN(4) {
		w.plug(1 + w.rng.IntN(40))
		s, err := store.Open(w.p.fs, w.o)
		if err == nil && !w.p.isOff() {
			err = s.Start()
		}
		if err == nil && !w.p.isOff() {
			w.s = s
			return nil
		}
		if s != nil {
			s.Close()
		}
		if !w.p.isOff() {
			return fmt.Errorf("open: %w", err)
		}
		w.cuts.inRecovery++
		w.fall()
	}
	w.plug(0)
	s, err := store.Open(w.p.fs, w.o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	w.s = s
	if err := s.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// plug puts a new switch before the disk that goes off at operation at.
func (w *world) plug(at int) {
	w.p = newPower(w.disk, w.rng)
	w.p.at, w.p.when, w.p.trace = at, moment(w.rng.IntN(3)), w.trace
	if w.rng.IntN(2) == 0 {
		w.p.restful = w.rng.Float64() / 4
	}
	if w.rng.IntN(2) == 0 && !w.await {
		w.p.peek = w.peek
	}
}

// arm lets the present switch go off after n more operations.
func (w *world) arm(n int) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.at = w.p.n + n
}

// end stops the store, whatever state it is in.
func (w *world) end() {
	w.p.switchOff()
	w.s.Close()
}

// fall makes the disk what a kill or a power cut leaves.
func (w *world) fall() {
	w.firstSeg = w.seenFirst()
	if w.rng.IntN(3) == 0 {
		w.cuts.kills++
		w.disk = w.disk.Clone()
		w.say("killed")
		return
	}
	w.cuts.cuts++
	w.powerCut = true
	c := vfs.AnyCut(w.rng)
	w.say("power cut %+v", c)
	w.disk = w.disk.PowerCut(w.rng, c)
}

// seenFirst is where the log began when the power went off.
func (w *world) seenFirst() int64 {
	entries, _ := w.disk.ReadDir(filepath.Join(dir, "commitlog"))
	for _, e := range entries {
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// live lets the program run until the power goes off, or the store is closed.
func (w *world) live() error {
	w.powerCut, w.deleting, w.flushed = false, "", w.s.FlushedPhysical()
	steps := 5 + w.rng.IntN(60)
	w.arm(1 + w.rng.IntN(steps*8))
	for range steps {
		if err := errors.Join(w.step(), w.peeked()); err != nil {
			return err
		}
		if w.p.isOff() {
			break
		}
	}
	if !w.p.isOff() && w.rng.IntN(2) == 0 {
		w.say("close")
		if err := w.s.Close(); !w.p.isOff() {
			if err != nil {
				return fmt.Errorf("close: %w", err)
			}
			w.cuts.clean++
			w.firstSeg = w.seenFirst()
			if w.rng.IntN(2) == 0 { // a power cut after a clean stop
				w.flushed = 1 << 60
				w.fall()
			}
			return nil
		}
	}
	w.end()
	w.fall()
	return nil
}
