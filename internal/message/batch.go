package message

// The body of a batch send: elements one after the other.
//
//	| size 4 | magic 4 = 0 | bodyCRC 4 = 0 | flag 4 | bodyLength 4 | body | propertiesLength 2 | properties |

import "fmt"

const batchOverhead = 22

// BatchItem is one message of a batch. Its slices point into the batch body.
type BatchItem struct {
	Flag       int32
	Body       []byte
	Properties []byte
}

// SplitBatch takes a batch body apart.
func SplitBatch(body []byte) ([]BatchItem, error) {
	var items []BatchItem
	for at := 0; at < len(body); {
		b := body[at:]
		if len(b) < batchOverhead {
			return nil, fmt.Errorf("%w: batch element at %d", ErrShort, at)
		}
		size := int(int32(be.Uint32(b)))
		if size < batchOverhead || size > len(b) {
			return nil, fmt.Errorf("%w: batch element of %d at %d", ErrBadSize, size, at)
		}
		n := int(int32(be.Uint32(b[16:])))
		if n < 0 || n > size-batchOverhead {
			return nil, fmt.Errorf("%w: body of %d in a batch element of %d", ErrBadSize, n, size)
		}
		p := int(int16(be.Uint16(b[20+n:])))
		if p < 0 || batchOverhead+n+p != size {
			return nil, fmt.Errorf("%w: properties of %d in a batch element of %d", ErrBadSize, p, size)
		}
		items = append(items, BatchItem{
			Flag: int32(be.Uint32(b[12:])),
			Body: b[20 : 20+n : 20+n], Properties: b[22+n : size : size],
		})
		at += size
	}
	return items, nil
}

// AppendBatchItem appends one element to a batch body.
func AppendBatchItem(dst []byte, it BatchItem) []byte {
	dst = be.AppendUint32(dst, uint32(batchOverhead+len(it.Body)+len(it.Properties)))
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0)
	dst = be.AppendUint32(dst, uint32(it.Flag))
	dst = be.AppendUint32(dst, uint32(len(it.Body)))
	dst = append(dst, it.Body...)
	dst = be.AppendUint16(dst, uint16(len(it.Properties)))
	return append(dst, it.Properties...)
}
