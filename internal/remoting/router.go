// Routes: which function answers which code, and on whose goroutine.
package remoting

import (
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"rmqctl/internal/protocol"
)

// Route is one row of a menu: a call and the function that answers it.
type Route struct{ r *route }

// Code of the call the route answers.
func (r Route) Code() int32 { return r.r.code }

type route struct {
	code   int32
	name   string
	fast   bool
	pool   *Pool
	reject func() bool
	resp   reflect.Type // *Resp
	log    atomic.Pointer[slog.Logger]
	serve  func(c *Conn, cmd *protocol.Command, in *protocol.Interner, at time.Time)

	requests, failed, busy, panics atomic.Int64
}

// Option says how a route is served.
type Option interface{ apply(*route) }

type optionFunc func(*route)

func (f optionFunc) apply(r *route) { f(r) }

// Fast routes run on the goroutine that reads the connection: for handlers that
// never wait for a disk, a peer or a busy lock.
var Fast Option = optionFunc(func(r *route) { r.fast = true })

// RejectIf answers SYSTEM_BUSY while busy returns true, before anything else.
func RejectIf(busy func() bool) Option { return optionFunc(func(r *route) { r.reject = busy }) }

func (p *Pool) apply(r *route) { r.pool = p }

// On makes a route. The handler's answer is its *Resp (nil: no header) or its
// error: a *protocol.Error goes to the peer as it stands, any other error is
// SYSTEM_ERROR and logged.
func On[Req, Resp any](call *protocol.Call[Req, Resp], handler func(*Exchange, *Req) (*Resp, error), opts ...Option) Route {
	r := &route{code: call.Code, name: call.Name, resp: reflect.TypeFor[*Resp]()}
	for _, o := range opts {
		o.apply(r)
	}
	type state struct {
		x    Exchange
		req  Req
		resp Resp
	}
	states := &sync.Pool{}
	states.New = func() any {
		s := new(state)
		s.x.answer.own, s.x.answer.ownReady = &s.resp, call.ResponseHeader(&s.resp)
		s.x.answer.free = func() { states.Put(s) }
		return s
	}
	// invoke turns a panic into an answer: one bad request never takes the process down.
	invoke := func(s *state) (resp *Resp, err error) {
		defer func() {
			if v := recover(); v != nil {
				resp, err = nil, r.panicked(v)
			}
		}()
		return handler(&s.x, &s.req)
	}
	r.serve = func(c *Conn, cmd *protocol.Command, in *protocol.Interner, at time.Time) {
		s := states.Get().(*state)
		s.x.begin(c, cmd, r)
		s.x.Received = at
		s.req = *new(Req)
		err := call.DecodeRequest(cmd, &s.req, in)
		var resp *Resp
		if err == nil {
			resp, err = invoke(s)
		}
		if s.x.held {
			if err != nil {
				s.x.answer.Reply(nil, err)
			}
			s.x.answer.release()
			return // s belongs to the holder, perhaps to somebody else already
		}
		h := protocol.Header{}
		if err == nil {
			h = call.ResponseHeader(resp)
		}
		s.x.answer.write(h, err)
		states.Put(s)
	}
	return Route{r}
}

func (x *Exchange) begin(c *Conn, cmd *protocol.Command, r *route) {
	x.Conn, x.Request, x.held = c, cmd, false
	p := &x.answer
	p.conn, p.route, p.opaque, p.version, p.language = c, r, cmd.Opaque, cmd.Version, cmd.Language
	p.encoding, p.oneway, p.status, p.remark, p.body = cmd.Encoding, cmd.IsOneway(), protocol.Success, "", p.body[:0]
	p.after = nil
	p.done.Store(false)
	if p.fields.Len() > 0 {
		p.fields = protocol.Fields{}
	}
}

func (r *route) panicked(v any) error {
	r.panics.Add(1)
	if log := r.log.Load(); log != nil {
		log.Error("handler panicked", "code", r.name, "err", fmt.Sprint(v), "stack", string(debug.Stack()))
	}
	return protocol.Errorf(protocol.SystemError, "%v", v)
}

// count is the metrics decorator: it sees each answer once.
func (r *route) count(p *Pending, err error) {
	if err == nil {
		return
	}
	r.failed.Add(1)
	if _, ours := err.(*protocol.Error); ours {
		return
	}
	if log := r.log.Load(); log != nil {
		log.Error("request failed", "code", r.name, "remote", p.conn.String(), "err", err)
	}
}

// Router finds the route of a request code.
type Router struct {
	low    [512]*route // codes of the hot calls, without a map
	high   map[int32]*route
	routes []*route
	rest   *Pool
}

// NewRouter makes a router of routes; a code may stand in it once. Routes that
// are not fast and name no pool share one.
func NewRouter(routes ...Route) *Router {
	t := &Router{high: map[int32]*route{}, rest: NewPool("rest", 16, 10000)}
	for _, row := range routes {
		r := row.r
		if t.find(r.code) != nil {
			panic(fmt.Sprintf("remoting: two routes for %s", r.name))
		}
		if r.pool == nil {
			r.pool = t.rest
		}
		if r.code >= 0 && int(r.code) < len(t.low) {
			t.low[r.code] = r
		} else {
			t.high[r.code] = r
		}
		t.routes = append(t.routes, r)
	}
	return t
}

func (t *Router) find(code int32) *route {
	if code >= 0 && int(code) < len(t.low) {
		return t.low[code]
	}
	return t.high[code]
}

func (t *Router) setLog(log *slog.Logger) {
	for _, r := range t.routes {
		r.log.Store(log)
	}
}

// Has says whether a route answers code.
func (t *Router) Has(code int32) bool { return t.find(code) != nil }

// RouteStats are the counters of one route since the start.
type RouteStats struct {
	Code                           int32
	Name                           string
	Requests, Failed, Busy, Panics int64
}

// Stats returns the counters of every route that was used, sorted by code.
func (t *Router) Stats() []RouteStats {
	var s []RouteStats
	for _, r := range t.routes {
		if n := r.requests.Load(); n > 0 {
			s = append(s, RouteStats{r.code, r.name, n, r.failed.Load(), r.busy.Load(), r.panics.Load()})
		}
	}
	sort.Slice(s, func(i, j int) bool { return s[i].Code < s[j].Code })
	return s
}

const (
	rejected   = "[REJECTREQUEST]system busy, start flow control for a while"
	overloaded = "[OVERLOAD]system busy, start flow control for a while"
)

// serve is called by the reader with a command that is a view of its buffer.
func (t *Router) serve(c *Conn, cmd *protocol.Command) {
	r := t.find(cmd.Code)
	if r == nil {
		c.refuse(cmd, protocol.RequestCodeNotSupported, fmt.Sprintf(" request type %d not supported", cmd.Code))
		return
	}
	r.requests.Add(1)
	if r.reject != nil && r.reject() {
		r.busy.Add(1)
		c.refuse(cmd, protocol.SystemBusy, rejected)
		return
	}
	if r.fast {
		r.serve(c, cmd, &c.in, c.now)
		return
	}
	own := cmd.Clone()
	if !r.pool.submit(job{route: r, conn: c, cmd: own, at: c.now}) {
		r.busy.Add(1)
		c.refuse(cmd, protocol.SystemBusy, overloaded)
	}
}

// refuse answers before any handler; like every answer it stays in the
// out-buffer until flush.
func (c *Conn) refuse(cmd *protocol.Command, status int32, remark string) {
	if cmd.IsOneway() {
		return
	}
	_ = c.append(&protocol.Command{
		Code: status, Language: c.hub.language, Version: c.hub.version, Opaque: cmd.Opaque,
		Flag: protocol.FlagResponse, Remark: remark, Encoding: cmd.Encoding,
	}, protocol.Header{}, nil)
}
