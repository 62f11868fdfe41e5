package inspect

import (
	"context"
	"encoding/json"
	"testing"

	"rmqctl/internal/vfs"
)

// FuzzCheck overwrites bytes of any file of a store: looking at it neither fails nor ends the program.
func FuzzCheck(f *testing.F) {
	const dir = "/store"
	m := vfs.NewMem()
	aStore(f, m, dir, 60)
	if err := vfs.MakeDirs(m, dir+"/config", 0o755); err != nil {
		f.Fatal(err)
	}
	write(f, m, dir+"/config/topics.json", []byte(`{"topicConfigTable":{"A":{},"B":{}}}`))
	names := files(f, m, dir)
	f.Add(0, 100, []byte("damage"))
	f.Add(3, 36, []byte{0x7f, 0xff, 0xff, 0xff})
	f.Add(5, 0, []byte{0xDA, 0xA3, 0x20, 0xA7})
	f.Fuzz(func(t *testing.T, which, at int, bytes []byte) {
		m := m.Clone()
		name := names[uint(which)%uint(len(names))]
		b := read(t, m, name)
		if len(b) > 0 {
			copy(b[uint(at)%uint(len(b)):], bytes)
		}
		write(t, m, name, b)
		d, err := Open(m, Options{Dir: dir, SegmentSize: 4096, QueueSegmentSize: 200, IndexSlots: 50, IndexEntries: 40})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := d.Plan(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, w := range []Want{{}, {Topic: "A", Queue: 0, ByOffsets: true, Last: -1}, {Key: "key3"}} {
			if err := d.Records(context.Background(), w, func(Line) error { return nil }); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := d.Index(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzQuoteKeys(f *testing.F) {
	f.Add([]byte(`{"a":{0:12,-1:13},"b":[1,2,{3:4}],"c":"x{1:\"2"}`))
	f.Add([]byte("{\n\t\"offsetTable\":{\n\t\t\"T@G\":{0:12,1:13\n\t\t}\n\t}\n}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if json.Valid(b) && string(quoteKeys(b)) != string(b) {
			t.Errorf("%q became %q", b, quoteKeys(b))
		}
	})
}
