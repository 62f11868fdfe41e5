package jsonfile

import (
	"testing"

	"rmqctl/internal/vfs"
)

func FuzzSums(f *testing.F) {
	f.Add(sumList{{crc: 7, size: 3, time: 1 << 60}, {crc: 1, size: 0, time: -1}}.text())
	f.Add([]byte("00000007 3\n\nffffffffff 1 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m := vfs.NewMem()
		if err := m.MkdirAll("/c", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeSynced(m, file+sums, text, 0o640); err != nil {
			t.Fatal(err)
		}
		first := readSums(m, file)
		if err := writeSynced(m, file+sums, first.text(), 0o640); err != nil {
			t.Fatal(err)
		}
		again := readSums(m, file)
		if len(again) != len(first) {
			t.Fatalf("%v, written and read again %v", first, again)
		}
		for i := range first {
			if first[i] != again[i] {
				t.Fatalf("%v, written and read again %v", first[i], again[i])
			}
		}
	})
}
