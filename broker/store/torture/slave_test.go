package torture

// A slave's log: a master's bytes in pieces of any length, cut back where the slave was ahead and gone on with another
// master's, with cuts and kills at any operation.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// masters are two logs that agree up to a point, and where their records start.
func masters(t *testing.T) (logs [2][]byte, starts [2][]int64, fork int64) {
	for i := range logs {
		w := quiet(t, false)
		w.put(t, 25)
		fork = w.s.MaxPhysical()
		w.rng = rand.New(rand.NewPCG(uint64(i), 8))
		w.put(t, 25)
		logs[i] = make([]byte, w.s.MaxPhysical())
		for at := int64(0); at < int64(len(logs[i])); {
			n, err := w.s.ReadLog(at, logs[i][at:])
			if err != nil {
				t.Fatal(err)
			}
			at += int64(n)
		}
		for _, x := range w.all {
			starts[i] = append(starts[i], x.phys)
		}
		w.end()
	}
	if !bytes.Equal(logs[0][:fork], logs[1][:fork]) || bytes.Equal(logs[0], logs[1]) {
		t.Fatal("the masters should agree up to the fork and then differ")
	}
	return logs, starts, fork
}

// slave is a world whose store follows a master.
type slave struct {
	*world
	logs    [2][]byte
	starts  [2][]int64
	fork    int64
	master  int
	log     []byte // what the slave was given, after all that was cut off for sure
	durable int64
}

func TestASlavesLogIsItsMasters(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			logs, starts, fork := masters(t)
			w := newWorld(seed, nil)
			w.o.SegmentSize, w.o.QueueSegmentSize, w.o.Tunables.FileReserved = 4096, 400, time.Hour
			s := &slave{world: w, logs: logs, starts: starts, fork: fork}
			for life := range 4 {
				if err := s.life(); err != nil {
					w.end()
					t.Fatalf("seed %d, life %d: %v", seed, life, err)
				}
			}
		})
	}
}

func (s *slave) life() error {
	w := s.world
	if err := w.open(); err != nil {
		return err
	}
	if err := s.compare(); err != nil {
		return err
	}
	w.arm(1 + w.rng.IntN(150))
	for range 40 {
		if err := s.step(); err != nil && !w.p.isOff() {
			return err
		}
		if w.p.isOff() {
			break
		}
	}
	w.end()
	w.fall()
	return nil
}

func (s *slave) step() error {
	w, end := s.world, s.s.MaxPhysical()
	switch n := w.rng.IntN(20); {
	case n == 0:
		return w.s.Checkpoint()
	case n == 1:
		time.Sleep(time.Duration(w.rng.IntN(9)) * time.Second)
		return nil
	case n == 2:
		if err := w.s.Flush(); err != nil {
			return err
		}
		s.durable = end
		return nil
	case n == 3 && end > s.fork: // it was ahead: on with the other master
		s.durable = min(s.durable, s.fork)
		if err := w.s.TruncateTo(s.fork); err != nil {
			return fmt.Errorf("truncate: %w", err)
		}
		if !w.p.isOff() {
			s.log, s.master = s.log[:s.fork:s.fork], 1-s.master
		}
		return nil
	}
	b := s.logs[s.master][min(end, int64(len(s.logs[s.master]))):]
	b = b[:min(len(b), 1+w.rng.IntN(900))]
	if len(b) == 0 {
		return nil
	}
	s.log = append(s.log[:end:end], b...)
	return w.s.AppendRaw(end, b)
}

// compare: after a start the log is what the slave was given, up to the end of a record, and no flushed record is missing.
func (s *slave) compare() error {
	w, end := s.world, s.s.MaxPhysical()
	if err := w.idempotent(); err != nil {
		return err
	}
	if wrong := w.s.Check(); len(wrong) > 0 {
		return fmt.Errorf("check: %v", wrong)
	}
	if n := int64(len(s.log)); end > n && end%w.o.SegmentSize == 0 && end-n < w.o.SegmentSize {
		s.log = append(s.log, s.logs[s.master][n:end]...) // it had the beginning of a blank, and nothing is in the rest
	}
	if end > int64(len(s.log)) {
		return fmt.Errorf("the log ends at %d, was given up to %d", end, len(s.log))
	}
	got := make([]byte, end)
	for at := w.s.MinPhysical(); at < end; {
		n, err := w.s.ReadLog(at, got[at:])
		if err != nil || n == 0 {
			return fmt.Errorf("read at %d: %d bytes, %w", at, n, err)
		}
		at += int64(n)
	}
	for i := w.s.MinPhysical(); i < end; i++ {
		if got[i] != s.log[i] {
			return fmt.Errorf("byte %d of the log is not the master's (it ends at %d, flushed %d)", i, end, s.durable)
		}
	}
	kept := int64(0) // the last record that was flushed whole ends here at least
	for _, at := range s.starts[s.master] {
		if at <= s.durable {
			kept = at
		}
	}
	if end < kept {
		return fmt.Errorf("the log ends at %d, flushed up to %d", end, s.durable)
	}
	s.durable = end
	return nil
}
