// The scanner under JSON headers and bodies.
package protocol

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner walks one JSON text. Every method leaves i behind what it took, or
// returns false.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) fail(what string) error {
	return fmt.Errorf("%w: JSON at %d: %s", ErrFrame, s.i, what)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) open(ch byte) bool {
	if s.i < len(s.b) && s.b[s.i] == ch {
		s.i++
		return true
	}
	s.space()
	if s.i < len(s.b) && s.b[s.i] == ch {
		s.i++
		return true
	}
	return false
}

// close is open under the name that reads better at the end of a loop.
func (s *scanner) close(ch byte) bool { return s.open(ch) }

func (s *scanner) peek() byte {
	s.space()
	if s.i < len(s.b) {
		return s.b[s.i]
	}
	return 0
}

func (s *scanner) null() bool {
	if s.peek() == 'n' && bytes.HasPrefix(s.b[s.i:], []byte("null")) {
		s.i += 4
		return true
	}
	return false
}

// shortString: up to here a simple loop is fastest.
const shortString = 12

// str takes a quoted string and returns where its unescaped text lies.
func (s *scanner) str() (start, end int, ok bool) {
	if !s.open('"') {
		return 0, 0, false
	}
	b := s.b
	start = s.i
	for i := start; i < len(b); i++ {
		if ch := b[i]; ch == '"' {
			s.i = i + 1
			return start, i, true
		} else if ch == '\\' {
			return s.unescape(start, i)
		}
		if i == start+shortString {
			i += plain(b[i:]) - 1
		}
	}
	return 0, 0, false
}

// unescape rewrites the string that began at start; at is its first backslash. What lies between two escapes moves in one
// piece: properties are a dozen such pieces.
func (s *scanner) unescape(start, at int) (int, int, bool) {
	b, w := s.b, at
	for r := at; r < len(b); {
		if ch := b[r]; ch != '\\' {
			n := plain(b[r:])
			copy(b[w:], b[r:r+n])
			w, r = w+n, r+n
			if r < len(b) && b[r] == '"' {
				s.i = r + 1
				return start, w, true
			}
			continue
		}
		if r+1 >= len(b) {
			return 0, 0, false
		}
		r += 2
		switch b[r-1] {
		case 'u':
			u, ok := hex4(b[r:])
			if !ok {
				return 0, 0, false
			}
			r += 4
			if u < utf8.RuneSelf {
				b[w] = byte(u)
				w++
				continue
			}
			if utf16.IsSurrogate(u) {
				u, r = surrogate(b, r, u)
			}
			w += utf8.EncodeRune(b[w:w+utf8.RuneLen(u)], u)
		case '"', '\\', '/', '\'':
			b[w] = b[r-1]
			w++
		case 'b':
			b[w] = '\b'
			w++
		case 'f':
			b[w] = '\f'
			w++
		case 'n':
			b[w] = '\n'
			w++
		case 'r':
			b[w] = '\r'
			w++
		case 't':
			b[w] = '\t'
			w++
		default:
			return 0, 0, false
		}
	}
	return 0, 0, false
}

// plain is how many bytes come before a quote or a backslash.
func plain(b []byte) int {
	n := 0
	for ; n+8 <= len(b); n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		if m := zeroBytes(x^quotes) | zeroBytes(x^backslashes); m != 0 {
			return n + bits.TrailingZeros64(m)/8
		}
	}
	for n < len(b) && b[n] != '"' && b[n] != '\\' {
		n++
	}
	return n
}

const (
	ones        = 0x0101010101010101
	highs       = 0x8080808080808080
	quotes      = ones * '"'
	backslashes = ones * '\\'
)

// zeroBytes has the high bit set in the lowest byte of x that is zero, and maybe in some above it.
func zeroBytes(x uint64) uint64 { return (x - ones) &^ x & highs }

// surrogate joins u with the escape at r; a lone half becomes U+FFFD.
func surrogate(b []byte, r int, u rune) (rune, int) {
	if r+6 <= len(b) && b[r] == '\\' && b[r+1] == 'u' {
		if lo, ok := hex4(b[r+2:]); ok {
			if full := utf16.DecodeRune(u, lo); full != utf8.RuneError {
				return full, r + 6
			}
		}
	}
	return utf8.RuneError, r
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	var u rune
	for _, ch := range b[:4] {
		switch {
		case ch >= '0' && ch <= '9':
			ch -= '0'
		case ch >= 'a' && ch <= 'f':
			ch -= 'a' - 10
		case ch >= 'A' && ch <= 'F':
			ch -= 'A' - 10
		default:
			return 0, false
		}
		u = u<<4 | rune(ch)
	}
	return u, true
}

// scalar takes a string, a number, true, false or null (an empty span).
func (s *scanner) scalar() (start, end int, ok bool) {
	switch s.peek() {
	case '"':
		return s.str()
	case 'n':
		return s.i, s.i, s.null()
	}
	start = s.i
	for s.i < len(s.b) {
		switch ch := s.b[s.i]; {
		case ch >= '0' && ch <= '9', ch >= 'a' && ch <= 'z', ch >= 'A' && ch <= 'Z', ch == '-', ch == '+', ch == '.':
			s.i++
			continue
		}
		break
	}
	return start, s.i, s.i > start
}

func (s *scanner) int32(dst *int32) bool {
	v, end, ok := s.scalar()
	if !ok {
		return false
	}
	if v == end {
		return true // null or "": the default stays
	}
	n, ok := parseInt(s.b[v:end])
	if !ok || n != int64(int32(n)) {
		return false
	}
	*dst = int32(n)
	return true
}

// maxDepth bounds nesting in skipped values.
const maxDepth = 64

func (s *scanner) skip(depth int) bool {
	if depth > maxDepth {
		return false
	}
	switch s.peek() {
	case '{':
		s.i++
		for first := true; !s.close('}'); first = false {
			if !first && !s.open(',') {
				return false
			}
			// fastjson writes objects and numbers as keys
			if !s.skip(depth+1) || !s.open(':') || !s.skip(depth+1) {
				return false
			}
		}
		return true
	case '[':
		s.i++
		for first := true; !s.close(']'); first = false {
			if !first && !s.open(',') {
				return false
			}
			if !s.skip(depth + 1) {
				return false
			}
		}
		return true
	}
	if s.peek() == '"' {
		return s.skipStr()
	}
	_, _, ok := s.scalar()
	return ok
}

// skipStr is str that leaves the bytes as they are.
func (s *scanner) skipStr() bool {
	for i := s.i + 1; i < len(s.b); i++ {
		switch s.b[i] {
		case '\\':
			i++
		case '"':
			s.i = i + 1
			return true
		}
	}
	return false
}

// parseInt reads a decimal int64 without allocating.
func parseInt(b []byte) (int64, bool) {
	neg := false
	if len(b) > 1 && (b[0] == '-' || b[0] == '+') {
		neg, b = b[0] == '-', b[1:]
	}
	if len(b) == 0 || len(b) > 19 {
		return 0, false
	}
	var n uint64
	for _, ch := range b {
		if ch < '0' || ch > '9' {
			return 0, false
		}
		n = n*10 + uint64(ch-'0')
	}
	if neg {
		return -int64(n), n <= 1<<63
	}
	return int64(n), n < 1<<63
}
