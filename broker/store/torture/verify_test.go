package torture

// What must hold after a restart.

import (
	"fmt"
	"path/filepath"
	"sort"
	"strings"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// place is where a message was found.
type found struct {
	x  *sent
	at int64
}

// verify holds a store that was just opened against the memory of the world.
func (w *world) verify() error {
	if err := w.idempotent(); err != nil {
		return err
	}
	return w.content()
}

// content is verify for a store at work.
func (w *world) content() error {
	if wrong := w.s.Check(); len(wrong) > 0 {
		return fmt.Errorf("check:\n%s", strings.Join(wrong, "\n"))
	}
	there, err := w.drain()
	if err != nil {
		return err
	}
	if err := w.account(there); err != nil {
		return err
	}
	for _, x := range w.all {
		if w.rng.IntN(4) == 0 {
			if err := w.find(x); err != nil {
				return err
			}
		}
	}
	w.say("verified: log %d to %d", w.s.MinPhysical(), w.s.MaxPhysical())
	return nil
}

// idempotent: a second recovery changes no byte.
func (w *world) idempotent() error {
	first := image(w.disk, dir)
	again := w.disk.Clone()
	o := w.o
	o.Events = store.Events{OnCorrupt: func(what string, off int64) { w.say("second recovery, corrupt at %d: %s", off, what) }}
	s, err := store.Open(again, o)
	if err != nil {
		return fmt.Errorf("second recovery: %w", err)
	}
	defer s.Close()
	if d := diff(first, image(again, dir)); len(d) > 0 {
		return fmt.Errorf("a second recovery changes:\n%s", strings.Join(d, "\n"))
	}
	return nil
}

// image is the content of every file under dir.
func image(fsys vfs.FS, dir string) map[string]string {
	out := map[string]string{}
	entries, _ := fsys.ReadDir(dir)
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		if e.IsDir() {
			for k, v := range image(fsys, name) {
				out[k] = v
			}
			continue
		}
		b, err := vfs.ReadFile(fsys, name)
		out[name] = fmt.Sprintf("%s%v", b, err)
	}
	return out
}

func diff(a, b map[string]string) []string {
	var out []string
	for k := range a {
		if _, ok := b[k]; !ok {
			out = append(out, "gone: "+k)
		} else if a[k] != b[k] {
			i := 0
			for i < len(a[k]) && i < len(b[k]) && a[k][i] == b[k][i] {
				i++
			}
			out = append(out, fmt.Sprintf("differs: %s at byte %d (lengths %d, %d)", k, i, len(a[k]), len(b[k])))
		}
	}
	for k := range b {
		if _, ok := a[k]; !ok {
			out = append(out, "new: "+k)
		}
	}
	sort.Strings(out)
	return out
}

// drain reads every queue from its first to its last offset: no hole, no damage, nothing twice.
func (w *world) drain() (map[int]found, error) {
	there := map[int]found{}
	for _, topic := range w.s.Topics() {
		for _, queue := range w.s.Queues(topic) {
			next, end := w.s.MinOffset(topic, queue), w.s.MaxOffset(topic, queue)
			for next < end {
				r, err := w.s.Get(topic, queue, next, store.GetLimit{}, store.Match{})
				if to := w.past(topic, queue, next, end); len(r.Messages) == 0 && to == end {
					break
				}
				if err != nil || len(r.Messages) == 0 {
					return nil, fmt.Errorf("drain %s/%d: nothing at %d although the queue ends at %d: %s, %w", topic, queue, next, end, r.Status, err)
				}
				for _, b := range r.Messages {
					x, m, err := w.recognise(b)
					if err != nil {
						return nil, fmt.Errorf("drain %s/%d: %w", topic, queue, err)
					}
					next = w.past(topic, queue, next, m.QueueOffset)
					if m.Topic != topic || m.QueueID != queue || m.QueueOffset != next {
						return nil, fmt.Errorf("drain %s/%d: at %d lies message %d of %s/%d at %d", topic, queue, next, x.id, m.Topic, m.QueueID, m.QueueOffset)
					}
					if was, ok := there[x.id]; ok {
						return nil, fmt.Errorf("drain %s/%d: message %d lies at %d and at %d", topic, queue, x.id, was.at, next)
					}
					there[x.id] = found{x, next}
					if err := w.settle(x, &m, len(b)); err != nil {
						return nil, err
					}
					next++
				}
				r.Release()
			}
		}
	}
	return there, nil
}

// past goes over offsets whose messages retention has taken.
func (w *world) past(topic string, queue int32, next, to int64) int64 {
	for next < to {
		ok := false
		for _, x := range w.all {
			ok = ok || x.known && x.topic == topic && x.queue == queue && x.at == next && x.phys < w.firstSeg
		}
		if !ok {
			return next
		}
		next++
	}
	return next
}

// settle compares a message with what its producer was told, or learns it.
func (w *world) settle(x *sent, m *message.Message, size int) error {
	if !x.known {
		x.known, x.at, x.phys, x.next = true, m.QueueOffset, m.PhysicalOffset, m.PhysicalOffset+int64(size)
		return nil
	}
	if x.at != m.QueueOffset || x.phys != m.PhysicalOffset {
		return fmt.Errorf("message %d was put at %d (log %d) and lies at %d (log %d)", x.id, x.at, x.phys, m.QueueOffset, m.PhysicalOffset)
	}
	return nil
}

// account looks for every message that is not there: was it allowed to go?
func (w *world) account(there map[int]found) error {
	end := w.s.MaxPhysical()
	for _, x := range w.all {
		if _, ok := there[x.id]; ok || x.gone {
			continue
		}
		switch {
		case !x.known, x.topic == w.deleting, x.phys < w.firstSeg:
		case w.powerCut && !w.sync && x.next > w.flushed && x.phys >= end:
			w.cuts.lost++
		case x.next <= end:
			return fmt.Errorf("message %d of %s/%d at %d is missing within the log: %d to %d, the log ends at %d (flushed %d)",
				x.id, x.topic, x.queue, x.at, x.phys, x.next, end, w.flushed)
		default:
			return fmt.Errorf("message %d of %s/%d at %d is lost: %d to %d, the log ends at %d (flushed %d, power cut %v, sync %v)",
				x.id, x.topic, x.queue, x.at, x.phys, x.next, end, w.flushed, w.powerCut, w.sync)
		}
		x.gone = true
	}
	return nil
}
