package checker

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
)

var q0 = Queue{Topic: "T", ID: 0}

// history is a small world: one replica "a" that the tests read as they like.
type history struct{ *Recorder }

// put sends one message and has it acknowledged at off of q0.
func (h history) put(client string, off int64) ID {
	id := h.Sending(client, "T")
	h.Body(id, 40)
	h.Acked(id, q0, off)
	return id
}

// read is a complete reading of a replica whose q0 holds these from offset 0 on.
func (h history) read(replica string, ids ...ID) {
	d := h.Drain(replica)
	d.Queue(q0, 0, int64(len(ids)))
	for i, id := range ids {
		d.Seen(q0, int64(i), h.Body(id, 40), true)
	}
	d.End()
}

func (h history) see(replica string, off int64, id ID) {
	h.Seen(replica, q0, off, h.Body(id, 40), true)
}

func TestEveryBrokenPromiseIsNamed(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules Rules
		want  Kind
		do    func(h history)
	}{
		{"an acknowledged message that no replica holds", Rules{}, Lost, func(h history) {
			a, _ := h.put("p", 0), h.put("p", 1)
			h.read("a", a)
		}},
		{"an acknowledged message on one replica only", Rules{Replicas: []string{"a", "b"}}, Lost, func(h history) {
			a, b := h.put("p", 0), h.put("p", 1)
			h.read("a", a, b)
			h.read("b", a)
		}},
		{"a replica that must hold everything and was never read", Rules{Replicas: []string{"a", "b"}}, Lost, func(h history) {
			h.read("a", h.put("p", 0))
		}},
		{"a message lost behind one that stayed, although a tail may be lost", Rules{LostTail: true}, Lost, func(h history) {
			a, _, b := h.put("p", 0), h.put("p", 1), h.put("p", 2)
			d := h.Drain("a")
			d.Seen(q0, 0, h.Body(a, 40), true)
			d.Seen(q0, 2, h.Body(b, 40), true)
			d.End()
		}},
		{"a tail lost from before the barrier", Rules{LostTail: true}, Lost, func(h history) {
			a, _ := h.put("p", 0), h.put("p", 1)
			h.Barrier()
			h.read("a", a)
		}},
		{"an acknowledged message that was only read ahead", Rules{ReadAhead: true}, Lost, func(h history) {
			a, b := h.put("p", 0), h.put("p", 1)
			h.see("a", 1, b)
			h.read("a", a)
		}},
		{"a body that names nobody", Rules{}, Phantom, func(h history) {
			h.read("a", h.put("p", 0))
			h.Seen("a", q0, 1, []byte("hello"), true)
		}},
		{"a name that was never given", Rules{}, Phantom, func(h history) {
			h.read("a", h.put("p", 0))
			h.Seen("a", q0, 1, []byte("p-17"), true)
		}},
		{"a message that was refused", Rules{}, Phantom, func(h history) {
			a, b := h.put("p", 0), h.Sending("p", "T")
			h.Body(b, 40)
			h.Failed(b)
			h.read("a", a, b)
		}},
		{"a changed byte behind a right checksum", Rules{}, Corrupt, func(h history) {
			a := h.put("p", 0)
			h.read("a", a)
			body := h.Body(a, 40)
			body[39] ^= 1
			h.Seen("a", q0, 0, body, true)
		}},
		{"a body cut short", Rules{}, Corrupt, func(h history) {
			a := h.put("p", 0)
			h.read("a", a)
			h.Seen("a", q0, 0, h.Body(a, 40)[:30], true)
		}},
		{"a wrong checksum", Rules{}, Corrupt, func(h history) {
			a := h.put("p", 0)
			h.read("a", a)
			h.Seen("a", q0, 0, h.Body(a, 40), false)
		}},
		{"one send at two places", Rules{}, Duplicated, func(h history) {
			a := h.put("p", 0)
			h.read("a", a, a)
		}},
		{"two sends at three places", Rules{}, Duplicated, func(h history) {
			a := h.Sending("p", "T")
			h.Body(a, 40)
			h.Unknown(a)
			h.Again(a)
			h.Acked(a, q0, 1)
			h.read("a", a, a, a)
		}},
		{"two replicas with different messages at one place", Rules{}, Divergent, func(h history) {
			a, b := h.Sending("p", "T"), h.Sending("p", "T")
			h.Body(a, 40)
			h.Body(b, 40)
			h.Unknown(a)
			h.Unknown(b)
			c := h.put("p", 1)
			h.read("a", a, c)
			h.read("b", b, c)
		}},
		{"a message elsewhere than acknowledged", Rules{}, Divergent, func(h history) {
			a, b := h.put("p", 1), h.put("r", 0)
			h.read("a", a, b)
		}},
		{"a message in another topic", Rules{}, Divergent, func(h history) {
			a := h.put("p", 0)
			h.read("a", a)
			h.Seen("a", Queue{Topic: "U"}, 0, h.Body(a, 40), true)
		}},
		{"a later send before an earlier one", Rules{}, Reordered, func(h history) {
			a, b := h.put("p", 1), h.put("p", 0)
			h.read("a", b, a)
		}},
		{"a hole in the middle", Rules{}, Gap, func(h history) {
			a, b := h.put("p", 0), h.put("p", 2)
			d := h.Drain("a")
			d.Seen(q0, 0, h.Body(a, 40), true)
			d.Seen(q0, 2, h.Body(b, 40), true)
			d.End()
		}},
		{"an end that cannot be read", Rules{}, Gap, func(h history) {
			a := h.put("p", 0)
			d := h.Drain("a")
			d.Queue(q0, 0, 2)
			d.Seen(q0, 0, h.Body(a, 40), true)
			d.End()
		}},
		{"a start that cannot be read", Rules{}, Gap, func(h history) {
			a := h.put("p", 1)
			d := h.Drain("a")
			d.Queue(q0, 0, 2)
			d.Seen(q0, 1, h.Body(a, 40), true)
			d.End()
		}},
		{"a message that comes back", Rules{}, Resurrected, func(h history) {
			a, b := h.put("p", 0), h.put("p", 1)
			h.read("a", a, b)
			h.read("a", a)
			h.read("a", a, b)
		}},
		{"a committed offset that goes back", Rules{}, OffsetsBack, func(h history) {
			h.read("a", h.put("p", 0))
			h.Committed("g", q0, 1)
			h.Committed("g", q0, 0)
		}},
		{"a message that was served and is gone", Rules{}, NotDurable, func(h history) {
			a, b := h.put("p", 0), h.Sending("p", "T")
			h.see("a", 0, a)
			h.see("a", 1, b)
			h.Unknown(b)
			h.read("a", a)
		}},
		{"a message that was served and is another one now", Rules{}, NotDurable, func(h history) {
			a, b := h.Sending("p", "T"), h.Sending("p", "T")
			h.see("a", 0, a)
			h.Unknown(a)
			h.Body(b, 40)
			h.Acked(b, q0, 0)
			h.read("a", b)
		}},
		{"an offset committed beyond the end", Rules{}, NotDurable, func(h history) {
			h.Committed("g", q0, 2)
			h.read("a", h.put("p", 0))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := history{New()}
			c.do(h)
			r := h.Check(c.rules)
			if r.Count(c.want) == 0 || r.Err() == nil {
				t.Fatalf("want %v in\n%v", c.want, r)
			}
			if text := r.Err().Error(); !strings.Contains(text, c.want.String()+": ") {
				t.Fatalf("the report does not say %q:\n%s", c.want, text)
			}
		})
	}
}

func TestKeptPromises(t *testing.T) {
	for _, c := range []struct {
		name  string
		rules Rules
		do    func(h history)
	}{
		{"everything read once, by a live reader before", Rules{Replicas: []string{"a"}}, func(h history) {
			a, b := h.put("p", 0), h.put("r", 1)
			h.see("a", 0, a)
			h.see("a", 0, a)
			h.read("a", a, b)
			h.Committed("g", q0, 1)
			h.Committed("g", q0, 2)
			h.read("a", a, b)
		}},
		{"an unknown send may be there or not", Rules{}, func(h history) {
			a := h.put("p", 0)
			for range 2 {
				b := h.Sending("p", "T")
				h.Body(b, 40)
				h.Unknown(b)
			}
			h.read("a", a, a+1)
		}},
		{"the producer's own retry of an unknown send", Rules{}, func(h history) {
			a := h.Sending("p", "T")
			h.Body(a, 40)
			h.Unknown(a)
			h.Again(a)
			h.Acked(a, q0, 1)
			h.read("a", a, a)
		}},
		{"a refused send repeated with success", Rules{}, func(h history) {
			a := h.Sending("p", "T")
			h.Body(a, 40)
			h.Failed(a)
			h.Again(a)
			h.Acked(a, q0, 0)
			h.read("a", a)
		}},
		{"two sends at once may be stored either way round", Rules{}, func(h history) {
			a, b := h.Sending("p", "T"), h.Sending("p", "T")
			h.Body(a, 40)
			h.Body(b, 40)
			h.Acked(a, q0, 1)
			h.Acked(b, q0, 0)
			h.read("a", b, a)
		}},
		{"a tail lost in a power cut, its places taken again", Rules{LostTail: true, OffsetsMayGoBack: true}, func(h history) {
			a, b := h.put("p", 0), h.put("p", 1)
			h.see("a", 1, b)
			h.Committed("g", q0, 2)
			h.Cut()
			h.read("a", a)
			c := h.put("p", 1)
			h.Committed("g", q0, 1)
			h.read("a", a, c)
		}},
		{"what was read ahead and never acknowledged is gone, its place taken", Rules{ReadAhead: true}, func(h history) {
			a, b := h.put("p", 0), h.Sending("q", "T")
			h.Unknown(b)
			h.see("a", 1, b)
			h.Committed("g", q0, 2)
			h.read("a", a)
			h.read("a", a, h.put("p", 1))
		}},
		{"what retention deleted is not lost", Rules{}, func(h history) {
			_, b := h.put("p", 0), h.put("p", 1)
			d := h.Drain("a")
			d.Queue(q0, 1, 2)
			d.Seen(q0, 1, h.Body(b, 40), true)
			d.End()
		}},
		{"a lagging replica that need not hold everything", Rules{Replicas: []string{"a"}}, func(h history) {
			a, b := h.put("p", 0), h.put("p", 1)
			h.read("a", a, b)
			h.read("b", a)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := history{New()}
			c.do(h)
			if r := h.Check(c.rules); r.Err() != nil {
				t.Fatal(r.Err())
			}
		})
	}
}

func TestExcusedMessagesAreCounted(t *testing.T) {
	h := history{New()}
	_, b, _ := h.put("p", 0), h.put("p", 1), h.put("p", 2)
	d := h.Drain("a")
	d.Queue(q0, 1, 2)
	d.Seen(q0, 1, h.Body(b, 40), true)
	d.End()
	r := h.Check(Rules{LostTail: true})
	if r.Acked != 3 || r.Expired != 1 || r.Tail != 1 || r.Err() != nil {
		t.Fatalf("%+v", r)
	}
}

func TestAnEmptyHistoryProvesNothing(t *testing.T) {
	h := history{New()}
	if err := h.Check(Rules{}).Err(); !errors.Is(err, ErrNothingChecked) {
		t.Fatal(err)
	}
	h.put("p", 0)
	if err := h.Check(Rules{}).Err(); err == nil {
		t.Fatal("nothing was read, and all is well")
	}
}

func TestBodiesNameTheirMessageWhateverTheirSize(t *testing.T) {
	r := New()
	for _, client := range []string{"p", "p-1", "producer-x-7"} {
		for size := range 300 {
			id := r.Sending(client, "T")
			b := r.Body(id, size)
			if len(b) != max(size, len(r.Name(id))) {
				t.Fatalf("%s: %d bytes for %d", r.Name(id), len(b), size)
			}
			r.Seen("a", q0, int64(id), b, true)
		}
	}
	if rep := r.Check(Rules{}); rep.Count(Corrupt)+rep.Count(Phantom) != 0 {
		t.Fatal(rep)
	}
}

func TestOnlyTheFirstExamplesAreKept(t *testing.T) {
	h := history{New()}
	for i := range 1000 {
		h.put("p", int64(i))
	}
	r := h.Check(Rules{})
	if r.Count(Lost) != 1000 || len(r.Found[Lost].Examples) != maxExamples {
		t.Fatalf("%d lost, %d examples", r.Count(Lost), len(r.Found[Lost].Examples))
	}
}

func TestMemoryIsAFixedAmountPerMessage(t *testing.T) {
	const n = 200_000
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	h := history{New()}
	d := h.Drain("a")
	for i := range int64(n) {
		id := h.Sending("p", "T")
		body := h.Body(id, 1024)
		h.Acked(id, q0, i)
		d.Seen(q0, i, body, true)
	}
	d.End()
	runtime.GC()
	runtime.ReadMemStats(&after)
	per := int64(after.HeapAlloc-before.HeapAlloc) / n
	if per > 128 { // 56, and what growing slices keep in reserve
		t.Fatalf("%d bytes per message", per)
	}
	if r := h.Check(Rules{}); r.Err() != nil {
		t.Fatal(r.Err())
	}
}

func TestManyGoroutinesAtOnce(t *testing.T) {
	r := New()
	var mu sync.Mutex
	var log []ID
	var wg sync.WaitGroup
	for c := range 8 {
		wg.Go(func() {
			for range 500 {
				id := r.Sending(fmt.Sprint("p", c), "T")
				body := r.Body(id, 64)
				mu.Lock()
				off := int64(len(log))
				log = append(log, id)
				r.Acked(id, q0, off)
				mu.Unlock()
				r.Seen("a", q0, off, body, true)
			}
		})
	}
	wg.Wait()
	d := r.Drain("a")
	d.Queue(q0, 0, int64(len(log)))
	for off, id := range log {
		d.Seen(q0, int64(off), r.Body(id, 64), true)
	}
	d.End()
	rep := r.Check(Rules{Replicas: []string{"a"}})
	if rep.Err() != nil || rep.Acked != 4000 || rep.Reads != 8000 {
		t.Fatal(rep)
	}
}
