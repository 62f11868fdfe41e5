package sim

// Worlds whose members have real stores on their disks in memory. cheapLog goes on as the shadow of what the store says: it holds the
// store to its contract, and the model looks at it. The store's own goroutines run in a bubble of virtual time.

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rmqctl/broker/raftgroup"
	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/sim"
	"rmqctl/internal/vfs"
)

const storeDir = "/store"

// playStores is play with real stores.
func playStores(t *testing.T) sim.Story {
	return func(seed uint64, trace func(string)) (tally sim.Tally, hash uint64, err error) {
		synctest.Test(t, func(*testing.T) {
			w := newWorld(seed, true, trace)
			w.seg = 4096 << w.Rand.IntN(3)
			for _, m := range w.members {
				m.log.seg = w.seg
			}
			w.Pass = func(d time.Duration) {
				time.Sleep(d)
				synctest.Wait()
			}
			func() {
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
					}
				}()
				tally, hash, err = w.play()
			}()
			for _, m := range w.members {
				m.down(false)
			}
		})
		return tally, hash, err
	}
}

func (m *member) theLog() raftgroup.Log {
	if m.w.real {
		return &storeLog{m, m.st, m.log}
	}
	return m.log
}

// openStore opens what the disk has, and reads the shadow from it.
func (m *member) openStore(fsys vfs.FS, committed int64) error {
	t := store.DefaultTunables()
	t.FlushInterval, t.FlushThoroughInterval, t.FlushLeastPages = 510*time.Millisecond, 2*time.Second, 1
	t.QueueFlushInterval, t.QueueFlushLeastPages, t.QueueFlushThoroughInterval = 1030*time.Millisecond, 0, 7*time.Second
	t.SyncFlush = m.w.syncFlush
	s, err := store.Open(fsys, store.Options{Dir: storeDir, SegmentSize: m.w.seg, QueueSegmentSize: 20 * 100, IndexSlots: 50, IndexEntries: 100, OpenFiles: 10,
		TailBytes: 1 << 16, Tunables: &t, Gate: &gate{m, m.life}, Committed: committed})
	if err != nil {
		return err
	}
	m.st = s
	if err := s.Start(); err != nil {
		return err
	}
	tape := sim.Tape{Base: s.MinPhysical()}
	for tape.End() < s.End() {
		b := make([]byte, 4096)
		n, err := s.ReadWritten(tape.End(), b)
		if err != nil || n == 0 {
			return fmt.Errorf("read at %d of a log up to %d: %d, %w", tape.End(), s.End(), n, err)
		}
		tape.Append(b[:n])
	}
	tape.Disk = append([]byte(nil), tape.B...)
	l := m.log
	l.Tape, l.committed, l.leading = tape, s.MaxPhysical(), false
	if seen := min(l.committed, m.w.model.end()); seen > l.Base && !m.w.model.sameAt(l.Base, l.Slice(l.Base, seen)) {
		m.fail("opens with other visible bytes than have been committed%s", m.w.model.difference(l.Slice(l.Base, seen), l.Base))
	}
	return nil
}

// storeLog is a store and its shadow as one.
type storeLog struct {
	m      *member
	s      *store.Store
	shadow *cheapLog
}

func (l *storeLog) MinPhysical() int64 { return l.s.MinPhysical() }
func (l *storeLog) MaxPhysical() int64 { return l.s.MaxPhysical() }
func (l *storeLog) End() int64         { return l.s.End() }
func (l *storeLog) SegmentSize() int64 { return l.m.w.seg }

func (l *storeLog) ReadWritten(off int64, buf []byte) (int, error) {
	n, err := l.s.ReadWritten(off, buf)
	if err == nil && !l.shadow.Has(off, buf[:n], false) {
		l.m.fail("reads other bytes at %d than were written", off)
	}
	return n, err
}

func (l *storeLog) AppendRaw(off int64, b []byte) error {
	err := l.s.AppendRaw(off, b)
	if err == nil {
		l.shadow.Append(b)
		l.level("AppendRaw")
	}
	return err
}

func (l *storeLog) TruncateTo(off int64) error {
	l.m.truncating(off)
	err := l.s.TruncateTo(off)
	if err == nil {
		l.shadow.Truncate(off)
		l.level("TruncateTo")
	}
	return err
}

func (l *storeLog) Reset(from int64, ends []byte) error {
	l.m.cutRounds(l.shadow.Base)
	err := l.s.Reset(from, ends)
	if err == nil {
		l.shadow.Tape.Reset(from)
		l.shadow.committed, l.m.visible = from, from
		l.m.w.Tally.Add("resets", 1)
		l.level("Reset")
	}
	return err
}

func (l *storeLog) QueueEnds(at int64) ([]byte, error) { return l.s.QueueEnds(at) }

// Commit: the model knows of it before the producers are told.
func (l *storeLog) Commit(to int64) error {
	if from := l.shadow.committed; to > from {
		l.shadow.committed = to
		l.m.published(from, to, l.shadow.Slice(from, to))
	}
	err := l.s.Commit(to)
	if err == nil {
		l.level("Commit")
	}
	return err
}

func (l *storeLog) Sync(to int64) error {
	err := l.s.Sync(to)
	if err == nil {
		l.shadow.Tape.Sync(to)
		l.m.slow()
	}
	return err
}

func (l *storeLog) Lead() error {
	err := l.s.Lead()
	l.shadow.leading = err == nil
	l.m.w.Tally.Add("elections", 1)
	return err
}

func (l *storeLog) Follow() (int64, error) {
	l.shadow.leading = false
	return l.s.Follow()
}

// level holds the store against its shadow.
func (l *storeLog) level(after string) {
	if l.s.End() != l.shadow.End() || l.s.MaxPhysical() != l.shadow.committed {
		l.m.fail("after %s the store shows %d of %d, expected were %d of %d", after, l.s.MaxPhysical(), l.s.End(), l.shadow.committed, l.shadow.End())
	}
}

// gate takes what the store has written as a leader.
type gate struct {
	m    *member
	life *life
}

func (g *gate) Written(from int64, b []byte) {
	m := g.m
	if g.life.over {
		return
	}
	if from != m.log.End() {
		m.fail("writes at %d, its log ended at %d", from, m.log.End())
	}
	r := round{from: from, b: b}
	if err := storeRecords(b, func(rec sim.Record) {
		if rec.ID != 0 {
			r.ids = append(r.ids, rec.ID)
		}
	}); err != nil {
		m.fail("hands over a torn record: %v", err)
	}
	m.log.Append(b)
	m.written = append(m.written, r)
	m.say("appends %d to %d, messages %v", from, r.end(), r.ids)
	m.wake()
}

// answer is one message's producer.
type answer struct {
	m  *member
	id uint64
}

func (a *answer) Stored(res store.PutResult, err error) {
	msg := &a.m.w.model.messages[a.id]
	switch {
	case res.Status != store.PutOK:
		if msg.fate == waiting {
			msg.fate = unknown
		}
	case !msg.seen || msg.fate != acknowledged:
		a.m.fail("tells the producer of message %d that it is stored, and it is not committed", a.id)
	case msg.offset != res.QueueOffset:
		a.m.fail("tells the producer of message %d that it is at %d of its queue, it is at %d", a.id, res.QueueOffset, msg.offset)
	default:
		a.m.w.Tally.Add("producers told", 1)
	}
}

var host = netip.MustParseAddrPort("10.0.0.1:5000")

// put is a round of producers at a store.
func (m *member) put() {
	g := m.st.NewStage()
	for range 1 + m.w.Rand.IntN(4) {
		id := m.w.model.newMessage()
		body := fmt.Sprintf("%d:%s", id, strings.Repeat("x", m.w.Rand.IntN(200)))
		msg := &message.Message{Topic: "T", QueueID: int32(m.w.Rand.IntN(queues)), Body: []byte(body), BornHost: host, StoreHost: host, BornTimestamp: 1}
		msg.Properties = message.SetProperty(nil, message.PropKeys, "k"+strconv.FormatUint(id, 10))
		if status, err := g.Add(msg, &answer{m, id}); status != store.PutOK {
			m.say("message %d is refused: %v, %v", id, status, err)
			m.w.model.messages[id].fate = refused
		}
	}
	g.Put()
	if m.crashIfOff() {
		return
	}
	if err := m.st.Writable(); err != nil && m.diskErr == nil && m.up {
		m.say("its store has failed: %v", err)
		m.down(false)
		m.restartIn(m.w.Between(0, 3*time.Second))
	}
}

// storeRecords walks over RocketMQ's records.
func storeRecords(b []byte, each func(sim.Record)) error {
	for at := 0; at < len(b); {
		if len(b)-at < 8 {
			return fmt.Errorf("%w at %d", sim.ErrRecord, at)
		}
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size < 8 || size > len(b)-at {
			return fmt.Errorf("%w at %d: size %d of %d", sim.ErrRecord, at, size, len(b)-at)
		}
		if binary.BigEndian.Uint32(b[at+4:]) == message.MagicBlank {
			at += size
			each(sim.Record{End: at})
			continue
		}
		msg, n, err := message.Decode(b[at:at+size], message.Options{CheckCRC: true})
		if err != nil {
			return err
		}
		id, err := idOf(msg.Body)
		if err != nil {
			return err
		}
		at += n
		each(sim.Record{ID: id, Queue: uint32(msg.QueueID), Offset: msg.QueueOffset, End: at})
	}
	return nil
}

func idOf(body []byte) (uint64, error) {
	word, _, _ := strings.Cut(string(body), ":")
	return strconv.ParseUint(word, 10, 64)
}

// checkStore looks at the store as an operator and a consumer do.
func (m *member) checkStore() {
	if wrong := m.st.Check(); len(wrong) > 0 {
		m.fail("its store is not well: %s", strings.Join(wrong, "; "))
	}
	for q := range int32(queues) {
		next, end := m.st.MinOffset("T", q), m.st.MaxOffset("T", q)
		if want := m.w.model.next[q]; m.log.committed == m.w.model.end() && end != want && want > 0 {
			m.fail("queue %d ends at %d, %d is right", q, end, want)
		}
		for next < end {
			r, err := m.st.Get("T", q, next, store.GetLimit{}, store.Match{})
			if err != nil || len(r.Messages) == 0 {
				m.fail("nothing at %d of queue %d, which ends at %d: %v, %v", next, q, end, r.Status, err)
				return
			}
			for _, b := range r.Messages {
				msg, _, err := message.Decode(b, message.Options{CheckCRC: true})
				if err != nil {
					m.fail("queue %d: %v", q, err)
					return
				}
				id, _ := idOf(msg.Body)
				if k := &m.w.model.messages[id]; !k.seen || k.offset != next || k.queue != uint32(q) || msg.QueueOffset != next {
					m.fail("at %d of queue %d lies message %d, which belongs to %d of %d", next, q, id, k.offset, k.queue)
				}
				next++
			}
			r.Release()
		}
	}
}
