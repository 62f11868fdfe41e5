package store

import (
	"reflect"
	"testing"

	"rmqctl/broker/store/consumequeue"
)

func someEnds() []consumequeue.Past {
	return []consumequeue.Past{
		{Topic: "A", ID: 0, First: 0, End: 7, Last: consumequeue.Unit{Phys: 700, Size: 100}},
		{Topic: "%RETRY%g", ID: 3, First: 300000, End: 300001, Last: consumequeue.Unit{Phys: 1 << 40, Size: 113}},
	}
}

func TestEndsRoundTrip(t *testing.T) {
	b := encodeEnds(someEnds(), 12345)
	ends, safe, ok := decodeEnds(b)
	if !ok || safe != 12345 || !reflect.DeepEqual(ends, someEnds()) {
		t.Fatal(ends, safe, ok)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 4
		if _, _, ok := decodeEnds(c); ok {
			t.Errorf("a flipped bit in byte %d goes unnoticed", i)
		}
	}
}

func FuzzEnds(f *testing.F) {
	f.Add(encodeEnds(someEnds(), 5))
	f.Add(encodeEnds(nil, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		ends, safe, ok := decodeEnds(b)
		if ok && string(encodeEnds(ends, safe)) != string(b) {
			t.Errorf("%q does not come back", b)
		}
	})
}
