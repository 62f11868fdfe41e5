package inspect

// One pass over the commit log: one reader finds where records begin, several workers check and take them apart, one
// consumer gets them in the order of the log.
//
//	reader --block--> workers (checksum, keys, tag)
//	   \--------------in order--------------> consumer
//
// Memory is a few blocks, however long the log is.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// blockSize is how much of the log is read at once.
const blockSize = 4 << 20

// item is one record, taken apart.
type item struct {
	message.Record
	bad    error // its checksum is wrong
	tags   int64 // what its unit should say
	hashes []int32
}

// gap is a stretch of the log without a good record.
type gap struct {
	from, to int64
	why      string
	zeros    bool  // nothing was written there
	stored   int64 // store timestamp of the record before it
	blank    bool  // the end of a segment that was too short for the next record: no damage
}

// block is a piece of one segment with whole records.
type block struct {
	base   int64 // log offset of buf[0]
	buf    []byte
	starts []int32
	gaps   []gap // behind the records
	items  []item
	ready  chan struct{}
}

// scanner is one pass.
type scanner struct {
	d     *Dir
	work  chan *block
	order chan *block
	free  chan []byte
	part  span
	keys  bool // collect index hashes
	total int64
}

// span is a part of the log; a zero to means its end.
type span struct{ from, to int64 }

// scan calls each for every good record of a span and lost for every gap, in order; what was never written at the end is a
// gap of zeros.
func (d *Dir) scan(ctx context.Context, part span, keys bool, each func(*item) error, lost func(gap) error) error {
	workers := max(runtime.GOMAXPROCS(0), 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &scanner{d: d, keys: keys, part: part, work: make(chan *block, workers), order: make(chan *block, 2*workers), free: make(chan []byte, 4*workers)}
	for _, g := range d.segs {
		s.total += g.len
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for b := range s.work {
				s.takeApart(b)
				close(b.ready)
			}
		})
	}
	var readErr error
	wg.Go(func() {
		readErr = s.read(ctx)
		close(s.work)
		close(s.order)
	})
	err := s.consume(each, lost)
	cancel()
	for range s.order { // let the reader end
	}
	wg.Wait()
	return errors.Join(err, readErr)
}

func (s *scanner) consume(each func(*item) error, lost func(gap) error) error {
	for b := range s.order {
		<-b.ready
		for i := range b.items {
			it := &b.items[i]
			if s.part.to > 0 && b.base+int64(b.starts[i]) >= s.part.to {
				return nil
			}
			if it.bad != nil {
				at := it.PhysicalOffset
				if err := lost(gap{from: at, to: at + int64(it.Size), why: it.bad.Error()}); err != nil {
					return err
				}
				continue
			}
			if err := each(it); err != nil {
				return err
			}
		}
		for _, g := range b.gaps {
			if err := lost(g); err != nil {
				return err
			}
		}
		if s.d.o.Progress != nil {
			s.d.o.Progress(b.base+int64(len(b.buf))-s.d.segs[0].base, s.total)
		}
		select {
		case s.free <- b.buf[:cap(b.buf)]:
		default:
		}
	}
	return nil
}

// read cuts the log into blocks.
func (s *scanner) read(ctx context.Context) error {
	for i, g := range s.d.segs {
		if g.base+s.d.size <= s.part.from {
			continue
		}
		if s.part.to > 0 && g.base >= s.part.to {
			break
		}
		if i > 0 {
			if want := s.d.segs[i-1].base + s.d.size; g.base > want {
				if err := s.emit(ctx, &block{base: want, gaps: []gap{{from: want, to: g.base, why: "the file is missing", zeros: true}}}); err != nil {
					return err
				}
			}
		}
		if err := s.readSegment(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (s *scanner) readSegment(ctx context.Context, g seg) error {
	f, err := s.d.fs.OpenFile(g.path, os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	size := s.d.size
	for at := max(s.part.from-g.base, 0); at < size; {
		if s.part.to > 0 && g.base+at >= s.part.to {
			return nil
		}
		b, next, err := s.fill(f, g, at)
		if err != nil {
			return err
		}
		if next == at { // no good record here
			end, zeros, err := s.resync(f, g, at)
			if err != nil {
				return err
			}
			b.gaps = append(b.gaps, gap{from: g.base + at, to: g.base + end, why: s.why(f, g, at, zeros), zeros: zeros})
			next = end
		}
		if err := s.emit(ctx, b); err != nil {
			return err
		}
		at = next
	}
	return nil
}

func (s *scanner) emit(ctx context.Context, b *block) error {
	b.ready = make(chan struct{})
	select {
	case s.work <- b:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.order <- b // consume reads it to the end
	return nil
}

// fill reads a block at position at of a segment and finds the records in it. next is where the following block begins: at
// itself when there is no record at at.
func (s *scanner) fill(f vfs.File, g seg, at int64) (*block, int64, error) {
	b := &block{base: g.base + at}
	want := int64(blockSize)
	for {
		n := int(min(want, s.d.size-at))
		b.buf = s.buffer(n)
		got, err := readFull(f, b.buf, at)
		if err != nil {
			return nil, 0, fmt.Errorf("%s at %d: %w", s.d.rel(g.path), at, err)
		}
		size, blank, ok := header(b.buf, s.d.size-at)
		if ok && blank {
			b.buf = b.buf[:0]
			b.gaps = []gap{{from: b.base, to: g.base + s.d.size, blank: true}}
			return b, s.d.size, nil
		}
		if !ok || int64(size) <= int64(n) {
			return b, at + s.cut(b, s.d.size-at, got), nil
		}
		want = int64(size) // one record larger than a block
	}
}

func (s *scanner) buffer(n int) []byte {
	select {
	case b := <-s.free:
		if cap(b) >= n {
			return b[:n]
		}
	default:
	}
	return make([]byte, n, max(n, blockSize))
}

// header reads size and magic at the start of b; left is how much of the segment is left.
func header(b []byte, left int64) (size int32, blank, ok bool) {
	if len(b) < 8 {
		return 0, false, false
	}
	size = int32(binary.BigEndian.Uint32(b))
	switch binary.BigEndian.Uint32(b[4:]) {
	case message.MagicBlank:
		return size, true, int64(size) == left
	case message.MagicV1, message.MagicV2:
		return size, false, size >= message.MinRecord && int64(size) <= left
	}
	return 0, false, false
}

// cut notes where records begin and returns how far they reach; a blank reaches to the end of the segment.
func (s *scanner) cut(b *block, left int64, got int) int64 {
	var r message.Record
	p := int64(0)
	for p < int64(len(b.buf)) {
		size, blank, ok := header(b.buf[p:], left-p)
		if ok && blank {
			b.gaps = []gap{{from: b.base + p, to: b.base + left, blank: true}}
			b.buf = b.buf[:p:cap(b.buf)]
			return left
		}
		if !ok || p+int64(size) > int64(got) {
			break
		}
		if _, err := r.Parse(b.buf[p:], message.Options{}); err != nil || r.PhysicalOffset != b.base+p {
			break
		}
		b.starts = append(b.starts, int32(p))
		p += int64(size)
	}
	b.buf = b.buf[:p:cap(b.buf)]
	return p
}

// resync finds the next good record of the segment behind at, or its end. zeros: only zeros lie in between.
func (s *scanner) resync(f vfs.File, g seg, at int64) (end int64, zeros bool, err error) {
	zeros = true
	buf := make([]byte, 1<<20)
	for p := at; p < s.d.size; {
		n := int(min(int64(len(buf)), s.d.size-p))
		if _, err := readFull(f, buf[:n], p); err != nil {
			return 0, false, err
		}
		for k := 4; ; k++ {
			i := nextMagic(buf[min(k, n):n])
			if i < 0 {
				break
			}
			k += i
			cand := p + int64(k) - 4
			if cand <= at {
				continue
			}
			ok, err := s.recordAt(f, g, cand)
			if err != nil {
				return 0, false, err
			}
			if ok {
				return cand, zeros && allZero(buf[:cand-p]), nil
			}
		}
		if n < len(buf) {
			zeros = zeros && allZero(buf[:n])
			break
		}
		if allZero(buf[:n]) { // most likely the unwritten rest
			data, err := vfs.HasData(f, p, min(s.d.size, g.len))
			if err != nil {
				return 0, false, err
			}
			if !data {
				break
			}
		} else {
			zeros = false
		}
		p += int64(n) - 7
	}
	return s.d.size, zeros, nil
}

func (s *scanner) recordAt(f vfs.File, g seg, at int64) (bool, error) {
	var head [8]byte
	if _, err := readFull(f, head[:], at); err != nil {
		return false, err
	}
	size, blank, ok := header(head[:], s.d.size-at)
	if !ok || blank {
		return ok && blank, nil
	}
	b := make([]byte, size)
	if _, err := readFull(f, b, at); err != nil {
		return false, err
	}
	var r message.Record
	_, err := r.Parse(b, message.Options{CheckCRC: true})
	return err == nil && r.PhysicalOffset == g.base+at, nil
}

// nextMagic is where the next magic of a record or a blank begins, -1 for nowhere.
func nextMagic(b []byte) int {
	for at := 0; ; {
		i := bytes.Index(b[at:], recordMagic)
		end := len(b)
		if i >= 0 {
			end = at + i
		}
		if j := bytes.Index(b[at:end], blankMagic); j >= 0 {
			return at + j
		}
		if i < 0 {
			return -1
		}
		if at = end; at+4 <= len(b) && (b[at+3] == 0xA7 || b[at+3] == 0xAB) {
			return at
		}
		at++
	}
}

var (
	recordMagic = []byte{0xDA, 0xA3, 0x20}
	blankMagic  = []byte{0xCB, 0xD4, 0x31, 0x94}
)

// why names what is wrong at a place without a good record.
func (s *scanner) why(f vfs.File, g seg, at int64, zeros bool) string {
	if zeros {
		if at >= g.len {
			return "the file is cut short"
		}
		return "nothing is written here"
	}
	var head [36]byte
	if _, err := readFull(f, head[:], at); err != nil {
		return err.Error()
	}
	size, magic := int32(binary.BigEndian.Uint32(head[:])), binary.BigEndian.Uint32(head[4:])
	switch {
	case magic != message.MagicV1 && magic != message.MagicV2 && magic != message.MagicBlank:
		return fmt.Sprintf("unknown magic %#x", magic)
	case size < message.MinRecord && magic != message.MagicBlank || int64(size) > s.d.size-at:
		return fmt.Sprintf("size %d cannot be", size)
	case at+int64(size) > g.len:
		return "the file is cut short"
	case magic == message.MagicBlank:
		return fmt.Sprintf("a blank of %d bytes where %d are left", size, s.d.size-at)
	}
	if phys := int64(binary.BigEndian.Uint64(head[28:])); phys != g.base+at {
		return fmt.Sprintf("the record says it lies at %d", phys)
	}
	return "lengths do not add up"
}
