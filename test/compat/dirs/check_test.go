// What is asked of a broker that has opened a directory.

package dirs

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"rmqctl/internal/message"
)

// checkOffsets: groups are where they were.
func (l *ledger) checkOffsets(w *wire) {
	l.t.Helper()
	for g, committed := range l.offsets {
		for s, want := range committed {
			if got, ok, err := w.offset(g, s); err != nil || !ok || got != want {
				l.t.Errorf("group %s is at %d of %v, committed was %d (%v, %v)", g, got, s, want, ok, err)
			}
		}
	}
}

// commitSome moves the groups to the middle of what they have not read.
func (l *ledger) commitSome(w *wire, logMin int64) {
	l.t.Helper()
	for g, topics := range map[string][]string{group: {plain, odd}, resumer: {plain}} {
		if l.offsets[g] == nil {
			l.offsets[g] = map[spot]int64{}
			if _, _, _, err := w.pull(g, spot{topics[0], 0}, 0, "*"); err != nil { // makes the group
				l.t.Fatalf("group %s: %v", g, err)
			}
		}
		for _, s := range l.spots {
			if !slices.Contains(topics, s.topic) {
				continue
			}
			first, _ := l.kept(s, logMin)
			at := max(first, l.offsets[g][s])
			at += (l.shelves[s].next() - at) / 2
			if err := w.commit(g, s, at); err != nil {
				l.t.Fatalf("commit: %v", err)
			}
			l.offsets[g][s] = at
		}
	}
}

// checkTags: a consumer of one tag gets its messages and no others.
func (l *ledger) checkTags(w *wire, logMin int64) {
	l.t.Helper()
	s := spot{plain, 1}
	first, records := l.kept(s, logMin)
	for _, tag := range []string{tags[0], tags[3]} {
		var want [][]byte
		for _, b := range records {
			if got, _ := message.Property(parse(b).Properties, message.PropTags); got == tag {
				want = append(want, b)
			}
		}
		got, err := w.read(s, first, first+int64(len(records)), tag)
		if err != nil {
			l.t.Errorf("%v tag %s: %v", s, tag, err)
			continue
		}
		if !slices.EqualFunc(got, want, bytes.Equal) || len(want) == 0 {
			l.t.Errorf("%v tag %s: %d messages, expected %d", s, tag, len(got), len(want))
		}
	}
}

// checkLookups asks for messages by key, by the sender's id and by their place.
func (l *ledger) checkLookups(w *wire, logMin int64) {
	l.t.Helper()
	var wrong []string
	asked := 0
	for _, s := range l.spots {
		if s.topic == message.ScheduleTopic {
			continue
		}
		_, records := l.kept(s, logMin)
		for i := 0; i < len(records); i += max(len(records)/20, 1) {
			asked++
			if why := l.lookup(w, s, records[i]); why != "" {
				wrong = append(wrong, fmt.Sprintf("%v of %d: %s", s, parse(records[i]).QueueOffset, why))
			}
		}
	}
	if len(wrong) > 0 {
		l.t.Errorf("%d of %d messages are not found:\n%s", len(wrong), asked, strings.Join(wrong[:min(len(wrong), 10)], "\n"))
	}
}

func (l *ledger) lookup(w *wire, s spot, b []byte) string {
	r := parse(b)
	id, _ := message.Property(r.Properties, message.PropUniqKey)
	keys, _ := message.Property(r.Properties, message.PropKeys)
	if got, err := w.view(s.topic, r.PhysicalOffset); err != nil || !bytes.Equal(got, b) {
		return fmt.Sprintf("by its place: %d bytes, %v", len(got), err)
	}
	if r.PhysicalOffset < l.indexed {
		return ""
	}
	if found, err := w.query(s.topic, id, true); err != nil || !holds(found, b) {
		return fmt.Sprintf("by its id %s: %d others, %v", id, len(found), err)
	}
	for _, key := range message.Keys(keys) {
		if strings.HasPrefix(key, "all") || strings.HasPrefix(key, "size") || key == "packed" || key == "schlüssel" || key == "🔑" || strings.HasPrefix(key, "xxx") {
			continue // more than an answer holds
		}
		if found, err := w.query(s.topic, key, false); err != nil || !holds(found, b) {
			return fmt.Sprintf("by its key %s: %d others, %v", key, len(found), err)
		}
	}
	return ""
}

func holds(all [][]byte, b []byte) bool {
	return slices.ContainsFunc(all, func(x []byte) bool { return bytes.Equal(x, b) })
}
