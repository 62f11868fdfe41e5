// The connections that peers have dialed: their messages, in order, into the driver's inbox.

package raftgroup

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/clock"
)

const (
	readBuffer = 256 << 10
	maxInbox   = 64 << 20 // bytes that wait for the driver; then peers wait
	answerGap  = 200 * time.Millisecond
	saidAgain  = time.Minute
)

// inbox is where connections leave messages.
type inbox struct {
	mu    sync.Mutex // guards all below
	room  sync.Cond  // of mu: there is room again, or it is over
	msgs  []pb.Message
	bytes int
	over  bool
}

// acceptor takes in connections.
type acceptor struct {
	self   uint64
	group  string
	ln     net.Listener
	hello  func() hello
	known  func(id uint64) bool
	visit  func(id uint64, addr string) // a member has come
	in     inbox
	wake   func()
	clock  clock.Clock
	log    *slog.Logger
	done   sync.WaitGroup
	closed bool // guarded by mu

	mu    sync.Mutex
	conns map[net.Conn]bool
	now   map[uint64]net.Conn // the newest of each peer; guarded by in.mu
	said  map[string]time.Duration
}

func (a *acceptor) start() {
	a.conns, a.now, a.said = map[net.Conn]bool{}, map[uint64]net.Conn{}, map[string]time.Duration{}
	a.in.room.L = &a.in.mu
	a.done.Go(func() {
		for {
			conn, err := a.ln.Accept()
			if err != nil {
				if errors.Is(err, net.ErrClosed) || a.isClosed() {
					return
				}
				a.log.Warn("accept a member's connection", "err", err)
				<-a.clock.After(answerGap) // out of descriptors, most likely
				continue
			}
			a.mu.Lock()
			if a.closed {
				a.mu.Unlock()
				_ = conn.Close()
				return
			}
			a.conns[conn] = true
			a.mu.Unlock()
			a.done.Go(func() { a.serve(conn) })
		}
	})
}

func (a *acceptor) isClosed() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.closed
}

func (a *acceptor) close() {
	_ = a.ln.Close()
	a.mu.Lock()
	a.closed = true
	for c := range a.conns {
		_ = c.Close()
	}
	a.mu.Unlock()
	a.in.mu.Lock()
	a.in.over = true
	a.in.room.Broadcast()
	a.in.mu.Unlock()
	a.done.Wait()
}

func (a *acceptor) serve(conn net.Conn) {
	defer func() {
		_ = conn.Close()
		a.mu.Lock()
		delete(a.conns, conn)
		a.mu.Unlock()
	}()
	_ = conn.SetDeadline(time.Now().Add(silence))
	r := bufio.NewReaderSize(conn, readBuffer)
	h, err := readHello(r)
	if err != nil {
		if !errors.Is(err, io.EOF) && !a.isClosed() {
			a.say(conn, err.Error())
		}
		return
	}
	answer := a.hello()
	answer.version, answer.to, answer.verdict = helloVersion, h.from, a.judge(&h)
	if answer.verdict != ok {
		a.say(conn, answer.verdict.String(), "group", h.group, "member", PeerName(h.from), "for", PeerName(h.to))
	}
	if _, err := conn.Write(answer.append(nil)); err != nil || answer.verdict != ok {
		return
	}
	_ = conn.SetDeadline(time.Time{})
	a.visit(h.from, h.addr)
	a.newest(h.from, conn)
	err = a.receive(conn, r, h.from)
	a.log.Debug("a member's connection has ended", "member", PeerName(h.from), "err", err)
}

func (a *acceptor) judge(h *hello) verdict {
	switch {
	case h.version != helloVersion:
		return wrongVersion
	case h.group != a.group:
		return wrongGroup
	case h.to != a.self || h.from == a.self:
		return wrongMember
	case !a.known(h.from):
		return stranger
	}
	return ok
}

// say logs why a connection was refused, not more than once in a while for each host.
func (a *acceptor) say(conn net.Conn, why string, args ...any) {
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	now := clock.Mono(a.clock)
	a.mu.Lock()
	last, found := a.said[host+why]
	if found = found && now-last < saidAgain; !found {
		if len(a.said) > 1000 {
			clear(a.said)
		}
		a.said[host+why] = now
	}
	a.mu.Unlock()
	if !found {
		a.log.Warn("connection to the group's port refused", append([]any{"remote", conn.RemoteAddr().String(), "err", why}, args...)...)
	}
}

// newest makes conn the one that counts. Nothing of an older one comes in any more: what a process said before its end must
// not be heard after what its successor says.
func (a *acceptor) newest(id uint64, conn net.Conn) {
	a.in.mu.Lock()
	defer a.in.mu.Unlock()
	if old := a.now[id]; old != nil {
		_ = old.Close()
	}
	a.now[id] = conn
}

func (a *acceptor) receive(conn net.Conn, r *bufio.Reader, from uint64) error {
	answered := clock.Mono(a.clock)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(silence))
		m, size, err := readFrame(r)
		if err != nil {
			return err
		}
		if now := clock.Mono(a.clock); m == nil || now-answered >= answerGap {
			answered = now
			_ = conn.SetWriteDeadline(time.Now().Add(silence))
			if _, err := conn.Write([]byte{0}); err != nil {
				return err
			}
		}
		if m == nil {
			continue
		}
		if m.From != from || m.To != a.self {
			return errFrame
		}
		if !a.put(conn, m, size) {
			return net.ErrClosed
		}
	}
}

// put leaves a message in the inbox; it waits while the driver has too much to do.
func (a *acceptor) put(conn net.Conn, m *pb.Message, size int) bool {
	in := &a.in
	in.mu.Lock()
	for in.bytes > maxInbox && !in.over {
		in.room.Wait()
	}
	if in.over || a.now[m.From] != conn {
		in.mu.Unlock()
		return false
	}
	in.msgs = append(in.msgs, *m)
	in.bytes += size
	in.mu.Unlock()
	a.wake()
	return true
}

// take empties the inbox.
func (in *inbox) take(into []pb.Message) []pb.Message {
	in.mu.Lock()
	defer in.mu.Unlock()
	into = append(into[:0], in.msgs...)
	clear(in.msgs)
	in.msgs = in.msgs[:0]
	if in.bytes > maxInbox {
		in.room.Broadcast()
	}
	in.bytes = 0
	return into
}
