// Appends that wait for a slave, released by offset.

package ha

import "slices"

// waiter is one append, or a round of them: done is called once, when a slave has everything before next or at deadline.
type waiter struct {
	next     int64
	since    int64 // by Master.mono
	deadline int64
	done     func(Status)
}

// waiters is a queue ascending by next. Appends come in the order of the log, so adding is adding at the end; one
// acknowledgement takes a piece off the front. Nothing is allocated once it has grown.
type waiters struct {
	list []waiter // list[head:] wait
	head int
}

func (w *waiters) len() int { return len(w.list) - w.head }

func (w *waiters) add(x waiter) {
	if w.head > 0 && len(w.list) == cap(w.list) {
		w.settle()
	}
	w.list = append(w.list, x)
	for i := len(w.list) - 1; i > w.head && w.list[i-1].next > w.list[i].next; i-- {
		w.list[i-1], w.list[i] = w.list[i], w.list[i-1]
	}
}

// settle moves what waits to the start of the memory.
func (w *waiters) settle() {
	n := copy(w.list, w.list[w.head:])
	clear(w.list[n:]) // let each done go
	w.list, w.head = w.list[:n], 0
}

// covered takes out all that an acknowledgement up to ack releases, and appends them to out.
func (w *waiters) covered(ack int64, out []waiter) []waiter {
	from := w.head
	for w.head < len(w.list) && w.list[w.head].next <= ack {
		w.head++
	}
	out = append(out, w.list[from:w.head]...)
	clear(w.list[from:w.head])
	if w.head == len(w.list) {
		w.list, w.head = w.list[:0], 0
	}
	return out
}

// late takes out all whose deadline has come, and appends them to out.
func (w *waiters) late(now int64, out []waiter) []waiter {
	w.settle()
	w.list = slices.DeleteFunc(w.list, func(x waiter) bool {
		if x.deadline > now {
			return false
		}
		out = append(out, x)
		return true
	})
	return out
}

// all takes out everything.
func (w *waiters) all() []waiter {
	out := w.list[w.head:]
	*w = waiters{}
	return out
}

func tell(ws []waiter, s Status) {
	for i := range ws {
		ws[i].done(s)
	}
}
