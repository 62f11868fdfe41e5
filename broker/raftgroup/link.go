// link carries our messages to one peer, over a connection that we dial, again and again.

package raftgroup

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"rmqctl/internal/clock"
)

const (
	redialMin   = 50 * time.Millisecond
	redialMax   = 200 * time.Millisecond
	refusedWait = time.Second // after a peer has said why it does not want us
	dialTimeout = time.Second
	pingEvery   = time.Second
	pieceBytes  = 1 << 20         // so much must go out before silence has passed
	silence     = 4 * time.Second // without an answer, or for a write
	maxQueued   = 64 << 20        // bytes waiting for one peer
	maxMessages = 4096
)

// peerEvent is what a link tells the driver.
type peerEvent struct {
	id    uint64
	dead  bool // nobody listens where it was: its process has ended
	reset bool // it is another process than before
	lost  bool // messages were dropped
	heard bool // it has answered a hello: stage counts
	stage stage
}

type link struct {
	peer   Peer
	hello  func() hello
	tell   func(peerEvent)
	dial   func(ctx context.Context, addr string) (net.Conn, error)
	clock  clock.Clock
	log    *slog.Logger
	ctx    context.Context
	stop   context.CancelFunc
	done   sync.WaitGroup
	wake   chan struct{}
	up     atomic.Bool
	said   string // the last error that was logged
	life   uint64 // of the peer's process, when last connected
	frames frames

	mu     sync.Mutex // guards queue, bytes
	queue  []pb.Message
	bytes  int
	warned bool // lost was told since the queue last ran empty
}

// start begins to dial. Close ends it.
func (l *link) start() {
	l.ctx, l.stop = context.WithCancel(context.Background())
	l.wake = make(chan struct{}, 1)
	l.done.Go(l.run)
}

func (l *link) close() {
	l.stop()
	l.done.Wait()
}

// send queues m, or drops it when the peer does not keep up or is away.
func (l *link) send(m pb.Message) {
	size := 0
	for i := range m.Entries {
		size += len(m.Entries[i].Data)
	}
	l.mu.Lock()
	drop := !l.up.Load() || len(l.queue) >= maxMessages || l.bytes > 0 && l.bytes+size > maxQueued
	if !drop {
		l.queue = append(l.queue, m)
		l.bytes += size
	}
	tell := drop && (!l.warned || m.Type == pb.MsgSnap)
	l.warned = l.warned || drop
	l.mu.Unlock()
	if tell {
		l.tell(peerEvent{id: l.peer.ID, lost: true})
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *link) take(into []pb.Message) []pb.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	into = append(into[:0], l.queue...)
	clear(l.queue)
	l.queue, l.bytes, l.warned = l.queue[:0], 0, false
	return into
}

// run dials, carries messages until the connection ends, and dials again at once: whether that is refused tells whether
// the process has ended or the network has.
func (l *link) run() {
	wait := redialMin
	for l.ctx.Err() == nil {
		began := clock.Mono(l.clock)
		err := l.session()
		lasted := clock.Mono(l.clock) - began
		l.up.Store(false)
		l.take(nil)
		l.tell(peerEvent{id: l.peer.ID, lost: true, dead: errors.Is(err, syscall.ECONNREFUSED)})
		if l.ctx.Err() != nil {
			return
		}
		l.note(err)
		var refused *refusal
		switch {
		case errors.As(err, &refused):
			wait = refusedWait
		case lasted > redialMax && !errors.Is(err, syscall.ECONNREFUSED):
			wait = 0
		default:
			wait = min(max(2*wait, redialMin), redialMax)
		}
		if wait > 0 {
			select {
			case <-l.ctx.Done():
			case <-l.clock.After(wait/2 + rand.N(wait)):
			}
		}
	}
}

// note logs why there is no connection, once and not at each attempt.
func (l *link) note(err error) {
	if why := err.Error(); why != l.said {
		l.said = why
		l.log.Warn("no connection to a member of the group", "member", l.peer.Name(), "remote", l.peer.Addr, "err", err)
	}
}

// refusal is a peer's answer to a hello.
type refusal struct{ why verdict }

func (r *refusal) Error() string { return "refused: " + r.why.String() }

func (l *link) session() error {
	ctx, cancel := context.WithTimeout(l.ctx, dialTimeout)
	conn, err := l.dial(ctx, l.peer.Addr)
	cancel()
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(l.ctx, func() { _ = conn.Close() })()
	r, err := l.greet(conn)
	if err != nil {
		return err
	}
	l.said = ""
	l.up.Store(true)
	l.log.Debug("connected to a member of the group", "member", l.peer.Name(), "remote", l.peer.Addr)
	ended := make(chan error, 1)
	l.done.Go(func() {
		err := l.listen(conn, r)
		_ = conn.Close() // a write that waits ends
		ended <- err
	})
	err = l.carry(conn, ended)
	_ = conn.Close()
	return err
}

// greet says who we are and hears whether we are wanted.
func (l *link) greet(conn net.Conn) (*bufio.Reader, error) {
	h := l.hello()
	h.version, h.to = helloVersion, l.peer.ID
	_ = conn.SetDeadline(time.Now().Add(silence))
	if _, err := conn.Write(h.append(nil)); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	answer, err := readHello(r)
	if err != nil {
		return nil, err
	}
	if answer.from == l.peer.ID && answer.group == h.group {
		l.tell(peerEvent{id: l.peer.ID, heard: true, stage: answer.stage, reset: l.life != 0 && l.life != answer.life})
		l.life = answer.life
	}
	if answer.verdict != ok {
		return nil, &refusal{answer.verdict}
	}
	return r, conn.SetDeadline(time.Time{})
}

// listen waits for the bytes that answer empty frames. Their absence means a silent host.
func (l *link) listen(conn net.Conn, r *bufio.Reader) error {
	for {
		_ = conn.SetReadDeadline(time.Now().Add(silence))
		if _, err := r.ReadByte(); err != nil {
			return err
		}
	}
}

// carry writes what is queued, all in one go.
func (l *link) carry(conn net.Conn, ended <-chan error) error {
	ping := l.clock.NewTicker(pingEvery)
	defer ping.Stop()
	var batch []pb.Message
	for {
		l.frames.reset()
		if batch = l.take(batch); len(batch) == 0 {
			select {
			case err := <-ended:
				return err
			case <-l.ctx.Done():
				return l.ctx.Err()
			case <-l.wake:
				continue
			case <-ping.C:
				l.frames.ping()
			}
		}
		for i := range batch {
			if err := l.frames.add(&batch[i]); err != nil {
				return err
			}
		}
		select {
		case <-ping.C: // also under load: the answers show that the other host is there
			l.frames.ping()
		default:
		}
		clear(batch)
		if err := write(conn, l.frames.buffers()); err != nil {
			select {
			case why := <-ended: // it closed the connection, and knows why
				return why
			default:
				return err
			}
		}
	}
}

// write hands the stretches to the socket in pieces: a slow network may take its time for all of them, not for one.
func write(conn net.Conn, all [][]byte) error {
	for len(all) > 0 {
		n, size := 0, 0
		for n < len(all) && (n == 0 || size+len(all[n]) <= pieceBytes) {
			size += len(all[n])
			n++
		}
		piece := net.Buffers(all[:n])
		all = all[n:]
		_ = conn.SetWriteDeadline(time.Now().Add(silence))
		if _, err := piece.WriteTo(conn); err != nil {
			return err
		}
	}
	return nil
}
