// Which messages were acknowledged: what Verify asks for afterwards.
package load

// Ledger is what a run has sent and what of it was acknowledged.
type Ledger struct {
	Run   uint32
	conns []*tally
}

// tally is one connection's part. Its numbers count from 0.
type tally struct {
	sent  int64
	acked bits
}

// Acked is how many messages were acknowledged.
func (l *Ledger) Acked() int64 {
	n := int64(0)
	for _, t := range l.conns {
		n += t.acked.count
	}
	return n
}

// Claim says that a message was acknowledged, or, with a number that was never sent, that one is missing: for tests of
// the checker itself.
func (l *Ledger) Claim(conn int, number int64) {
	t := l.conns[conn]
	t.sent = max(t.sent, number+1)
	t.acked.set(number)
}

// bits is a set of numbers that grows.
type bits struct {
	words []uint64
	count int64
}

// set reports whether n was new.
func (b *bits) set(n int64) bool {
	w := int(n >> 6)
	for w >= len(b.words) {
		b.words = append(b.words, 0)
	}
	m := uint64(1) << (n & 63)
	if b.words[w]&m != 0 {
		return false
	}
	b.words[w] |= m
	b.count++
	return true
}

func (b *bits) has(n int64) bool {
	w := int(n >> 6)
	return w < len(b.words) && b.words[w]&(1<<(n&63)) != 0
}
