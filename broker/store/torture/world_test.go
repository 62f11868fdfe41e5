package torture

// A world: one seed's program, life after life, and what it remembers of it.

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// sent is one message and what became of it.
type sent struct {
	id     int
	topic  string
	queue  int32
	body   string
	key    string
	known  bool // acknowledged, or read by a consumer, or found after a restart
	gone   bool // a cut took it, rightly: it must not come back
	at     int64
	phys   int64
	next   int64
	reader bool // a consumer saw it
}

// world is the state of one seed.
type world struct {
	rng   *rand.Rand
	o     store.Options
	sync  bool // SYNC_FLUSH
	await bool // SYNC_FLUSH by AwaitFlushed: readers may be ahead of the disk
	disk  *vfs.Mem
	p     *power
	s     *store.Store
	trace func(string)

	all      []*sent
	byID     map[int]*sent
	deleting string           // topic whose deletion was under way when the power went off
	deleted  int64            // where the log ended when a topic was deleted last: a log cut there would bring it back
	readers  map[string]int64 // consumer positions by queue
	flushed  int64            // a completed flush reached this, before the power went off
	firstSeg int64            // retention had deleted everything below, when the power went off
	powerCut bool             // the last end was a power cut, not a kill

	seenMu sync.Mutex // guards seen
	seen   [][]byte   // records that readers got while the log was being synced
	cuts   tally
}

// tally counts for the report.
type tally struct{ seeds, cuts, kills, inRecovery, clean, acked, lost, read int }

func (t *tally) add(o tally) {
	t.seeds += o.seeds
	t.cuts += o.cuts
	t.kills += o.kills
	t.inRecovery += o.inRecovery
	t.clean += o.clean
	t.acked += o.acked
	t.lost += o.lost
	t.read += o.read
}

var topics = []string{"T", "orders", "%RETRY%g"}

const dir = "/data/store"

func newWorld(seed uint64, trace func(string)) *world {
	rng := rand.New(rand.NewPCG(seed, 0x70726f6f66))
	w := &world{rng: rng, trace: trace, byID: map[int]*sent{}, readers: map[string]int64{}}
	w.sync = rng.IntN(2) == 0
	w.await = w.sync && rng.IntN(4) == 0
	t := store.DefaultTunables()
	t.FlushInterval, t.FlushThoroughInterval, t.FlushLeastPages = 510*time.Millisecond, 2*time.Second, 1
	t.QueueFlushInterval, t.QueueFlushLeastPages, t.QueueFlushThoroughInterval = 1030*time.Millisecond, 0, 7*time.Second
	t.CleanInterval, t.FileReserved, t.DeletePause = 3070*time.Millisecond, 20*time.Second, 0
	t.DeleteWhen = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23}
	t.SyncFlush = w.sync && !w.await
	w.o = store.Options{Dir: dir, SegmentSize: 4096 << rng.IntN(3), QueueSegmentSize: int64(20 * (5 + rng.IntN(200))),
		IndexSlots: 50, IndexEntries: int32(20 + rng.IntN(100)), OpenFiles: 3 + rng.IntN(20), TailBytes: 1 << 17, Tunables: &t}
	w.o.Events.OnFlush = func(flushed int64) {
		if !w.p.isOff() {
			w.flushed = max(w.flushed, flushed)
		}
	}
	w.o.Events.OnCorrupt = func(what string, off int64) { w.say("corrupt at %d: %s", off, what) }
	w.disk = vfs.NewMem()
	w.disk.MkdirAll("/data", 0o755)
	w.disk.SyncDir("/")
	w.disk.Now = time.Now
	return w
}

func (w *world) say(format string, a ...any) {
	if w.trace != nil {
		w.trace(fmt.Sprintf(format, a...))
	}
}

// run plays the whole seed.
func (w *world) run() error {
	w.cuts.seeds = 1
	for life := range 1 + w.rng.IntN(4) {
		w.say("life %d: sync %v, segment %d", life, w.sync, w.o.SegmentSize)
		if err := w.open(); err != nil {
			return fmt.Errorf("life %d: %w", life, err)
		}
		if err := w.verify(); err != nil {
			w.end()
			return fmt.Errorf("life %d: %w", life, err)
		}
		if err := w.live(); err != nil {
			w.end()
			return fmt.Errorf("life %d: %w", life, err)
		}
	}
	return w.last()
}

// last opens what is left once more, without any harm.
func (w *world) last() error {
	if err := w.open(); err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	defer w.end()
	if err := w.verify(); err != nil {
		return fmt.Errorf("last start: %w", err)
	}
	return nil
}

// open starts the store on what the disk has, with up to three cuts while it recovers.
func (w *world) open() error {
	for range w.rng.IntN(4) {
		w.plug(1 + w.rng.IntN(40))
		s, err := store.Open(w.p.fs, w.o)
		if err == nil && !w.p.isOff() {
			err = s.Start()
		}
		if err == nil && !w.p.isOff() {
			w.s = s
			return nil
		}
		if s != nil {
			s.Close()
		}
		if !w.p.isOff() {
			return fmt.Errorf("open: %w", err)
		}
		w.cuts.inRecovery++
		w.fall()
	}
	w.plug(0)
	s, err := store.Open(w.p.fs, w.o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	w.s = s
	if err := s.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	return nil
}

// plug puts a new switch before the disk that goes off at operation at.
func (w *world) plug(at int) {
	w.p = newPower(w.disk, w.rng)
	w.p.at, w.p.when, w.p.trace = at, moment(w.rng.IntN(3)), w.trace
	if w.rng.IntN(2) == 0 {
		w.p.restful = w.rng.Float64() / 4
	}
	if w.rng.IntN(2) == 0 && !w.await {
		w.p.peek = w.peek
	}
}

// arm lets the present switch go off after n more operations.
func (w *world) arm(n int) {
	w.p.mu.Lock()
	defer w.p.mu.Unlock()
	w.p.at = w.p.n + n
}

// end stops the store, whatever state it is in.
func (w *world) end() {
	w.p.switchOff()
	w.s.Close()
}

// fall makes the disk what a kill or a power cut leaves.
func (w *world) fall() {
	w.firstSeg = w.seenFirst()
	if w.rng.IntN(3) == 0 {
		w.cuts.kills++
		w.disk = w.disk.Clone()
		w.say("killed")
		return
	}
	w.cuts.cuts++
	w.powerCut = true
	c := vfs.AnyCut(w.rng)
	w.say("power cut %+v", c)
	w.disk = w.disk.PowerCut(w.rng, c)
}

// seenFirst is where the log began when the power went off.
func (w *world) seenFirst() int64 {
	entries, _ := w.disk.ReadDir(filepath.Join(dir, "commitlog"))
	for _, e := range entries {
		if n, err := strconv.ParseInt(e.Name(), 10, 64); err == nil {
			return n
		}
	}
	return 0
}

// live lets the program run until the power goes off, or the store is closed.
func (w *world) live() error {
	w.powerCut, w.deleting, w.flushed = false, "", w.s.FlushedPhysical()
	steps := 5 + w.rng.IntN(60)
	w.arm(1 + w.rng.IntN(steps*8))
	for range steps {
		if err := errors.Join(w.step(), w.peeked()); err != nil {
			return err
		}
		if w.p.isOff() {
			break
		}
	}
	if !w.p.isOff() && w.rng.IntN(2) == 0 {
		w.say("close")
		if err := w.s.Close(); !w.p.isOff() {
			if err != nil {
				return fmt.Errorf("close: %w", err)
			}
			w.cuts.clean++
			w.firstSeg = w.seenFirst()
			if w.rng.IntN(2) == 0 { // a power cut after a clean stop
				w.flushed = 1 << 60
				w.fall()
			}
			return nil
		}
	}
	w.end()
	w.fall()
	return nil
}

// step is one thing somebody does.
func (w *world) step() error {
	switch n := w.rng.IntN(100); {
	case n < 30:
		return w.produce()
	case n < 45:
		return w.crowd()
	case n < 55:
		return w.batch()
	case n < 75:
		return w.consume()
	case n < 78:
		w.say("flush")
		return w.unlessOff("flush", w.s.Flush())
	case n < 81:
		w.say("checkpoint")
		return w.unlessOff("checkpoint", w.s.Checkpoint())
	case n < 94:
		d := time.Duration(1+w.rng.IntN(1500)) * time.Millisecond
		if w.rng.IntN(8) == 0 {
			d *= 15
		}
		w.say("%s pass", d)
		time.Sleep(d)
	case n < 97:
		return w.findKey()
	case n < 98:
		w.say("clean")
		w.s.CleanExpired()
	case n < 99:
		return w.truncate()
	default:
		return w.deleteTopic()
	}
	return nil
}

func (w *world) unlessOff(what string, err error) error {
	if err != nil && !w.p.isOff() {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

var (
	v4 = netip.MustParseAddrPort("10.0.0.1:5000")
	v6 = netip.MustParseAddrPort("[2001:db8::1]:5000")
)

// message makes one for a topic and queue.
func (w *world) message(topic string, queue int32) (*message.Message, *sent) {
	x := &sent{id: len(w.all), topic: topic, queue: queue}
	x.body, x.key = bodyOf(x.id, w.rng), fmt.Sprint("u", x.id)
	m := &message.Message{Topic: topic, QueueID: queue, Body: []byte(x.body), BornHost: v4, StoreHost: v4, BornTimestamp: 1}
	if w.rng.IntN(4) == 0 {
		m.BornHost = v6
	}
	if w.rng.IntN(4) == 0 {
		m.StoreHost = v6
	}
	m.Properties = message.SetProperty(m.Properties, message.PropUniqKey, x.key)
	for range w.rng.IntN(3) {
		m.Properties = message.SetProperty(m.Properties, message.PropKeys, fmt.Sprintf("a%d b%d", w.rng.IntN(3), x.id))
	}
	if w.rng.IntN(2) == 0 {
		m.Properties = message.SetProperty(m.Properties, message.PropTags, fmt.Sprint("tag", w.rng.IntN(3)))
	}
	if topic == message.ScheduleTopic {
		m.Properties = message.SetProperty(m.Properties, message.PropDelay, fmt.Sprint(queue+1))
	}
	w.all = append(w.all, x)
	w.byID[x.id] = x
	return m, x
}

// bodyOf is the body of message id: its number, and a filling that no other message has.
func bodyOf(id int, rng *rand.Rand) string {
	n := rng.IntN(200)
	if rng.IntN(10) == 0 {
		n = rng.IntN(3000)
	}
	return fmt.Sprintf("%d:%s", id, strings.Repeat(string(rune('a'+id%26)), n))
}

func (w *world) place() (string, int32) {
	if w.rng.IntN(8) == 0 {
		return message.ScheduleTopic, int32(w.rng.IntN(3))
	}
	return topics[w.rng.IntN(len(topics))], int32(w.rng.IntN(2))
}

func (w *world) produce() error {
	m, x := w.message(w.place())
	res, err := w.s.Append(m)
	if err == nil && w.await {
		err = w.toDisk(res.NextOffset)
	}
	w.say("append %d to %s/%d: %s at %d, log %d to %d, %v", x.id, x.topic, x.queue, res.Status, res.QueueOffset, res.PhysicalOffset, res.NextOffset, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil || res.Status != store.PutOK {
		return fmt.Errorf("append: %s, %w", res.Status, err)
	}
	return w.ack(x, res.QueueOffset, res.PhysicalOffset, res.NextOffset)
}

// toDisk waits as a caller without SyncFlush does.
func (w *world) toDisk(next int64) error {
	done := make(chan error, 1)
	w.s.AwaitFlushed(next, 5*time.Second, func(err error) { done <- err })
	return <-done
}

// ack notes what a producer was told.
func (w *world) ack(x *sent, at, phys, next int64) error {
	x.at, x.phys, x.next = at, phys, next
	w.cuts.acked++
	if err := w.taken(x); err != nil {
		return err
	}
	x.known = true
	return nil
}

// taken: no two messages at one place of one queue.
func (w *world) taken(x *sent) error {
	for _, y := range w.all {
		if y != x && y.known && !y.gone && y.topic == x.topic && y.queue == x.queue && y.at == x.at {
			return fmt.Errorf("message %d got offset %d of %s/%d, which belongs to %d", x.id, x.at, x.topic, x.queue, y.id)
		}
	}
	return nil
}

func (w *world) batch() error {
	topic, queue := topics[w.rng.IntN(2)], int32(w.rng.IntN(2))
	var items []message.BatchItem
	var xs []*sent
	size := 0
	for range 1 + w.rng.IntN(6) {
		m, x := w.message(topic, queue)
		if size += len(x.body) + 200; size > int(w.o.SegmentSize) {
			x.gone = true
			break
		}
		items = append(items, message.BatchItem{Body: m.Body, Properties: m.Properties})
		xs = append(xs, x)
	}
	m := &message.Message{Topic: topic, QueueID: queue, BornHost: v4, StoreHost: v4, BornTimestamp: 1}
	res, err := w.s.AppendBatch(m, items)
	if err == nil && w.await {
		err = w.toDisk(res.NextOffset)
	}
	w.say("batch %d+%d to %s/%d: %s at %d, log %d to %d, %v", xs[0].id, len(xs), topic, queue, res.Status, res.QueueOffset, res.PhysicalOffset, res.NextOffset, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil || res.Status != store.PutOK {
		return fmt.Errorf("batch: %s, %w", res.Status, err)
	}
	at, phys := res.QueueOffset, res.PhysicalOffset
	for _, x := range xs {
		b, err := w.s.LookMessage(phys)
		if w.p.isOff() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("batch of %d: look at %d: %w", len(xs), phys, err)
		}
		if err := w.ack(x, at, phys, phys+int64(len(b))); err != nil {
			return err
		}
		at, phys = at+1, phys+int64(len(b))
	}
	return nil
}

// consume reads on where the consumer of a queue stands.
func (w *world) consume() error {
	topic, queue := w.place()
	name := fmt.Sprint(topic, "/", queue)
	from := w.readers[name]
	if from == 0 || from > w.s.MaxOffset(topic, queue) {
		from = w.s.MinOffset(topic, queue)
	}
	r, err := w.s.Get(topic, queue, from, store.GetLimit{Messages: 1 + w.rng.IntN(8)}, store.Match{})
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("get %s from %d: %w", name, from, err)
	}
	defer r.Release()
	for _, b := range r.Messages {
		x, rec, err := w.recognise(b)
		if err != nil {
			return fmt.Errorf("get %s from %d: %w", name, from, err)
		}
		if !x.known {
			continue // one whose producer was not answered
		}
		if x.at != rec.QueueOffset || x.phys != rec.PhysicalOffset || x.topic != topic || x.queue != queue {
			return fmt.Errorf("get %s from %d: message %d is at %d (log %d), it was put to %s/%d at %d (log %d)", name, from,
				x.id, rec.QueueOffset, rec.PhysicalOffset, x.topic, x.queue, x.at, x.phys)
		}
		x.reader = true
		w.cuts.read++
	}
	w.readers[name] = r.Next
	return nil
}

var errBack = errors.New("is back, although it was gone")

// recognise says which message a record is, and that it is whole.
func (w *world) recognise(b []byte) (*sent, message.Message, error) {
	m, n, err := message.Decode(b, message.Options{CheckCRC: true})
	if err != nil || n != len(b) {
		return nil, m, fmt.Errorf("damaged message served: %d of %d bytes, %w", n, len(b), errors.Join(err))
	}
	head, _, _ := strings.Cut(string(m.Body), ":")
	id, err := strconv.Atoi(head)
	x := w.byID[id]
	if err != nil || x == nil || x.body != string(m.Body) || x.topic != m.Topic || x.queue != m.QueueID {
		return nil, m, fmt.Errorf("a message nobody sent: %s/%d at %d, body %.30q", m.Topic, m.QueueID, m.QueueOffset, m.Body)
	}
	if key, _ := m.Property(message.PropUniqKey); key != x.key {
		return nil, m, fmt.Errorf("message %d has key %q", id, key)
	}
	if x.gone {
		return nil, m, fmt.Errorf("message %d: %w", id, errBack)
	}
	return x, m, nil
}

func (w *world) findKey() error {
	if len(w.all) == 0 {
		return nil
	}
	return w.find(w.all[w.rng.IntN(len(w.all))])
}

func (w *world) find(x *sent) error {
	if !x.known || x.gone || x.phys < w.s.MinPhysical() {
		return nil
	}
	r, err := w.s.Query(x.topic, x.key, 64, 0, 1<<60)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("query %s: %w", x.key, err)
	}
	for _, b := range r.Messages {
		if y, _, err := w.recognise(b); err == nil && y == x {
			return nil
		}
	}
	return fmt.Errorf("message %d of %s at log %d is not found by its key", x.id, x.topic, x.phys)
}

// truncate ends the log before a message, as a slave does that is ahead of its master.
func (w *world) truncate() error {
	var from *sent
	for _, x := range w.all {
		if x.known && !x.gone && x.phys >= max(w.s.MinPhysical(), w.deleted) && w.rng.IntN(8) == 0 {
			from = x
		}
	}
	if from == nil {
		return nil
	}
	return w.truncateAt(from)
}

func (w *world) truncateAt(from *sent) error {
	for _, x := range w.all { // until it is done nobody knows
		if x.phys >= from.phys {
			x.known = x.known && x.gone
		}
	}
	err := w.s.TruncateTo(from.phys)
	w.say("truncate to %d, message %d: %v", from.phys, from.id, err)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("truncate: %w", err)
	}
	for _, x := range w.all {
		if x.phys >= from.phys {
			x.gone = true
		}
	}
	w.readers = map[string]int64{}
	w.flushed = w.s.FlushedPhysical()
	return nil
}

func (w *world) deleteTopic() error {
	topic := topics[w.rng.IntN(len(topics))]
	w.say("delete %s", topic)
	w.deleting, w.deleted = topic, w.s.MaxPhysical()
	err := w.s.DeleteTopic(topic)
	if w.p.isOff() {
		return nil
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", topic, err)
	}
	w.deleting = ""
	for _, x := range w.all {
		if x.topic == topic {
			x.gone = true
		}
	}
	for q := range int32(4) {
		delete(w.readers, fmt.Sprint(topic, "/", q))
	}
	return nil
}
