package sim

// A world: the members of one group, their disks, the network between them and what their producers do.

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/sim"
)

const tick = 100 * time.Millisecond

type world struct {
	*sim.World
	net       *sim.Net
	members   []*member
	model     *model
	syncFlush bool
	real      bool // the members' logs are stores, on their disks
	seg       int64
	per       int64         // records in a file of the index
	pace      time.Duration // between two appends of one leader, about
	peers     []uint64      // whom the group began with
	calm      bool          // no more faults
}

// maxMembers is how many machines a world may come to have.
const maxMembers = 8

func newWorld(seed uint64, real bool, trace func(string)) *world {
	w := &world{World: sim.New(seed, trace), real: real}
	w.model = newModel(w)
	w.per = []int64{8, 8, 64}[seed%3]
	n := []int{3, 3, 3, 3, 3, 5, 5, 5, 2, 4, 1}[w.Rand.IntN(11)]
	w.syncFlush = w.Rand.IntN(2) == 0 || true
	w.seg = 1024 << w.Rand.IntN(4)
	w.pace = w.Between(5*time.Millisecond, 150*time.Millisecond)
	usual := sim.Line{Min: 100 * time.Microsecond, Max: time.Millisecond}
	if w.Chance(0.2) {
		usual = sim.Line{Min: time.Millisecond, Max: 40 * time.Millisecond}
	}
	w.net = sim.NewNet(w.World, maxMembers, usual)
	for i := range n {
		w.peers = append(w.peers, uint64(i+1))
	}
	for range n {
		w.newMember()
	}
	return w
}

func (w *world) newMember() *member {
	m := newMember(w, uint64(len(w.members)+1))
	w.members = append(w.members, m)
	return m
}

func (w *world) byID(id uint64) *member {
	if id == 0 || id > uint64(len(w.members)) {
		return nil
	}
	return w.members[id-1]
}

// send takes a message from one member to another, as the bytes that would go over the wire.
func (w *world) send(from *member, msg raftpb.Message, cost time.Duration) {
	to := w.byID(msg.To)
	if to == nil {
		return
	}
	wire, err := msg.Marshal()
	if err != nil {
		from.fail("marshal: %v", err)
		return
	}
	w.Mark(uint64(msg.Type), msg.From, msg.To, msg.Term, msg.Index, msg.Commit)
	deliver := func() { to.receive(wire) }
	if cost == 0 {
		w.net.Send(from.line, to.line, deliver)
		return
	}
	gen := from.gen
	w.After(cost, func() {
		if from.gen == gen {
			w.net.Send(from.line, to.line, deliver)
		}
	})
}

// leader is a member that takes appends, the one of the highest term if there are several.
func (w *world) leader() *member {
	var best *member
	for _, m := range w.members {
		if m.up && m.log.leading && (best == nil || m.term() > best.term()) {
			best = m
		}
	}
	return best
}

func (w *world) holders(from int64, b []byte) string {
	var s []string
	for _, m := range w.members {
		s = append(s, fmt.Sprintf("%d: %d to %d (disk %d) %v", m.id, m.log.Base, m.log.End(), m.log.Durable(), m.holds(from, b)))
	}
	return strings.Join(s, "; ")
}

// holds tells whether a member has these bytes in a place that this flush mode relies on. With ASYNC_FLUSH it may have acknowledged what
// a power cut took from it then.
func (m *member) holds(from int64, b []byte) bool {
	return m.log.Has(from, b, m.w.syncFlush) || m.impaired() && m.lost.Has(from, b, false)
}

// records walks over the records of a piece of log.
func (w *world) records(b []byte, each func(sim.Record)) error {
	if w.real {
		return storeRecords(b, each)
	}
	return sim.Records(b, each)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
