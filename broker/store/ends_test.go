package store

import (
	"reflect"
	"testing"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
)

func someEnds() pastEnds {
	return pastEnds{safe: 12345, index: []index.FileInfo{{Name: "20261121190726707", Next: 12, EndPhys: 11000}}, queues: []consumequeue.Past{
		{Topic: "A", ID: 0, First: 0, End: 7, Last: consumequeue.Unit{Phys: 700, Size: 100}},
		{Topic: "%RETRY%g", ID: 3, First: 300000, End: 300001, Last: consumequeue.Unit{Phys: 1 << 40, Size: 113}},
	}}
}

func TestEndsRoundTrip(t *testing.T) {
	b := encodeEnds(someEnds())
	past, ok := decodeEnds(b)
	if !ok || !reflect.DeepEqual(past, someEnds()) {
		t.Fatal(past, ok)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 4
		if _, ok := decodeEnds(c); ok {
			t.Errorf("a flipped bit in byte %d goes unnoticed", i)
		}
	}
}

func FuzzEnds(f *testing.F) {
	f.Add(encodeEnds(someEnds()))
	f.Add(encodeEnds(pastEnds{}))
	f.Fuzz(func(t *testing.T, b []byte) {
		past, ok := decodeEnds(b)
		if ok && string(encodeEnds(past)) != string(b) {
			t.Errorf("%q does not come back", b)
		}
	})
}
