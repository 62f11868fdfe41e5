package store

// What the queues were when all of them was on the disk, in a file of our own: a queue file that is cut short, gone, or an
// older copy is noticed at the start, and the queue made again from the log before it numbers a message twice.
//
//	| magic 8 | safe 8 | queues 4 | each: topic length 2 | topic | id 4 | first 8 | end 8 | last unit 20 | ...
//	| index files 4 | each: name 17 | next entry 4 | newest log offset 8 | ... | crc 4 |
//
// It is written at a clean stop, after a recovery, when a topic goes, and every ten minutes. It only ever says less than the
// truth: units behind the end are found by walking on.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

const (
	endsMagic = 0x524D5143544C5145 // "RMQCTLQE"
	endsEvery = 10 * time.Minute
)

// endsFile is that file.
type endsFile struct {
	mu    sync.Mutex // one write at a time; guards all below
	ready bool       // what it says was looked at: it may be written again
	next  time.Time  // when a checkpoint writes it again
}

func (s *Store) endsName() string { return filepath.Join(s.o.Dir, "queue.ends") }

// due tells whether the next checkpoint should write the ends; now makes it so.
func (e *endsFile) due(now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.ready && !now.Before(e.next)
}

func (e *endsFile) open() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.ready = true
}

func (e *endsFile) now() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next = time.Time{}
}

// pastEnds is what the file says.
type pastEnds struct {
	safe   int64 // of the checkpoint that was written before
	queues []consumequeue.Past
	index  []index.FileInfo
}

// endsNow is what there is before everything is put on the disk.
func (s *Store) endsNow() (past pastEnds) {
	past.queues = s.table.Ends()
	if s.index != nil {
		past.index = s.index.Files()
	}
	return past
}

// saveEnds writes what ends says; everything in it is on the disk.
func (s *Store) saveEnds(past pastEnds) error {
	s.ends.mu.Lock()
	defer s.ends.mu.Unlock()
	tmp := s.endsName() + ".tmp"
	f, err := s.fs.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodeEnds(past), 0)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := s.fs.Rename(tmp, s.endsName()); err != nil {
		return err
	}
	s.ends.next = s.now().Add(endsEvery)
	return s.fs.SyncDir(s.o.Dir)
}

// forgetEnds removes the file, before queues go on purpose; the next checkpoint writes it again.
func (s *Store) forgetEnds() error {
	s.ends.now()
	if err := s.fs.Remove(s.endsName()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.fs.SyncDir(s.o.Dir)
}

func encodeEnds(past pastEnds) []byte {
	be := binary.BigEndian
	b := be.AppendUint64(nil, endsMagic)
	b = be.AppendUint64(b, uint64(past.safe))
	b = be.AppendUint32(b, uint32(len(past.queues)))
	for _, k := range past.queues {
		b = append(be.AppendUint16(b, uint16(len(k.Topic))), k.Topic...)
		b = be.AppendUint32(b, uint32(k.ID))
		b = be.AppendUint64(b, uint64(k.First))
		b = be.AppendUint64(b, uint64(k.End))
		b = consumequeue.Append(b, k.Last)
	}
	b = be.AppendUint32(b, uint32(len(past.index)))
	for _, f := range past.index {
		b = append(b, f.Name[:indexName]...)
		b = be.AppendUint32(b, uint32(f.Next))
		b = be.AppendUint64(b, uint64(f.EndPhys))
	}
	return be.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// indexName is how long the name of an index file is.
const indexName = 17

// decodeEnds: nothing is known from bytes that are not whole.
func decodeEnds(b []byte) (past pastEnds, ok bool) {
	be := binary.BigEndian
	if len(b) < 28 || be.Uint64(b) != endsMagic || be.Uint32(b[len(b)-4:]) != crc32.ChecksumIEEE(b[:len(b)-4]) {
		return pastEnds{}, false
	}
	past.safe = int64(be.Uint64(b[8:]))
	n := int(be.Uint32(b[16:]))
	b = b[20 : len(b)-4]
	for range n {
		if len(b) < 2 {
			return pastEnds{}, false
		}
		size := int(be.Uint16(b))
		if len(b) < 2+size+20+consumequeue.UnitSize {
			return pastEnds{}, false
		}
		k := consumequeue.Past{Topic: string(b[2 : 2+size])}
		b = b[2+size:]
		k.ID, k.First, k.End = int32(be.Uint32(b)), int64(be.Uint64(b[4:])), int64(be.Uint64(b[12:]))
		k.Last = consumequeue.At(b[20:], 0)
		b = b[20+consumequeue.UnitSize:]
		if !validTopic(k.Topic) || k.ID < 0 || k.First < 0 || k.End <= k.First || k.End > maxQueueOffset {
			return pastEnds{}, false
		}
		past.queues = append(past.queues, k)
	}
	if len(b) < 4 || len(b)-4 != int(be.Uint32(b))*(indexName+12) {
		return pastEnds{}, false
	}
	for b = b[4:]; len(b) > 0; b = b[indexName+12:] {
		past.index = append(past.index, index.FileInfo{Name: string(b[:indexName]), Next: int32(be.Uint32(b[indexName:])), EndPhys: int64(be.Uint64(b[indexName+4:]))})
	}
	return past, true
}

// knowEnds reads the file. It counts only while the checkpoint is ours and fits the log: a Java broker changes queues without
// telling it, and a recovery that goes farther back drops units.
func (s *Store) knowEnds(ck *checkpoint, exact bool) error {
	if err := s.fs.Remove(s.endsName() + ".tmp"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := vfs.ReadFile(s.fs, s.endsName())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	past, ok := decodeEnds(b)
	if !ok {
		s.corrupt(s.endsName()+" is damaged: nobody knows where the queues ended", 0)
		return nil
	}
	if exact && past.safe <= ck.safe {
		s.table.Short = func(topic string, id int32, at, end int64) {
			s.corrupt(fmt.Sprintf("the files of queue %s/%d end at offset %d, the queue ended at %d: its units are looked up in the log as they are read", topic, id, at, end), 0)
		}
		s.table.Know(past.queues)
		s.lookAtIndex(past.index)
		return nil
	}
	return s.forgetEnds()
}

// lookAtIndex tells of index files that do not reach as far as they did. Messages are served without them; what is not found
// by key until a repair is said.
func (s *Store) lookAtIndex(past []index.FileInfo) {
	if s.index == nil {
		return
	}
	now := map[string]index.FileInfo{}
	for _, f := range s.index.Files() {
		now[f.Name] = f
	}
	for i, f := range past {
		n, there := now[f.Name]
		if f.EndPhys < s.clog.Min() || there && n.Next >= f.Next && n.EndPhys >= f.EndPhys || f.Next <= 1 {
			continue // retention takes the oldest
		}
		from := n.EndPhys
		if i > 0 && from < past[i-1].EndPhys {
			from = past[i-1].EndPhys
		}
		s.corrupt(fmt.Sprintf("index file %s/%s is gone or damaged: messages between the log offsets %d and %d are not found by key, until `rmqctl store repair` makes the index again",
			s.o.IndexDir, f.Name, from, f.EndPhys), f.EndPhys)
	}
}

// mendQueues makes the queues again whose files are not what they were. Their files go to lost+found.
func (s *Store) mendQueues() error {
	broken, doubtful := s.table.Broken(s.clog.Min())
	missed, err := s.missed(doubtful)
	if err != nil {
		return err
	}
	if broken = append(broken, missed...); len(broken) == 0 {
		s.ends.open()
		return nil
	}
	which := map[*consumequeue.Queue]bool{}
	for _, k := range broken {
		q := s.table.Ensure(k.Topic, k.ID)
		which[q] = true
		what := "is gone"
		if _, err := s.fs.Stat(q.Dir()); err == nil {
			to, err := s.lostName(fmt.Sprintf("%s.%d", k.Topic, k.ID))
			if err != nil {
				return err
			}
			if err := s.fs.Rename(q.Dir(), to); err != nil {
				return err
			}
			if err := errors.Join(s.fs.SyncDir(filepath.Dir(to)), s.fs.SyncDir(filepath.Dir(q.Dir()))); err != nil {
				return err
			}
			what = "was moved to " + to
		}
		q.Forget()
		s.corrupt(fmt.Sprintf("the files of queue %s/%d are not what they were (it ended at %d): it is made again from the log, %s %s", k.Topic, k.ID, k.End, q.Dir(), what), k.Last.Phys)
	}
	if err := s.remake(which); err != nil {
		return err
	}
	for _, k := range broken {
		q := s.table.Ensure(k.Topic, k.ID)
		if q.Newer(k.Last.Phys) {
			continue // nothing is lost at its end, or the topic was made anew since
		}
		if err := q.PadTo(k.End); err != nil {
			return err
		}
	}
	s.ends.open()
	s.ends.now()
	return s.unlessFull(s.Checkpoint())
}

// missed returns those of the queues that the log has messages of before what their files begin with.
func (s *Store) missed(doubtful []consumequeue.Doubt) (out []consumequeue.Past, err error) {
	to := int64(0)
	begins := map[string]consumequeue.Doubt{}
	for _, k := range doubtful {
		begins[fmt.Sprint(k.Topic, "/", k.ID)] = k
		to = max(to, k.Phys)
	}
	err = s.eachRecord(s.clog.Min(), min(to, s.clog.Written()), func(r *message.Record) error {
		key := fmt.Sprint(string(r.Topic), "/", r.QueueID)
		if k, ok := begins[key]; ok && hasQueue(r.SysFlag) && r.PhysicalOffset < k.Phys && r.QueueOffset < k.At {
			out = append(out, k.Past)
			delete(begins, key)
		}
		return nil
	})
	return out, err
}

// remake fills empty queues from the log.
func (s *Store) remake(which map[*consumequeue.Queue]bool) error {
	return s.eachRecord(s.clog.Min(), s.clog.Written(), func(r *message.Record) error {
		if !hasQueue(r.SysFlag) || !validTopic(string(r.Topic)) || r.QueueID < 0 || r.QueueOffset < 0 || r.QueueOffset > maxQueueOffset {
			return nil
		}
		q := s.table.Get(string(r.Topic), r.QueueID)
		if q == nil || !which[q] {
			return nil
		}
		_, err := q.Restore(r.QueueOffset, consumequeue.Unit{Phys: r.PhysicalOffset, Size: r.Size, Tags: s.tagsCode(r, propsOf(r.Properties))})
		return err
	})
}

// eachRecord walks over the good records of a stretch of the log. Damaged ones are left out: whoever reads them tells of
// them.
func (s *Store) eachRecord(from, to int64, f func(*message.Record) error) error {
	w := &walker{read: s.clog.ReadRaw, segment: s.o.SegmentSize, limit: to, block: 1 << 20, crc: true}
	var r message.Record
	for at := from; at < to; {
		n, bad, err := w.record(at, &r)
		switch {
		case err == nil:
			if r.Size > 0 {
				if err := f(&r); err != nil {
					return err
				}
			}
			at += n
			continue
		case !bad && !errors.Is(err, errEnd) && !errors.Is(err, errNothing):
			return err
		}
		next, found, err := w.fresh().resync(at, s.o.SegmentSize)
		if err != nil {
			return err
		}
		if !found {
			next = s.clog.Base(at) + s.o.SegmentSize
		}
		at = next
	}
	return nil
}
