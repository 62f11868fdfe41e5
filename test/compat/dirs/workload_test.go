// The workload: a bit of everything that a store's formats know.

package dirs

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

// Topics of the workload. Each broker of a chain is given messages for all of them.
const (
	plain   = "Plain"   // ordinary messages, singly and in batches
	odd     = "Odd"     // extremes
	gone    = "Gone"    // old messages, then none for a while
	delayed = "Delayed" // delayed messages, by way of the schedule topic
	resumer = "resumer" // a group that reads Plain with Java's consumer
	group   = "worker"  // the group that consumes Plain and sends some back
)

// messageDelayLevel of all brokers here: at once, after the next switch, and not while the test runs.
const delayLevels = "1s 4s 25s 2h"

var levels = []time.Duration{time.Second, 4 * time.Second, 25 * time.Second, 2 * time.Hour}

// Sizes: several segments and files of each kind fill within one round.
const (
	segmentSize = 512 << 10
	maxBody     = 400_000
	unitsAFile  = 100
	roundSize   = 1000
)

var tags = []string{"TagA", "TagB", "", "täg-Ω-🚀"}

// spots are all queues. Those that delayed messages wait in are read first: what was delivered was seen waiting.
func spots() []spot {
	var all []spot
	for q := range int32(4) {
		all = append(all, spot{message.ScheduleTopic, q})
	}
	for q := range int32(4) {
		all = append(all, spot{plain, q})
	}
	return append(all, spot{gone, 0}, spot{odd, 0}, spot{odd, 1}, spot{delayed, 0}, spot{message.RetryTopic(group), 0})
}

// writer makes letters with ids of their own.
type writer struct {
	ids   *message.UniqIDs
	round int
	n     int
}

func (w *writer) letter(topic string, queue int32, body []byte, props ...string) *letter {
	w.n++
	l := &letter{topic: topic, queue: queue, body: body, born: time.Now().UnixMilli(), id: w.ids.Next(time.Now())}
	text := message.EncodeProperties(map[string]string{message.PropUniqKey: l.id, message.PropWait: "true"})
	for i := 0; i+1 < len(props); i += 2 {
		if props[i+1] != "" {
			text = message.SetProperty(text, props[i], props[i+1])
		}
	}
	l.props = text
	return l
}

// name is a body that starts with what tells the message apart.
func (w *writer) text(size int) []byte {
	b := []byte(fmt.Sprintf("round-%d-%d-ünïcödé-", w.round, w.n))
	for len(b) < size {
		b = append(b, byte('a'+len(b)%26))
	}
	return b
}

// round is the letters of one round; those in one group go as a batch.
func (w *writer) letters() [][]*letter {
	w.round++
	w.n = 0
	var all [][]*letter
	if w.round != 2 {
		for range 3 {
			all = append(all, []*letter{w.letter(gone, 0, w.text(50))})
		}
	}
	rng := rand.New(rand.NewPCG(uint64(w.round), 7))
	for i := 0; i < roundSize; {
		queue := int32(rng.IntN(4))
		n := 1
		if i%50 == 0 {
			n = 10
		}
		var group []*letter
		for range n {
			l := w.letter(plain, queue, w.text(100+rng.IntN(2000)), message.PropTags, tags[i%len(tags)], message.PropKeys, fmt.Sprintf("k%d-%d all%d", w.round, i, w.round))
			l.flag, l.batch = int32(i), n > 1
			if len(group) > 0 {
				l.born = group[0].born // a batch has one
			}
			group = append(group, l)
			i++
		}
		all = append(all, group)
	}
	for _, l := range append(w.extremes(), w.delays()...) {
		all = append(all, []*letter{l})
	}
	return all
}

func (w *writer) extremes() []*letter {
	var all []*letter
	for _, size := range []int{1, 2, 4095, 4096, 65536, maxBody} {
		l := w.letter(odd, 0, nil, message.PropKeys, "size"+strconv.Itoa(size))
		l.body = w.text(size)[:size]
		all = append(all, l)
	}
	binary := make([]byte, 256)
	for i := range binary {
		binary[i] = byte(i)
	}
	all = append(all, w.letter(odd, 0, binary))

	var z bytes.Buffer
	packer := zlib.NewWriter(&z)
	_, _ = packer.Write(w.text(20_000))
	_ = packer.Close()
	for _, flag := range []int32{message.SysCompressed, message.SysCompressed | 0x300} { // 5.x says which way it is packed
		l := w.letter(odd, 1, z.Bytes(), message.PropKeys, "packed")
		l.sysFlag = flag
		all = append(all, l)
	}
	// A broker adds CLUSTER; 32767 bytes are the most.
	long := strings.Repeat("p", 32_600)
	all = append(all,
		w.letter(odd, 1, w.text(10), "long", long),
		w.letter(odd, 1, w.text(10), "ünïcödé", "Ω ≈ ç √ 🚀", message.PropKeys, "schlüssel 🔑 "+strings.Repeat("x", 200), message.PropTags, "🏷"),
		w.letter(odd, 1, w.text(10), "a", "b", "name with blanks", "value=with,signs\n\t\"{}"),
	)
	negative := w.letter(odd, 1, w.text(10))
	negative.flag, negative.born = -1, 1
	return append(all, negative)
}

func (w *writer) delays() []*letter {
	var all []*letter
	for i := range 12 {
		level := i%4 + 1
		l := w.letter(delayed, 0, w.text(100), message.PropDelay, strconv.Itoa(level), message.PropTags, "TagD", message.PropKeys, fmt.Sprintf("d%d-%d", w.round, i))
		l.level = level
		all = append(all, l)
	}
	return all
}

// write enters a round into the ledger and sends it by several senders at once. Every message must be acknowledged.
func (l *ledger) write(w *wire, wr *writer) {
	l.t.Helper()
	groups := wr.letters()
	for _, g := range groups {
		for _, one := range g {
			l.letters[one.id] = one
		}
	}
	work := make(chan []*letter)
	var mu sync.Mutex // guards refused
	var refused []string
	var senders sync.WaitGroup
	for range 4 {
		senders.Go(func() {
			for g := range work {
				if _, err := w.send(g...); err != nil {
					mu.Lock()
					refused = append(refused, fmt.Sprintf("%s %q: %v", g[0].topic, abridged(g[0].body)[:min(30, len(g[0].body))], err))
					mu.Unlock()
				}
			}
		})
	}
	// The first message of each topic makes it: one at a time.
	made := map[string]bool{}
	for _, g := range groups {
		if topic := g[0].topic; !made[topic] {
			made[topic] = true
			if _, err := w.send(g...); err != nil {
				l.t.Fatalf("send to %s: %v", topic, err)
			}
			continue
		}
		work <- g
	}
	close(work)
	senders.Wait()
	if len(refused) > 0 {
		l.t.Fatalf("%d of %d sends were refused: %s", len(refused), len(groups), strings.Join(refused, "\n"))
	}
}

// sendBack lets the group refuse some messages of a queue that were stored this round: half of them come back soon, half later.
func (l *ledger) sendBack(w *wire, s spot) {
	l.t.Helper()
	known := l.shelves[s]
	n := 0
	for i := len(known.records) - 1; i >= 0 && n < 6; i-- {
		r := parse(known.records[i])
		id, _ := message.Property(r.Properties, message.PropUniqKey)
		if l.letters[id].backTo != "" {
			break
		}
		l.letters[id].backTo = group
		level := int32(2 + n%2)
		if err := w.sendBack(group, level, r); err != nil {
			l.t.Fatalf("send back: %s: %v", protocol.StatusName(protocol.StatusOf(err)), err)
		}
		n++
	}
}
