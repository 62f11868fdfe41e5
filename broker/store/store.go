// The store: opened, started, closed.

package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/broker/store/commitlog"
	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/broker/store/segment"
	"rmqctl/internal/clock"
	"rmqctl/internal/vfs"
)

// Store is a broker's messages. Make it with Open; Start begins its background work; Close ends it cleanly.
//
// Locks, in the order in which they may be taken: mu (appends), then a queue's own. Flushing has its own lock inside the
// log. No lock is held while Events are called.
type Store struct {
	fs   vfs.FS
	o    Options
	log  *slog.Logger
	tune atomic.Pointer[Tunables]

	lock  io.Closer
	clog  *commitlog.Log
	table *consumequeue.Table
	index *index.Index // nil: no index

	mu sync.Mutex // guards appender, committing, closed, fenced, quiet, and Queue.Next of all queues
	appender
	committing bool // somebody writes rounds; only he may touch the log's end
	closed     bool
	fenced     bool          // puts are refused; of a store without a group, see Follow
	quiet      chan struct{} // closed when committing ends; made by who waits for that

	commit chan struct{} // a round waits for the committer goroutine
	hurry  chan struct{} // units of delayed messages wait to be saved
	flush  flusher
	slow   slow
	watch  watchers
	keys   []index.Put // of the round that is published
	state  state
	raw    rawAppender
	gated  *gated // nil: not a member of a raft group
	anew   *reset // Open found it half done
	ends   endsFile
	healer healer
	clean  cleaner

	lastStored int64 // guarded by mu: store timestamp of the newest published record
	lastRecord int64 // guarded by mu: where it starts
	count      counters

	stop    chan struct{}
	wg      sync.WaitGroup
	started bool
	ckMu    sync.Mutex // one checkpoint at a time
	waits   sync.Pool  // of *wait
	ck      checkpointFile
	vouched int64 // recovery: the log was surely on the disk below; -1: nobody knows
}

// Open takes the store's lock, loads what is there and recovers it. Nothing in the directory is touched before the lock is
// held. The store answers reads from then on; Start it before the first append.
func Open(fsys vfs.FS, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{fs: fsys, o: o, log: o.Log, commit: make(chan struct{}, 1), hurry: make(chan struct{}, 1), stop: make(chan struct{})}
	s.tune.Store(o.Tunables)
	if o.Gate != nil {
		s.gated = &gated{gate: o.Gate, opened: true, kick: make(chan struct{}, 1)}
	}
	s.open, s.gen = &round{}, 1
	s.ck = checkpointFile{fs: fsys, name: o.CheckpointFile}
	s.flush.init(s)
	s.slow.wake, s.clean.kick = make(chan struct{}, 1), make(chan struct{}, 1)
	if err := vfs.MakeDirs(fsys, o.Dir, 0o755); err != nil {
		return nil, err
	}
	if s.lock, err = takeLock(fsys, filepath.Join(o.Dir, "lock")); err != nil {
		return nil, err
	}
	// A process that was killed may have made these without syncing them.
	for _, d := range []string{o.Dir, o.CommitLogDir, o.ConsumeQueueDir, o.IndexDir} {
		if err := vfs.SyncParent(fsys, d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.lock.Close()
			return nil, err
		}
	}
	// Nor may the names of files it made: what is written to them later would be lost with the name.
	for _, d := range []string{o.CommitLogDir, o.IndexDir} {
		if err := fsys.SyncDir(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.lock.Close()
			return nil, err
		}
	}
	err = s.goOnReset()
	if err == nil {
		err = s.load()
	}
	if err == nil {
		err = s.endReset()
	}
	if err != nil {
		s.closeFiles()
		s.lock.Close()
		return nil, err
	}
	s.ends.open()
	s.clean.ages.begin(s)
	return s, nil
}

func takeLock(fsys vfs.FS, name string) (io.Closer, error) {
	l, err := fsys.Lock(name)
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %w", ErrLocked, err)
	}
	return l, err
}

func (o Options) withDefaults() (Options, error) {
	set := func(p *string, name string) {
		if *p == "" {
			*p = filepath.Join(o.Dir, name)
		}
	}
	if o.Dir == "" {
		return o, errors.New("store: no directory")
	}
	set(&o.CommitLogDir, "commitlog")
	set(&o.ConsumeQueueDir, "consumequeue")
	set(&o.IndexDir, "index")
	set(&o.CheckpointFile, "checkpoint")
	set(&o.AbortFile, "abort")
	if o.SegmentSize == 0 {
		o.SegmentSize = 1 << 30
	}
	if o.QueueSegmentSize == 0 {
		o.QueueSegmentSize = 6000000
	}
	const unit = consumequeue.UnitSize
	o.QueueSegmentSize = (o.QueueSegmentSize + unit - 1) / unit * unit
	if o.SegmentSize < 128 || o.SegmentSize > 1<<31-1 || o.QueueSegmentSize < unit {
		return o, fmt.Errorf("store: segment size %d or queue segment size %d is out of range", o.SegmentSize, o.QueueSegmentSize)
	}
	if o.IndexSlots <= 0 {
		o.IndexSlots = 5000000
	}
	if o.IndexEntries <= 0 {
		o.IndexEntries = 20000000
	}
	if o.MemoryBytes == 0 {
		o.MemoryBytes = machineMemory()
	}
	if o.TailBytes == 0 {
		o.TailBytes = 32 << 20
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = 1024
	}
	if o.Tunables == nil {
		t := DefaultTunables()
		o.Tunables = &t
	}
	if o.Clock == nil {
		o.Clock = clock.System
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// Tune changes what may change while the store runs.
func (s *Store) Tune(t Tunables) {
	s.tune.Store(&t)
	s.clog.Fill(t.SyncFlush)
	s.flush.kick()
}

// Tunables are the settings in force.
func (s *Store) Tunables() Tunables { return *s.tune.Load() }

func (s *Store) now() time.Time { return s.o.Clock.Now() }

// Start marks the store as running (the abort file) and begins flushing, committing and cleaning.
func (s *Store) Start() error {
	if !s.ck.last.exact { // from now on it can be told what a power cut may take
		s.count.told(s.log, "checkpoint", s.Checkpoint())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.started {
		return nil
	}
	if err := s.markRunning(); err != nil {
		return err
	}
	s.started = true
	s.clog.Fill(s.tune.Load().SyncFlush)
	loops := []func(){s.commitLoop, s.watchLoop, s.flushLoop, s.queueLoop, s.cleanLoop, s.fillLoop}
	if s.gated != nil {
		loops = append(loops, s.ackLoop)
	}
	for _, loop := range loops {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			loop()
		}()
	}
	return nil
}

// Close stops the store cleanly: everything is written and synced, the checkpoint says so, and the abort file goes.
// When that fails the abort file stays, and the next Open recovers.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	started := s.started
	s.mu.Unlock()
	s.settleWrites(nil)
	if s.gated != nil {
		s.abandon()
	}
	close(s.stop)
	s.wg.Wait()
	s.flush.failAll(ErrClosed)
	var err error
	if started {
		s.clog.Close() // deletes the segment made ahead; the rest is opened again for the flush
		s.ends.now()
		if s.gated != nil { // the next start counts on all of it
			err = s.Sync(s.End())
		}
		if err = errors.Join(err, s.Checkpoint()); err == nil {
			err = s.markStopped()
		}
	}
	s.closeFiles()
	return errors.Join(err, s.lock.Close())
}

// Settle returns when nobody whose put was taken before is left to be told, or when the limit comes. nil: no limit.
func (s *Store) Settle(limit <-chan time.Time) {
	s.settleWrites(limit)
	if g := s.gated; g != nil {
		s.mu.Lock()
		if len(g.wait) == 0 {
			s.mu.Unlock()
			return
		}
		if g.empty == nil {
			g.empty = make(chan struct{})
		}
		c := g.empty
		s.mu.Unlock()
		select {
		case <-c:
		case <-s.stop:
		case <-limit:
		case <-s.o.Clock.After(s.tune.Load().MaxWaitAck + 2*watchRounds): // all were told by then, one way or the other
		}
	}
}

func (s *Store) settleWrites(limit <-chan time.Time) {
	s.mu.Lock()
	if !s.committing {
		s.mu.Unlock()
		return
	}
	if s.quiet == nil {
		s.quiet = make(chan struct{})
	}
	c := s.quiet
	s.mu.Unlock()
	select {
	case <-c:
	case <-limit:
	}
}

// restLocked: nobody writes rounds any more.
func (s *Store) restLocked() {
	s.committing = false
	if s.quiet != nil {
		close(s.quiet)
		s.quiet = nil
	}
}

func (s *Store) closeFiles() {
	if s.clog != nil {
		s.clog.Close()
	}
	if s.table != nil {
		s.table.Close()
	}
	if s.index != nil {
		s.index.Close()
	}
}

// MinPhysical is the first offset kept; MaxPhysical the end of the log as readers see it; FlushedPhysical the end of what
// a power cut leaves.
func (s *Store) MinPhysical() int64     { return s.clog.Min() }
func (s *Store) MaxPhysical() int64     { return s.clog.Written() }
func (s *Store) FlushedPhysical() int64 { return s.clog.Flushed() }

// SegmentSize is the length of a commit log file.
func (s *Store) SegmentSize() int64 { return s.o.SegmentSize }

func (s *Store) cache() *segment.Cache { return &segment.Cache{FS: s.fs, Max: s.o.OpenFiles} }
