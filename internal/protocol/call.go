// A call ties a request code, its name, the right it needs and the types of
// both headers together. Declared once, it serves the one who answers
// (remoting.On) and the one who asks (remoting.Do).
package protocol

import (
	"fmt"
	"io"
	"reflect"
	"sort"
	"strings"
	"sync"
	"unsafe"
)

// Right is what a caller needs to be allowed.
type Right uint8

const (
	None  Right = iota // anyone with a valid signature
	Pub                // write to the topic of the request
	Sub                // read the topic or act for the group of the request
	Get                // look at state
	Admin              // change state
)

func (r Right) String() string {
	return [...]string{"none", "pub", "sub", "get", "admin"}[r]
}

// Call is the declaration of one request code.
type Call[Req, Resp any] struct {
	Code  int32
	Name  string
	Right Right

	once      sync.Once
	req, resp *Plan
}

// Spec is a call without its types: what tables and documents need.
type Spec struct {
	Code              int32
	Name              string
	Right             Right
	Request, Response reflect.Type
}

var registry []Spec // filled by package variables only, in order of declaration

// Define declares a call. It registers data and nothing else.
func Define[Req, Resp any](code int32, name string, right Right) *Call[Req, Resp] {
	registry = append(registry, Spec{code, name, right, reflect.TypeFor[Req](), reflect.TypeFor[Resp]()})
	return &Call[Req, Resp]{Code: code, Name: name, Right: right}
}

// Calls returns every declared call, sorted by code.
func Calls() []Spec {
	s := append([]Spec(nil), registry...)
	sort.Slice(s, func(i, j int) bool { return s[i].Code < s[j].Code })
	return s
}

// CodeName names a request code for logs: "SEND_MESSAGE_V2" or "code 4711".
func CodeName(code int32) string {
	codeNames.once.Do(func() {
		codeNames.m = make(map[int32]string, len(registry))
		for _, s := range registry {
			codeNames.m[s.Code] = s.Name
		}
	})
	if n, ok := codeNames.m[code]; ok {
		return n
	}
	return fmt.Sprintf("code %d", code)
}

var codeNames struct {
	once sync.Once
	m    map[int32]string
}

func (c *Call[Req, Resp]) plans() {
	c.once.Do(func() {
		c.req, c.resp = planOf(reflect.TypeFor[Req]()), planOf(reflect.TypeFor[Resp]())
	})
}

// DecodeRequest fills q, which must be zero, and insists on fields that must
// be there. in may be nil.
func (c *Call[Req, Resp]) DecodeRequest(cmd *Command, q *Req, in *Interner) error {
	c.plans()
	return c.req.decode(&cmd.Fields, unsafe.Pointer(q), in, true)
}

// DecodeResponse fills r, which must be zero. Absent fields stay zero: failures carry none.
func (c *Call[Req, Resp]) DecodeResponse(cmd *Command, r *Resp) error {
	c.plans()
	return c.resp.decode(&cmd.Fields, unsafe.Pointer(r), nil, false)
}

// RequestHeader makes q ready for AppendFrame; nil means no header.
func (c *Call[Req, Resp]) RequestHeader(q *Req) Header {
	c.plans()
	return c.req.header(unsafe.Pointer(q))
}

// ResponseHeader makes r ready for AppendFrame; nil means no header.
func (c *Call[Req, Resp]) ResponseHeader(r *Resp) Header {
	c.plans()
	return c.resp.header(unsafe.Pointer(r))
}

// Request builds the command that asks for this call.
func (c *Call[Req, Resp]) Request(q *Req, body []byte) *Command {
	c.plans()
	cmd := &Command{Code: c.Code, Language: LanguageGo, Version: CurrentVersion, Body: body}
	if q != nil {
		c.req.fieldsInto(&cmd.Fields, unsafe.Pointer(q))
	}
	return cmd
}

// WriteDoc prints docs/REQUEST_CODES.md. answered tells who of us answers a
// code ("broker", "name server", "client"), or "".
func WriteDoc(w io.Writer, answered func(code int32) string) error {
	var b strings.Builder
	b.WriteString("# Request codes\n\nGenerated from internal/protocol; do not edit.\n\n")
	b.WriteString("`name*` must be present, `name?` may be absent.\n\n")
	b.WriteString("| code | name | answered by | right | request | response |\n|---|---|---|---|---|---|\n")
	for _, s := range Calls() {
		fmt.Fprintf(&b, "| %d | %s | %s | %s | %s | %s |\n", s.Code, s.Name, answered(s.Code), s.Right, docFields(s.Request), docFields(s.Response))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func docFields(t reflect.Type) string {
	var names []string
	for _, f := range planOf(t).fields {
		n := f.name
		switch {
		case f.must:
			n += "*"
		case f.opt || f.kind >= kindPtr:
			n += "?"
		}
		names = append(names, "`"+n+"`")
	}
	return strings.Join(names, " ")
}
