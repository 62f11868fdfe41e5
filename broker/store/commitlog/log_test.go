package commitlog

import (
	"testing"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

func TestNextSegmentIsMadeBeforeItIsNeeded(t *testing.T) {
	const size = 4096
	for _, from := range []int64{0, size / 2, size - 100} { // where the log ended when it was opened
		m := vfs.NewMem()
		cache := &segment.Cache{FS: m, Max: 8}
		l, _, err := Open(m, "/log", size, cache, NewTail(0, 4096))
		if err != nil {
			t.Fatal(err)
		}
		l.SetEnd(from, from)
		for off := from; off < size; off += 50 {
			put(t, l, off, make([]byte, min(50, size-off)))
			l.wg.Wait()
			if n, want := len(l.Segments()), 2; off+50 >= size/2 && n != want || off+50 < size/2 && n != 1 {
				t.Fatalf("opened at %d: %d segments at %d", from, n, off)
			}
		}
		l.Close()
	}
}

// Making a segment ahead may fail as long as the disk is full: the write that needs it tries again.
func TestSegmentThatCouldNotBeMadeAheadIsMadeWhenNeeded(t *testing.T) {
	const size = 4096
	full := false
	m := &vfs.Fault{FS: vfs.NewMem(), Before: func(op vfs.Op) error {
		if full && (op.Kind == "create" || op.Kind == "truncate") {
			return vfs.ErrNoSpace
		}
		return nil
	}}
	l, _, err := Open(m, "/log", size, &segment.Cache{FS: m, Max: 8}, NewTail(0, 4096))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	put(t, l, 0, []byte("x"))
	full = true
	put(t, l, 1, make([]byte, size-1))
	l.wg.Wait()
	if err := l.WriteAt([]byte("y"), size); !vfs.IsNoSpace(err) {
		t.Fatalf("with a full disk: %v", err)
	}
	full = false
	put(t, l, size, []byte("y"))
}
