// The JSON header encoding, read by a hand scanner. It accepts more than JSON
// (bare numbers as field values, control characters in strings) because the
// peers' parsers do, and it never allocates: fields are offsets into the frame
// and escapes are resolved in place (the result is never longer).
package protocol

import (
	"strconv"
)

func parseJSON(b []byte, c *Command) error {
	s := scanner{b: b}
	if !s.open('{') {
		return s.fail("object expected")
	}
	c.Fields.buf = b
	for first := true; !s.close('}'); first = false {
		if !first && !s.open(',') {
			return s.fail("comma expected")
		}
		k, kEnd, ok := s.str()
		if !ok || !s.open(':') {
			return s.fail("key expected")
		}
		if !s.headerMember(b[k:kEnd], c) {
			return s.fail("bad member " + strconv.Quote(string(b[k:kEnd])))
		}
	}
	if s.space(); s.i != len(b) {
		return s.fail("text after the object")
	}
	return nil
}

func (s *scanner) headerMember(key []byte, c *Command) bool {
	switch string(key) {
	case "code":
		return s.int32(&c.Code)
	case "opaque":
		return s.int32(&c.Opaque)
	case "flag":
		return s.int32(&c.Flag)
	case "version":
		return s.int32(&c.Version)
	case "language":
		v, end, ok := s.scalar()
		if ok && end > v {
			c.Language = ParseLanguage(s.b[v:end])
		}
		return ok
	case "remark":
		v, end, ok := s.scalar()
		if ok {
			c.Remark = string(s.b[v:end])
		}
		return ok
	case "extFields":
		c.Fields.ents = c.Fields.ents[:0]
		return s.extFields(c)
	}
	return s.skip(0)
}

func (s *scanner) extFields(c *Command) bool {
	if s.null() {
		return true
	}
	if !s.open('{') {
		return false
	}
	for first := true; !s.close('}'); first = false {
		if !first && !s.open(',') {
			return false
		}
		k, kEnd, ok := s.oneLetter()
		if !ok {
			if k, kEnd, ok = s.str(); !ok || !s.open(':') {
				return false
			}
		}
		v, vEnd := 0, 0
		if s.i < len(s.b) && s.b[s.i] == '"' {
			v, vEnd, ok = s.str()
		} else if s.null() {
			continue
		} else {
			v, vEnd, ok = s.scalar()
		}
		if !ok {
			return false
		}
		c.Fields.ents = append(c.Fields.ents, fieldEnt{int32(k), int32(kEnd), int32(v), int32(vEnd)})
	}
	return true
}

// oneLetter takes a key of one letter and its colon, as the fields of the hottest request have them.
func (s *scanner) oneLetter() (key, end int, ok bool) {
	if i := s.i; i+4 <= len(s.b) && s.b[i] == '"' && s.b[i+2] == '"' && s.b[i+3] == ':' && s.b[i+1] != '\\' {
		s.i = i + 4
		return i + 1, i + 2, true
	}
	return 0, 0, false
}

func appendJSON(dst []byte, c *Command, h Header) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(c.Code), 10)
	if c.Fields.Len() > 0 || h.plan != nil {
		dst = append(dst, `,"extFields":{`...)
		at := len(dst)
		f := &c.Fields
		for _, e := range f.ents {
			dst = appendString(dst, f.buf[e.key:e.keyEnd])
			dst = append(dst, ':')
			dst = appendString(dst, f.buf[e.val:e.valEnd])
			dst = append(dst, ',')
		}
		if h.plan != nil {
			dst = h.plan.appendJSON(dst, h.ptr)
		}
		if len(dst) > at {
			dst = dst[:len(dst)-1] // the last comma
		}
		dst = append(dst, '}')
	}
	dst = append(dst, `,"flag":`...)
	dst = strconv.AppendInt(dst, int64(c.Flag), 10)
	dst = append(dst, `,"language":"`...)
	dst = append(dst, c.Language.String()...)
	dst = append(dst, `","opaque":`...)
	dst = strconv.AppendInt(dst, int64(c.Opaque), 10)
	if c.Remark != "" {
		dst = append(dst, `,"remark":`...)
		dst = appendString(dst, c.Remark)
	}
	dst = append(dst, `,"serializeTypeCurrentRPC":"JSON","version":`...)
	dst = strconv.AppendInt(dst, int64(c.Version), 10)
	return append(dst, '}')
}

const hexDigits = "0123456789abcdef"

// appendString appends s quoted. Only what JSON forbids is escaped: quote,
// backslash and control characters.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = append(dst, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		ch := s[i]
		if ch >= 0x20 && ch != '"' && ch != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		switch ch {
		case '"', '\\':
			dst = append(dst, '\\', ch)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[ch>>4], hexDigits[ch&15])
		}
		from = i + 1
	}
	dst = append(dst, s[from:]...)
	return append(dst, '"')
}
