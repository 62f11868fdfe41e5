// Answers, looked at with as little work as they allow.
package load

import (
	"bytes"
	"encoding/binary"
	"net"

	"rmqctl/internal/protocol"
)

// answer is a response frame: what it answers, how, and what it carries.
type answer struct {
	code   int32
	opaque int32
	header []byte
	body   []byte
	json   bool
}

// splitAnswer takes the frame at the start of b apart; n is 0 when b does not hold all of it.
func splitAnswer(b []byte, a *answer) (n int, err error) {
	n, err = protocol.FrameLen(b)
	if err != nil || n == 0 || n > len(b) || n < 8 {
		return 0, err
	}
	h := int(b[5])<<16 | int(b[6])<<8 | int(b[7])
	if h > n-8 {
		return 0, protocol.ErrFrame
	}
	a.header, a.body, a.json = b[8:8+h], b[8+h:n], b[4] == byte(protocol.JSON)
	if !a.json {
		if h < 9 {
			return 0, protocol.ErrFrame
		}
		a.code = int32(int16(binary.BigEndian.Uint16(a.header)))
		a.opaque = int32(binary.BigEndian.Uint32(a.header[5:]))
		return n, nil
	}
	code, ok := a.number(`"code":`)
	opaque, ok2 := a.number(`"opaque":`)
	if !ok || !ok2 {
		return 0, protocol.ErrFrame
	}
	a.code, a.opaque = int32(code), int32(opaque)
	return n, nil
}

// number reads the integer behind a key of a JSON header; a header field's stands in quotes.
func (a *answer) number(key string) (int64, bool) {
	at := bytes.Index(a.header, []byte(key))
	if at < 0 {
		return 0, false
	}
	b := a.header[at+len(key):]
	if len(b) > 0 && b[0] == '"' {
		b = b[1:]
	}
	n, neg, i := int64(0), false, 0
	if len(b) > 0 && b[0] == '-' {
		neg, i = true, 1
	}
	from := i
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		n = n*10 + int64(b[i]-'0')
	}
	if neg {
		n = -n
	}
	return n, i > from
}

// field is a header field with a number in it.
func (a *answer) field(name string) (int64, bool) {
	if a.json {
		return a.number(`"` + name + `":`)
	}
	k := append(binary.BigEndian.AppendUint16(nil, uint16(len(name))), name...)
	at := bytes.Index(a.header, k)
	if at < 0 || len(a.header) < at+len(k)+4 {
		return 0, false
	}
	v := a.header[at+len(k):]
	m := int(binary.BigEndian.Uint32(v))
	if m > len(v)-4 {
		return 0, false
	}
	b := answer{header: append([]byte("v"), v[4:4+m]...), json: true}
	return b.number("v")
}

// remark is a failure in the broker's words.
func (a *answer) failure() error {
	e := &protocol.Error{Status: a.code}
	key := []byte(`"remark":"`)
	if at := bytes.Index(a.header, key); a.json && at >= 0 {
		text := a.header[at+len(key):]
		if end := bytes.IndexByte(text, '"'); end >= 0 {
			e.Remark = string(text[:end])
		}
	}
	return e
}

// reader cuts a connection's bytes into answers.
type reader struct {
	conn net.Conn
	buf  []byte
	have int // bytes in buf not yet handed out begin at at and end here
	at   int
}

func newReader(c net.Conn) *reader { return &reader{conn: c, buf: make([]byte, 128<<10)} }

// fill waits for more bytes.
func (r *reader) fill() error {
	if r.at > 0 {
		copy(r.buf, r.buf[r.at:r.have])
		r.have, r.at = r.have-r.at, 0
	}
	if r.have == len(r.buf) {
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.conn.Read(r.buf[r.have:])
	r.have += n
	if n > 0 {
		return nil
	}
	return err
}

// next is false when another fill is needed. The answer is valid until then.
func (r *reader) next(a *answer) (bool, error) {
	n, err := splitAnswer(r.buf[r.at:r.have], a)
	r.at += n
	return n > 0, err
}
