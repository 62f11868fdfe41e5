package torture

// Several producers at once, and readers who look while the log is on its way to the disk.

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"rmqctl/broker/store"
)

// answer is what a producer of a crowd was told.
type answer struct {
	w   *world
	x   *sent
	wg  *sync.WaitGroup
	res store.PutResult
	err error
	off bool // the power was off by then: nobody heard it
}

func (a *answer) Stored(res store.PutResult, err error) {
	a.res, a.err, a.off = res, err, a.w.p.isOff()
	a.wg.Done()
}

// crowd lets two to five producers put one to four messages each, at the same time.
func (w *world) crowd() error {
	var all []*answer
	var wg, done sync.WaitGroup
	for range 2 + w.rng.IntN(4) {
		g := w.s.NewStage()
		for range 1 + w.rng.IntN(4) {
			m, x := w.message(w.place())
			a := &answer{w: w, x: x, wg: &done}
			done.Add(1)
			if status, err := g.Add(m, a); status != store.PutOK {
				done.Done()
				a.res.Status, a.err = status, err
				a.off = w.p.isOff()
			}
			all = append(all, a)
		}
		wg.Go(g.Put)
	}
	wg.Wait()
	done.Wait()
	for _, a := range all {
		w.say("crowd %d to %s/%d: %s at %d, log %d to %d, %v", a.x.id, a.x.topic, a.x.queue, a.res.Status, a.res.QueueOffset,
			a.res.PhysicalOffset, a.res.NextOffset, a.err)
		if a.off {
			continue
		}
		if w.await && a.err == nil {
			a.err = w.toDisk(a.res.NextOffset)
			if w.p.isOff() {
				continue
			}
		}
		if a.err != nil || a.res.Status != store.PutOK {
			if w.p.isOff() { // one of the same round was cut off, and all of it is refused
				continue
			}
			return fmt.Errorf("crowd: %s, %w", a.res.Status, a.err)
		}
		if err := w.ack(a.x, a.res.QueueOffset, a.res.PhysicalOffset, a.res.NextOffset); err != nil {
			return err
		}
	}
	return nil
}

// peek reads the newest messages of a queue while the log has not been synced yet.
func (w *world) peek() {
	topic, queue := topics[w.cuts.acked%len(topics)], int32(w.cuts.acked%2)
	go func() {
		r, err := w.s.Get(topic, queue, max(w.s.MaxOffset(topic, queue)-3, 0), store.GetLimit{}, store.Match{})
		if err != nil {
			return
		}
		w.seenMu.Lock()
		defer w.seenMu.Unlock()
		if w.p.isOff() {
			return
		}
		for _, b := range r.Messages {
			w.seen = append(w.seen, append([]byte(nil), b...))
		}
	}()
	for range 4 {
		runtime.Gosched()
	}
}

// peeked notes what readers got meanwhile: it must survive as what was acknowledged does.
func (w *world) peeked() error {
	w.seenMu.Lock()
	defer w.seenMu.Unlock()
	seen := w.seen
	w.seen = nil
	for _, b := range seen {
		x, m, err := w.recognise(b)
		if errors.Is(err, errBack) { // read, and then its topic was deleted
			continue
		}
		if err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		if err := w.settle(x, &m, len(b)); err != nil {
			return fmt.Errorf("reader: %w", err)
		}
		x.reader = true
		w.cuts.read++
	}
	return nil
}
