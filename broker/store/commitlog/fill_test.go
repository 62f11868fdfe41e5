package commitlog

import (
	"bytes"
	"math/rand/v2"
	"sync"
	"testing"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

// filling opens a log in memory with a filler as small as its segments.
func filling(t *testing.T, fsys vfs.FS, size int64) *Log {
	t.Helper()
	l, _, err := Open(fsys, "/log", size, &segment.Cache{FS: fsys, Max: 8}, NewTail(0, 4096))
	if err != nil {
		t.Fatal(err)
	}
	l.fill.slice, l.fill.margin, l.fill.window = 512, 1024, 8192
	l.fill.failed.Store(false)
	l.Fill(true)
	return l
}

func put(t *testing.T, l *Log, off int64, b []byte) {
	t.Helper()
	if err := l.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	l.Advance(off + int64(len(b)))
}

func TestFillingGoesAWindowAheadAndThenStops(t *testing.T) {
	l := filling(t, vfs.NewMem(), 64<<10)
	defer l.Close()
	put(t, l, 0, bytes.Repeat([]byte("x"), 300))
	select {
	case <-l.FillWanted():
	default:
		t.Fatal("the first write does not wake the filler")
	}
	n := 0
	for l.FillSome() > 0 {
		n++
	}
	if done := l.fill.done.Load(); done < 300+8192 || done > 300+8192+512 || n == 0 {
		t.Fatalf("filled up to %d in %d slices", done, n)
	}
	put(t, l, 300, []byte("y"))
	select {
	case <-l.FillWanted():
		t.Fatal("woken although half a window is left")
	default:
	}
}

func TestALogThatGrowsFasterIsLeftAlone(t *testing.T) {
	l := filling(t, vfs.NewMem(), 64<<10)
	defer l.Close()
	for off := int64(0); off < 32<<10; off += 1024 { // two slices for each look
		put(t, l, off, make([]byte, 1024))
		if l.FillSome() == 0 || l.fill.done.Load() != 0 {
			t.Fatalf("filled up to %d at %d", l.fill.done.Load(), off)
		}
	}
	put(t, l, 32<<10, []byte("x")) // slow again
	if l.FillSome() == 0 || l.fill.done.Load() == 0 {
		t.Fatal("not filled although there was time")
	}
}

func TestAFullDiskEndsFillingAndNotTheLog(t *testing.T) {
	m := vfs.NewMem()
	l := filling(t, &vfs.Fault{FS: m, Before: func(op vfs.Op) error {
		if op.Kind == "write" && op.Len == 512 {
			return vfs.ErrNoSpace
		}
		return nil
	}}, 64<<10)
	defer l.Close()
	put(t, l, 0, []byte("x"))
	if l.FillSome() != 0 || l.fill.on.Load() {
		t.Fatal("filling goes on")
	}
	put(t, l, 1, []byte("y"))
}

// Writers and the filler run at the same time, at every distance; what was written must stay.
func TestFillingNeverTouchesWhatWasWritten(t *testing.T) {
	const size = 64 << 10
	l := filling(t, vfs.NewMem(), size)
	defer l.Close()
	l.fill.margin = 0 // as near as can be
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				l.FillSome()
			}
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	var want []byte
	cut := func(at int64) {
		if err := l.Cut(at, nil); err != nil {
			t.Error(err)
		}
		want = want[:at]
	}
	for len(want) < 12*size {
		b := bytes.Repeat([]byte{byte(1 + r.IntN(255))}, 1+r.IntN(700))
		off := int64(len(want))
		b = b[:min(int64(len(b)), l.Base(off)+size-off)]
		put(t, l, off, b)
		want = append(want, b...)
		if r.IntN(400) == 0 {
			cut(l.Base(off) + (off-l.Base(off))/2)
		}
	}
	close(stop)
	group.Wait()
	got := make([]byte, size)
	for _, s := range l.Segments() {
		if err := s.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		end := min(max(int64(len(want))-s.Base(), 0), size)
		if !bytes.Equal(got[:end], want[s.Base():s.Base()+end]) {
			t.Errorf("segment %d holds something else than was written", s.Base())
		}
		if !bytes.Equal(got[end:], make([]byte, size-end)) {
			t.Errorf("segment %d does not end with zeros", s.Base())
		}
	}
}
