package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// past is a store's life: what it held in the end, and every file as it was half way.
type past struct {
	m      *vfs.Mem
	half   map[string][]byte
	places map[string]span // log bytes of each message by its body
	bodies map[string]string
	ends   map[string]int64
	safe   int64 // a killed store vouches for what lies below; behind it the log may end at any damage
}

// livedThrough fills a store; killed leaves it as kill -9 does.
func livedThrough(t *testing.T, dir string, killed bool) *past {
	m := vfs.NewMem()
	p := &past{m: m, half: map[string][]byte{}, places: map[string]span{}, bodies: map[string]string{}, ends: map[string]int64{}}
	aStore(t, m, dir, 150)
	for _, f := range files(t, m, dir) {
		p.half[f] = read(t, m, f)
	}
	s, err := store.Open(m, small(dir))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	for i := 150; i < 300; i++ {
		put(t, s, i)
		if i == 250 {
			if err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	p.m = m.Clone()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !killed {
		p.m = m
	}
	w := m.Clone()
	p.bodies = messages(t, w, dir)
	d, err := Open(w, Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	err = d.scan(t.Context(), span{}, false, func(it *item) error {
		at := fmt.Sprint(string(it.Topic), "/", it.QueueID, "@", it.QueueOffset)
		p.places[at] = span{it.PhysicalOffset, it.PhysicalOffset + int64(it.Size)}
		p.ends[fmt.Sprint(string(it.Topic), "/", it.QueueID)] = it.QueueOffset + 1
		return nil
	}, func(gap) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	p.safe = 1 << 60
	if killed {
		ck, err := store.ReadCheckpoint(p.m, dir+"/checkpoint")
		if err != nil || !ck.Exact || ck.Safe == 0 {
			t.Fatal(ck, err)
		}
		p.safe = ck.Safe
	}
	return p
}

// TestABrokerServesWhatIsWholeAndNothingElse opens a store of which one file was damaged, as a broker does: it starts, gives
// every message whose bytes are whole, none that is not, tells of the damage, and numbers new messages behind the old ones.
func TestABrokerServesWhatIsWholeAndNothingElse(t *testing.T) {
	const dir = "/store"
	for _, killed := range []bool{false, true} {
		p := livedThrough(t, dir, killed)
		for _, kind := range []string{"commitlog", "consumequeue", "index", "checkpoint", "abort", "lock"} {
			for _, what := range []string{"bit", "cut", "zero", "gone", "old"} {
				t.Run(fmt.Sprint(kind, " ", what, " killed=", killed), func(t *testing.T) {
					for seed := range uint64(10) {
						p.survive(t, dir, kind, what, seed, killed)
					}
				})
			}
		}
	}
}

func (p *past) survive(t *testing.T, dir, kind, what string, seed uint64, killed bool) {
	m := p.m.Clone()
	rng := rand.New(rand.NewPCG(seed, 2))
	var of []string
	for _, f := range files(t, m, dir) {
		rel, _ := filepath.Rel(dir, f)
		if what == "gone" && f == dir+"/commitlog/00000000000000000000" || what == "old" && p.half[f] == nil {
			continue // as if retention had taken it; nothing older
		}
		if strings.HasPrefix(rel, kind) {
			of = append(of, f)
		}
	}
	if len(of) == 0 {
		return
	}
	sort.Strings(of)
	victim := of[rng.IntN(len(of))]
	before := read(t, m, victim)
	var after []byte
	switch {
	case what == "old":
		after = p.half[victim]
	case len(before) == 0 && what != "gone":
		return
	default:
		after = damages[what](bytes.Clone(before), rng)
	}
	if after == nil {
		if err := m.Remove(victim); err != nil {
			t.Fatal(err)
		}
	} else {
		write(t, m, victim, after)
	}
	var told []string
	fail := func(format string, a ...any) {
		t.Helper()
		at := 0
		for at < len(after) && at < len(before) && after[at] == before[at] {
			at++
		}
		t.Errorf("seed %d, %s %s (first difference at %d of %d): %s\n  told: %s", seed, what, victim, at, len(before), fmt.Sprintf(format, a...), strings.Join(told, "\n        "))
	}
	o := small(dir)
	o.Events.OnCorrupt = func(what string, off int64) { told = append(told, fmt.Sprint(off, ": ", what)) }
	s, err := store.Open(m, o)
	if err != nil {
		fail("open: %v", err)
		return
	}
	defer s.Close()
	if err := s.Start(); err != nil {
		fail("start: %v", err)
		return
	}
	match := store.Match{} // every other time by tags, though all are wanted: a damaged unit's say nothing
	if seed%2 == 1 && what == "zero" {
		tags := map[int64]bool{}
		for i := range 5 {
			tags[message.TagHash(fmt.Sprint("t", i))] = true
		}
		match.Unit = func(code int64) bool { return tags[code] }
	}
	served := readAll(s, match, fail)
	lost := 0
	ends := map[string]int64{}
	for at, place := range p.places {
		q, off, _ := strings.Cut(at, "@")
		if n, _ := strconv.ParseInt(off, 10, 64); kind != "commitlog" || place.to <= p.safe {
			ends[q] = max(ends[q], n+1)
		} else if _, ok := served[at]; !ok {
			continue
		}
		if match.Unit != nil && tagOnly(victim, before, after, q, off) {
			continue // a tag hash has no checksum, and the message is not looked at
		}
		whole := kind != "commitlog" || p.whole(victim, before, after, place)
		body, ok := served[at]
		switch {
		case whole && !ok:
			fail("%s, whole at %d, is not served", at, place.from)
			lost++
		case !whole && !ok:
			lost++
		case ok && body != p.bodies[at]:
			fail("%s is served as %q, was %q", at, body, p.bodies[at])
		}
		if lost > 3 {
			break
		}
	}
	for at := range served {
		if _, ok := p.bodies[at]; !ok {
			fail("%s never was", at)
		}
	}
	all := strings.Join(told, " ")
	if lost > 0 && !strings.Contains(all, filepath.Base(victim)) {
		fail("%d messages are missing and nobody was told of this file", lost)
	}
	if kind == "index" && (what == "gone" || what == "old") && !bytes.Equal(before, after) && !killed && !strings.Contains(all, filepath.Base(victim)) {
		fail("the index lacks messages and nobody was told")
	}
	n := len(told)
	readAll(s, store.Match{}, fail)
	if len(told) != n {
		fail("told again: %v", told[n:])
	}
	for q, end := range ends {
		topic, id := q[:1], int32(q[2]-'0')
		r, err := s.Append(&message.Message{Topic: topic, QueueID: id, Body: []byte("new")})
		if err != nil || r.QueueOffset < end {
			fail("a new message of %s gets offset %d, the old ones went to %d (%v)", q, r.QueueOffset, end-1, err)
		}
	}
}

// tagOnly tells whether the damage has changed the tag hash of a unit and left the rest of it.
func tagOnly(victim string, before, after []byte, q, off string) bool {
	base, n := int64(0), int64(0)
	fmt.Sscanf(filepath.Base(victim), "%d", &base)
	fmt.Sscan(off, &n)
	at := n*20 - base
	if !strings.Contains(victim, "consumequeue/"+q+"/") || at < 0 || at+20 > int64(min(len(after), len(before))) {
		return false
	}
	return bytes.Equal(before[at:at+12], after[at:at+12]) && !bytes.Equal(before[at:at+20], after[at:at+20])
}

// whole tells whether the bytes of a message are as they were.
func (p *past) whole(victim string, before, after []byte, place span) bool {
	base := int64(0)
	fmt.Sscanf(filepath.Base(victim), "%d", &base)
	from, to := place.from-base, place.to-base
	if from < 0 || from >= int64(len(before)) {
		return true
	}
	return to <= int64(len(after)) && bytes.Equal(before[from:to], after[from:to])
}

// readAll pulls every queue from its first to its last offset and insists that each pull gets on.
func readAll(s *store.Store, match store.Match, fail func(string, ...any)) map[string]string {
	out := map[string]string{}
	for _, topic := range s.Topics() {
		for _, q := range s.Queues(topic) {
			for off := s.MinOffset(topic, q); off < s.MaxOffset(topic, q); {
				r, err := s.Get(topic, q, off, store.GetLimit{}, match)
				if err != nil {
					fail("%s/%d at %d: %v", topic, q, off, err)
					return out
				}
				for _, b := range r.Messages {
					m, _, err := message.Decode(b, message.Options{CheckCRC: true})
					if err != nil {
						fail("%s/%d at %d serves damaged bytes: %v", topic, q, off, err)
						continue
					}
					if m.Topic != topic || m.QueueID != q || m.QueueOffset < off || int64(binary.BigEndian.Uint64(b[28:])) != m.PhysicalOffset {
						fail("%s/%d at %d serves %s/%d at %d", topic, q, off, m.Topic, m.QueueID, m.QueueOffset)
					}
					out[fmt.Sprint(topic, "/", q, "@", m.QueueOffset)] = string(m.Body)
				}
				if r.Next <= off {
					fail("%s/%d does not get on at %d: %s", topic, q, off, r.Status)
					return out
				}
				off = r.Next
				r.Release()
			}
		}
	}
	return out
}
