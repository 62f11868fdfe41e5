// Checksums of the last bytes before a place of a log.

package ha

import (
	"fmt"
	"hash/crc32"

	"rmqctl/broker/ha/decide"
)

// readable is a log that can be read where it is held.
type readable interface {
	MinPhysical() int64
	MaxPhysical() int64
	SegmentSize() int64
	// ReadLog reads at off without crossing a segment or the end of the log; 0, nil at the end.
	ReadLog(off int64, buf []byte) (int, error)
}

// sum is the CRC32C of the Len bytes before Off. They lie in one segment, so whoever has the byte before Off has all.
type sum struct {
	Off int64  `json:"off"`
	Len int64  `json:"len"`
	CRC uint32 `json:"crc"`
}

// A window that holds nothing but zeros (the blank at the end of a segment) proves nothing: it is widened.
const (
	sumWindow    = 64 << 10
	sumWindowMax = 8 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sumAt is false when there is nothing before off in its segment that could be told apart.
func sumAt(log readable, off int64) (s sum, ok bool, err error) {
	base := max((off-1)/log.SegmentSize()*log.SegmentSize(), log.MinPhysical())
	for n := int64(sumWindow); ; n *= 8 {
		n = min(n, off-base)
		if n <= 0 {
			return sum{}, false, nil
		}
		crc, blank, err := crcOf(log, off-n, n)
		if err != nil {
			return sum{}, false, err
		}
		if !blank {
			return sum{off, n, crc}, true, nil
		}
		if n == off-base || n >= sumWindowMax {
			return sum{}, false, nil
		}
	}
}

func crcOf(log readable, at, n int64) (crc uint32, blank bool, err error) {
	blank = true
	buf := make([]byte, min(n, sumWindow))
	for n > 0 {
		k, err := log.ReadLog(at, buf[:min(n, int64(len(buf)))])
		if err == nil && k == 0 {
			err = fmt.Errorf("the log ends at %d", at)
		}
		if err != nil {
			return 0, false, fmt.Errorf("checksum of the log at %d: %w", at, err)
		}
		crc = crc32.Update(crc, castagnoli, buf[:k])
		for _, c := range buf[:k] {
			if c != 0 {
				blank = false
				break
			}
		}
		at, n = at+int64(k), n-int64(k)
	}
	return crc, blank, nil
}

// compare holds a slave's sums against this log.
func compare(log readable, theirs []sum) func(off int64) decide.Sameness {
	return func(off int64) decide.Sameness {
		for _, s := range theirs {
			if s.Off != off {
				continue
			}
			if s.Len <= 0 || s.Len > sumWindowMax || off-s.Len < log.MinPhysical() || off > log.MaxPhysical() {
				return decide.Unknown
			}
			switch crc, _, err := crcOf(log, off-s.Len, s.Len); {
			case err != nil:
				return decide.Unknown
			case crc == s.CRC:
				return decide.Same
			}
			return decide.Different
		}
		return decide.Unknown
	}
}
