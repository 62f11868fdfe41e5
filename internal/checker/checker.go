// Package checker records what was sent to a cluster and what was read from it, and says whether the cluster kept its word.
// It knows nothing of brokers: tests tell it what happened, in any order and from any number of goroutines.
//
// Every message's body names it: "client-counter", then filler that follows from the name. A name that comes back tells
// which send it was, and a changed byte shows whatever checksum the store used. From the sets acked, unknown and seen:
//
//	lost          acknowledged, and read from no replica (or not from one that must hold everything)
//	phantom       read, and sent by nobody; or every send of it was refused
//	corrupt       read with other bytes than were sent, or with a wrong checksum
//	duplicated    at more places of one replica than it was sent with success or unknown outcome: a producer's own retry
//	              of an unknown send is not the broker's duplicate
//	divergent     two replicas hold different messages at one place (queue and offset), or a place holds another message
//	              than the one acknowledged for it
//	reordered     per producer and queue: sent after the acknowledgement of another one, yet stored before it
//	gap           an offset of a queue, between the first and the last, that holds nothing
//	resurrected   seen, then absent from a complete reading, then seen again
//	offsets back  a group's committed offset that was lower than one before
//	not durable   a message given to a reader that was later gone from its place, or an offset committed beyond the end:
//	              readers were served what was not durable
//
// Only "ok" may be counted on; "unknown" is neither sent nor not sent.
//
// A replica is whatever a reader calls by one name: one broker, or "the cluster" as clients see it.
//
// Memory: about 56 bytes per message and replica, no bodies; of each kind of finding a few examples are kept and all are
// counted.
package checker

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
)

// ID names one message: the client in the upper bits, its counter below.
type ID uint64

const counterBits = 40

func (id ID) client() int     { return int(id >> counterBits) }
func (id ID) counter() uint64 { return uint64(id) & (1<<counterBits - 1) }

// Queue is one queue of one topic; Broker may stay empty where there is one broker.
type Queue struct {
	Broker, Topic string
	ID            int32
}

func (q Queue) String() string {
	s := q.Topic + "/" + strconv.Itoa(int(q.ID))
	if q.Broker != "" {
		s = q.Broker + ":" + s
	}
	return s
}

type state uint8

const (
	open state = iota // no outcome yet: as good as unknown
	acked
	unknown
	failed
)

// sent is what is known of one message from its sender.
type sent struct {
	seq    uint64 // of its Sending; once acknowledged, of its Acked
	offset int64  // acknowledged
	queue  uint32 // acknowledged; index into Recorder.queues
	size   uint32 // of the body
	topic  uint16
	state  state
	copies uint8 // sends that were acknowledged or whose outcome is unknown
}

type client struct {
	name string
	msgs []sent
	low  int // every message before has an outcome
	// tops: per queue, how far acknowledged offsets reached as of which event
	tops map[uint32][]top
}

type top struct {
	seq    uint64
	offset int64
	id     ID
}

// Recorder collects a history. Make it with New.
type Recorder struct {
	mu       sync.Mutex // guards everything below
	seq      uint64
	barrier  uint64
	clients  []*client
	byName   map[string]int
	topics   []string
	topicNo  map[string]uint16
	queues   []Queue
	queueNo  map[Queue]uint32
	replicas []*replica
	groups   map[groupQueue]int64
	found    [kinds]Found
	reads    int64
}

type groupQueue struct {
	group string
	queue uint32
}

// New makes an empty recorder.
func New() *Recorder {
	return &Recorder{byName: map[string]int{}, topicNo: map[string]uint16{}, queueNo: map[Queue]uint32{}, groups: map[groupQueue]int64{}}
}

// Sending says that client is about to send a new message to topic. The body to send is Body(id, size).
func (r *Recorder) Sending(clientName, topic string) ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, ok := r.byName[clientName]
	if !ok {
		n = len(r.clients)
		r.byName[clientName] = n
		r.clients = append(r.clients, &client{name: clientName, tops: map[uint32][]top{}})
	}
	t, ok := r.topicNo[topic]
	if !ok {
		t = uint16(len(r.topics))
		r.topicNo[topic] = t
		r.topics = append(r.topics, topic)
	}
	c := r.clients[n]
	c.msgs = append(c.msgs, sent{seq: r.tick(), topic: t, size: math.MaxUint32})
	return ID(n)<<counterBits | ID(len(c.msgs)-1)
}

// Body is the body of a message: its name, and filler up to size bytes. A name longer than size is not cut.
func (r *Recorder) Body(id ID, size int) []byte {
	r.mu.Lock()
	c := r.clients[id.client()]
	b := append(make([]byte, 0, max(size, len(c.name)+21)), c.name...)
	b = append(b, '-')
	b = strconv.AppendUint(b, id.counter(), 10)
	size = max(size, len(b))
	c.msgs[id.counter()].size = uint32(size)
	r.mu.Unlock()
	n := len(b)
	b = b[:size]
	fill(b[n:], id)
	return b
}

// fill writes the filler of a message; the first byte is a blank, so a name ends where a digit could not.
func fill(b []byte, id ID) {
	x := uint64(id)*0x9E3779B97F4A7C15 + 1
	var w [8]byte
	for i := range b {
		if i%8 == 0 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(w[:], x)
		}
		b[i] = w[i%8]
	}
	if len(b) > 0 {
		b[0] = ' '
	}
}

// Name is the text that names a message: good as its key, too.
func (r *Recorder) Name(id ID) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.nameLocked(id)
}

func (r *Recorder) nameLocked(id ID) string {
	return r.clients[id.client()].name + "-" + strconv.FormatUint(id.counter(), 10)
}

// Acked says that the broker acknowledged the message for this place.
func (r *Recorder) Acked(id ID, q Queue, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, m := r.sentLocked(id)
	qn := r.queueLocked(q)
	r.orderLocked(c, id, m.seq, qn, offset)
	m.state, m.queue, m.offset, m.seq = acked, qn, offset, r.tick()
	m.copies = up(m.copies)
	c.settle()
}

// Unknown says that nobody knows what became of the send: no answer, or one that promises nothing.
func (r *Recorder) Unknown(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, m := r.sentLocked(id)
	m.copies = up(m.copies)
	if m.state != acked {
		m.state = unknown
	}
	c.settle()
}

// Failed says that the broker refused the message: it must never be seen.
func (r *Recorder) Failed(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, m := r.sentLocked(id)
	if m.state == open {
		m.state = failed
	}
	if m.copies > 0 && m.state != acked {
		m.state = unknown // an earlier send of it may have come through
	}
	c.settle()
}

// SomeAcked names up to n acknowledged messages, spread over all there are.
func (r *Recorder) SomeAcked(n int) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	total := 0
	for _, c := range r.clients {
		total += len(c.msgs)
	}
	step := max(total/max(n, 1), 1)
	var out []string
	i := 0
	for c := range r.clients {
		for k := range r.clients[c].msgs {
			if i++; i%step == 0 && r.clients[c].msgs[k].state == acked && len(out) < n {
				out = append(out, r.nameLocked(ID(c)<<counterBits|ID(k)))
			}
		}
	}
	return out
}

// Again says that the same message is sent once more, after Unknown or Failed.
func (r *Recorder) Again(id ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, m := r.sentLocked(id)
	if m.state != acked {
		m.state, m.seq = open, r.tick()
	}
	c.low = min(c.low, int(id.counter()))
}

// Barrier says that everything acknowledged so far must survive whatever comes, also where Rules.LostTail excuses some.
func (r *Recorder) Barrier() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.barrier = r.tick()
}

// Cut says that the power was cut and the end of what was acknowledged may be gone (Rules.LostTail): later messages may take
// the places of lost ones, so order is judged anew.
func (r *Recorder) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.clients {
		clear(c.tops)
	}
}

// Committed says that a group's offset is known to be at least this: a commit that was acknowledged, or a value read.
func (r *Recorder) Committed(group string, q Queue, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := groupQueue{group, r.queueLocked(q)}
	if was, ok := r.groups[k]; ok && offset < was {
		r.found[OffsetsBack].add("group %s at %v: %d after %d", group, q, offset, was)
		return
	}
	r.groups[k] = offset
}

func (r *Recorder) tick() uint64 { r.seq++; return r.seq }

func (r *Recorder) sentLocked(id ID) (*client, *sent) {
	c := r.clients[id.client()]
	return c, &c.msgs[id.counter()]
}

func (r *Recorder) queueLocked(q Queue) uint32 {
	n, ok := r.queueNo[q]
	if !ok {
		n = uint32(len(r.queues))
		r.queueNo[q] = n
		r.queues = append(r.queues, q)
	}
	return n
}

// orderLocked compares with what the client knew to be stored when it began to send.
func (r *Recorder) orderLocked(c *client, id ID, began uint64, q uint32, offset int64) {
	tops := c.tops[q]
	for i := len(tops) - 1; i >= 0; i-- {
		if tops[i].seq >= began {
			continue
		}
		if tops[i].offset >= offset {
			r.found[Reordered].add("%s stored at %v offset %d, although sent after %s was acknowledged at %d",
				r.nameLocked(id), r.queues[q], offset, r.nameLocked(tops[i].id), tops[i].offset)
		}
		break
	}
	oldest := r.seq + 1 // the first event that an open send could have begun at
	if c.low < len(c.msgs) {
		oldest = c.msgs[c.low].seq
	}
	for len(tops) > 1 && tops[1].seq < oldest {
		tops = tops[1:]
	}
	if n := len(tops); n == 0 || offset > tops[n-1].offset {
		tops = append(tops, top{r.seq + 1, offset, id})
	}
	c.tops[q] = tops
}

func (c *client) settle() {
	for c.low < len(c.msgs) && c.msgs[c.low].state != open {
		c.low++
	}
}

func up(n uint8) uint8 {
	if n == math.MaxUint8 {
		return n
	}
	return n + 1
}

// parse finds the name at the start of a body. It does not tell whether anybody sent it.
func parse(body []byte) (name string, counter uint64, ok bool) {
	text := string(body[:min(len(body), 300)])
	if i := strings.IndexByte(text, ' '); i >= 0 {
		text = text[:i]
	}
	i := strings.LastIndexByte(text, '-')
	if i < 0 {
		return "", 0, false
	}
	n, err := strconv.ParseUint(text[i+1:], 10, counterBits)
	return text[:i], n, err == nil
}

// identify says whose message a body is, and why it is none.
func (r *Recorder) identifyLocked(body []byte) (ID, Kind, string) {
	name, n, ok := parse(body)
	if !ok {
		return 0, Phantom, fmt.Sprintf("%d bytes that name no message", len(body))
	}
	c, known := r.byName[name]
	if !known || n >= uint64(len(r.clients[c].msgs)) {
		return 0, Phantom, fmt.Sprintf("%s-%d was never sent", name, n)
	}
	return ID(c)<<counterBits | ID(n), 0, ""
}
