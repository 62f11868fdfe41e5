// The outer frame, the same in both directions and both encodings:
//
//	| length 4 | type 1 | headerLen 3 | header | body |
//
// length counts everything after itself. There is no magic and no handshake.
package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// MaxFrame bounds length+4: a longer frame is a broken or hostile peer.
const MaxFrame = 16 << 20

const prefixLen = 8

var (
	// ErrFrame: the bytes are no frame; the connection cannot be used further.
	ErrFrame = errors.New("bad frame")
	// ErrFrameTooLarge: the frame is longer than MaxFrame.
	ErrFrameTooLarge = fmt.Errorf("%w: longer than %d bytes", ErrFrame, MaxFrame)
)

// FrameLen returns the size of the frame that b begins with, or 0 when b does
// not even hold its length. The frame itself may be incomplete.
func FrameLen(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(b)
	if n > MaxFrame-4 {
		return 0, ErrFrameTooLarge
	}
	if n < 4 {
		return 0, fmt.Errorf("%w: length %d", ErrFrame, n)
	}
	return int(n) + 4, nil
}

// Parse fills c from exactly one frame. c becomes a view of frame; escapes are
// resolved in place, so the frame's bytes change and can be parsed only once.
func Parse(frame []byte, c *Command) error {
	c.Reset()
	if len(frame) < prefixLen {
		return fmt.Errorf("%w: %d bytes", ErrFrame, len(frame))
	}
	n := int(frame[5])<<16 | int(frame[6])<<8 | int(frame[7])
	if n > len(frame)-prefixLen {
		return fmt.Errorf("%w: header of %d bytes in %d", ErrFrame, n, len(frame))
	}
	header := frame[prefixLen : prefixLen+n : prefixLen+n]
	if body := frame[prefixLen+n:]; len(body) > 0 {
		c.Body = body[:len(body):len(body)]
	}
	c.Encoding = Encoding(frame[4])
	switch c.Encoding {
	case JSON:
		return parseJSON(header, c)
	case Binary:
		return parseBinary(header, c)
	}
	return fmt.Errorf("%w: serialize type %d", ErrFrame, frame[4])
}

// AppendFrame appends c, with the typed header h after its Fields and with the
// bodies after its Body. h may be nil.
func AppendFrame(dst []byte, c *Command, h Header, bodies ...[]byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0, byte(c.Encoding), 0, 0, 0)
	if c.Encoding == Binary {
		dst = appendBinary(dst, c, h)
	} else {
		dst = appendJSON(dst, c, h)
	}
	n := len(dst) - at - prefixLen
	dst = append(dst, c.Body...)
	if len(bodies) > 1 { // grow once, not with every message of a pull
		total := 0
		for _, b := range bodies {
			total += len(b)
		}
		dst = slices.Grow(dst, total)
	}
	for _, b := range bodies {
		dst = append(dst, b...)
	}
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	dst[at+5], dst[at+6], dst[at+7] = byte(n>>16), byte(n>>8), byte(n)
	return dst
}
