// The ROCKETMQ header encoding:
//
//	| code 2 | language 1 | version 2 | opaque 4 | flag 4 | remarkLen 4 | remark |
//	| fieldsLen 4 | { keyLen 2 | key | valueLen 4 | value } … |
package protocol

import (
	"encoding/binary"
	"fmt"
)

const binaryFixed = 21

func parseBinary(b []byte, c *Command) error {
	if len(b) < binaryFixed {
		return fmt.Errorf("%w: binary header of %d bytes", ErrFrame, len(b))
	}
	c.Code = int32(int16(binary.BigEndian.Uint16(b)))
	c.Language = Language(b[2])
	c.Version = int32(int16(binary.BigEndian.Uint16(b[3:])))
	c.Opaque = int32(binary.BigEndian.Uint32(b[5:]))
	c.Flag = int32(binary.BigEndian.Uint32(b[9:]))
	n := int(int32(binary.BigEndian.Uint32(b[13:])))
	if n < 0 || n > len(b)-binaryFixed {
		return fmt.Errorf("%w: remark of %d bytes", ErrFrame, n)
	}
	if n > 0 {
		c.Remark = string(b[17 : 17+n])
	}
	at := 17 + n
	m := int(int32(binary.BigEndian.Uint32(b[at:])))
	at += 4
	if m < 0 || m > len(b)-at {
		return fmt.Errorf("%w: fields of %d bytes", ErrFrame, m)
	}
	end := at + m
	c.Fields.buf = b
	for at < end {
		if end-at < 2 {
			return fmt.Errorf("%w: field cut short", ErrFrame)
		}
		k := int(int16(binary.BigEndian.Uint16(b[at:])))
		key := at + 2
		if k < 0 || k > end-key-4 {
			return fmt.Errorf("%w: key of %d bytes", ErrFrame, k)
		}
		v := int(int32(binary.BigEndian.Uint32(b[key+k:])))
		val := key + k + 4
		if v < 0 || v > end-val {
			return fmt.Errorf("%w: value of %d bytes", ErrFrame, v)
		}
		// Java reads a zero-length string as null: such a field is absent.
		if k > 0 && v > 0 {
			c.Fields.ents = append(c.Fields.ents, fieldEnt{int32(key), int32(key + k), int32(val), int32(val + v)})
		}
		at = val + v
	}
	return nil
}

func appendBinary(dst []byte, c *Command, h Header) []byte {
	be := binary.BigEndian
	dst = be.AppendUint16(dst, uint16(c.Code))
	dst = append(dst, byte(c.Language))
	dst = be.AppendUint16(dst, uint16(c.Version))
	dst = be.AppendUint32(dst, uint32(c.Opaque))
	dst = be.AppendUint32(dst, uint32(c.Flag))
	dst = be.AppendUint32(dst, uint32(len(c.Remark)))
	dst = append(dst, c.Remark...)
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	f := &c.Fields
	for _, e := range f.ents {
		dst = appendBinaryField(dst, f.buf[e.key:e.keyEnd], f.buf[e.val:e.valEnd])
	}
	if h.plan != nil {
		dst = h.plan.appendBinary(dst, h.ptr)
	}
	be.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}

func appendBinaryField(dst, key, val []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(key)))
	dst = append(dst, key...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(val)))
	return append(dst, val...)
}
