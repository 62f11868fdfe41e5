// One request under way and its answer.
package remoting

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"
	"time"

	"rmqctl/internal/protocol"
)

// Exchange is a request in a handler's hands. It, the request and every []byte
// reached from them belong to the router again when the handler returns, unless
// it called Hold.
type Exchange struct {
	Conn     *Conn
	Request  *protocol.Command
	Received time.Time // when the burst that held it was read

	answer Pending
	held   bool
}

// Version is the sender's version ordinal, Language its language.
func (x *Exchange) Version() int32              { return x.answer.version }
func (x *Exchange) Language() protocol.Language { return x.answer.language }

// Oneway says that no answer will be sent.
func (x *Exchange) Oneway() bool { return x.answer.oneway }

// Status sets the code of an answer that carries a header too (pull: 19, send: 10).
func (x *Exchange) Status(code int32) { x.answer.Status(code) }

// Remark sets the answer's remark.
func (x *Exchange) Remark(s string) { x.answer.Remark(s) }

// Set adds a field to the answer beside the typed header.
func (x *Exchange) Set(k, v string) { x.answer.Set(k, v) }

// ReplyBody sets the answer's body. The slices are read when the handler
// returns, or in Pending.Reply, and not kept.
func (x *Exchange) ReplyBody(b ...[]byte) { x.answer.ReplyBody(b...) }

// Answer is the answer in the making, for handlers that fill held and other answers alike.
func (x *Exchange) Answer() *Pending { return &x.answer }

// After has r released when the answer's bytes have been copied, or will not be.
func (x *Exchange) After(r Releaser) { x.answer.after = r }

// Hold says that the answer comes later, from any goroutine. The router then
// leaves x and the request header to the caller for good. On a fast route the
// bytes still lie in the reader's buffer: []byte fields and the body end with
// the handler, and Request is nil from here on.
func (x *Exchange) Hold() *Pending {
	x.held = true
	x.answer.holders.Store(2)
	if x.answer.route.fast {
		x.Request = nil
	}
	return &x.answer
}

// Response returns the route's own answer header, zeroed, for handlers that
// must not allocate: return it or leave it.
func Response[Resp any](x *Exchange) *Resp {
	r := x.answer.own.(*Resp)
	*r = *new(Resp)
	return r
}

// Pending is an answer that is owed. Its setters are for the goroutine that
// will call Reply.
type Pending struct {
	conn     *Conn
	route    *route
	opaque   int32
	version  int32
	status   int32
	language protocol.Language
	encoding protocol.Encoding
	oneway   bool
	done     atomic.Bool
	holders  atomic.Int32    // handler and holder, while held
	free     func()          // gives the exchange back to its route
	own      any             // *Resp of the route, as Response returns it
	ownReady protocol.Header // own, ready to be written
	remark   string
	fields   protocol.Fields
	body     [][]byte
	after    Releaser
}

// Releaser is what an answer's body lies in.
type Releaser interface{ Release() }

// Conn is the connection the answer is owed to.
func (p *Pending) Conn() *Conn       { return p.conn }
func (p *Pending) Status(code int32) { p.status = code }
func (p *Pending) Remark(s string)   { p.remark = s }
func (p *Pending) Set(k, v string)   { p.fields.Set(k, v) }
func (p *Pending) Version() int32    { return p.version }
func (p *Pending) After(r Releaser)  { p.after = r }
func (p *Pending) Gone() bool        { return isClosed(p.conn.closed) }
func (p *Pending) ReplyBody(bodies ...[]byte) {
	p.body = append(p.body[:0], bodies...)
}

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Reply answers: with header (a pointer to the call's response struct, or nil)
// or, if err is not nil, with its status and words. Only the first call counts.
// The write happens soon on another goroutine; see Burst for who has many.
func (p *Pending) Reply(header any, err error) {
	if p.put(header, err) {
		p.conn.hub.later(p.conn)
	}
}

// Recycle, after Reply, lets the route use the held exchange and its request
// header again: for those who hold a hundred thousand a second. Nobody may look
// at either, or at p, any more.
func (p *Pending) Recycle() { p.release() }

func (p *Pending) release() {
	if p.holders.Add(-1) == 0 {
		p.free()
	}
}

// put appends the answer to the connection's out-buffer.
func (p *Pending) put(header any, err error) bool {
	if p.done.Swap(true) {
		return false
	}
	h, err := p.header(header, err)
	return p.write(h, err)
}

// header makes an answer's header ready.
func (p *Pending) header(header any, err error) (protocol.Header, error) {
	switch {
	case err != nil || header == nil:
		return protocol.Header{}, err
	case header == p.own:
		return p.ownReady, nil
	case reflect.TypeOf(header) != p.route.resp:
		return protocol.Header{}, fmt.Errorf("answer to %s is a %v, want %v", p.route.name, reflect.TypeOf(header), p.route.resp)
	}
	return protocol.HeaderOf(header), nil
}

// write appends the answer and counts it.
func (p *Pending) write(h protocol.Header, err error) bool {
	if p.after != nil {
		defer p.afterwards()
	}
	p.route.count(p, err)
	if p.oneway {
		return false
	}
	c := p.conn
	c.wmu.Lock()
	if c.werr != nil {
		c.wmu.Unlock()
		return false
	}
	if c.out == nil {
		c.out = outBuffers.Get().(*buffer)
	}
	c.out.b = p.appendTo(c.out.b, h, err)
	over := c.backlogLocked() > c.hub.maxBacklog
	c.wmu.Unlock()
	if over {
		c.fail(ErrBacklog)
	}
	return !over
}

// appendTo appends the frame of the answer to dst.
func (p *Pending) appendTo(dst []byte, h protocol.Header, err error) []byte {
	hub := p.conn.hub
	cmd := protocol.Command{
		Code: p.status, Language: hub.language, Version: hub.version, Opaque: p.opaque,
		Flag: protocol.FlagResponse, Remark: p.remark, Fields: p.fields, Encoding: p.encoding,
	}
	body := p.body
	if err != nil {
		cmd.Code, cmd.Remark = failure(err)
		body = nil
	}
	at := len(dst)
	dst = protocol.AppendFrame(dst, &cmd, h, body...)
	if len(dst)-at > protocol.MaxFrame {
		cmd.Code, cmd.Remark, cmd.Fields = protocol.SystemError, "the response is too large", protocol.Fields{}
		dst = protocol.AppendFrame(dst[:at], &cmd, protocol.Header{})
	}
	clear(p.body)
	return dst
}

func (p *Pending) afterwards() {
	r := p.after
	p.after = nil
	r.Release()
}

// failure is what the peer is told of err.
func failure(err error) (int32, string) {
	var e *protocol.Error
	if errors.As(err, &e) {
		return e.Status, e.Remark
	}
	return protocol.SystemError, err.Error()
}

// Burst gathers answers that one goroutine gives in a row: Flush writes once per connection, and answers to one connection
// that follow each other take its lock once. The zero value is ready. For a committer that answers all requests of one flush.
type Burst struct {
	conn  *Conn   // whose answers buf holds
	buf   *buffer // nil: none
	conns []*Conn
}

// Reply is Pending.Reply without the write.
func (b *Burst) Reply(p *Pending, header any, err error) {
	if p.done.Swap(true) {
		return
	}
	if p.after != nil {
		defer p.afterwards()
	}
	h, err := p.header(header, err)
	p.route.count(p, err)
	if p.oneway {
		return
	}
	if b.conn != p.conn {
		b.pass()
		b.conn = p.conn
	}
	if b.buf == nil {
		b.buf = outBuffers.Get().(*buffer)
	}
	b.buf.b = p.appendTo(b.buf.b, h, err)
}

// pass hands what is gathered to its connection.
func (b *Burst) pass() {
	if b.buf == nil {
		return
	}
	if c := b.conn; c.add(b.buf) && !c.bursting.Swap(true) {
		b.conns = append(b.conns, c)
	}
	b.buf = nil
}

// Flush writes what was answered. It never waits for a peer.
func (b *Burst) Flush() {
	b.pass()
	b.conn = nil
	for i, c := range b.conns {
		c.bursting.Store(false) // before the flush, as in hub.flusher
		c.flush()
		b.conns[i] = nil
	}
	b.conns = b.conns[:0]
}
