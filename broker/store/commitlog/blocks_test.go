package commitlog

import (
	"bytes"
	"sync"
	"testing"
)

func content(off int64) byte { return byte(off * 7 >> 3) }

func fill(p []byte, off int64) error {
	for i := range p {
		p[i] = content(off + int64(i))
	}
	return nil
}

func TestABlockIsLoadedWhenItWasAskedForOrFollowsOneThatIsThere(t *testing.T) {
	tail := NewTail(1<<20, 1<<16)
	for i := range askedFor {
		if tail.Missed(100) {
			t.Fatal("worth it after", i)
		}
	}
	if !tail.Missed(100) || tail.Missed(blockSize+100) {
		t.Fatal("not worth it, or the next one too")
	}
	if err := tail.Load(100, 0, 10*blockSize, fill); err != nil {
		t.Fatal(err)
	}
	if !tail.Missed(blockSize + 100) {
		t.Fatal("the next one is not worth it")
	}
	b, c := tail.Get(blockSize-10, 1000) // begins in the block, ends in the overlap
	if c == nil || c.Fresh() || b[0] != content(blockSize-10) || b[999] != content(blockSize+989) {
		t.Fatal("not there")
	}
	c.Release()
	if b, _ := tail.Get(blockSize+BlockOverlap-10, 100); b != nil {
		t.Fatal("more is there than was read")
	}
}

func TestACutForgetsBlocksAlsoThoseThatAreBeingRead(t *testing.T) {
	tail := NewTail(1<<20, 1<<16)
	for _, off := range []int64{0, blockSize, 2 * blockSize} {
		if err := tail.Load(off, 0, 3*blockSize, fill); err != nil {
			t.Fatal(err)
		}
	}
	tail.CutFrom(2*blockSize + 5)
	for off, want := range map[int64]bool{0: true, blockSize: false, 2 * blockSize: false} { // the overlap of the second reaches behind the cut
		_, c := tail.Get(off, 10)
		if (c != nil) != want {
			t.Errorf("%d: there %v, want %v", off, c != nil, want)
		}
		if c != nil {
			c.Release()
		}
	}
	err := tail.Load(2*blockSize, 0, 3*blockSize, func(p []byte, off int64) error {
		tail.CutFrom(2 * blockSize)
		return fill(p, off)
	})
	if _, c := tail.Get(2*blockSize, 10); err != nil || c != nil {
		t.Fatal("a block read across a cut is there", err)
	}
}

func TestReadersNeverSeeABlockThatIsUsedAgain(t *testing.T) {
	tail := NewTail(1<<20, 1<<16)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			want := make([]byte, 100)
			for i := range 1500 {
				off := int64((i*7+g*13)%(3*blockSlots)) * blockSize
				b, c := tail.Get(off+50, 100)
				if c == nil {
					if err := tail.Load(off, off, off+200, fill); err != nil { // short, so that they change often
						t.Error(err)
					}
					continue
				}
				if _ = fill(want, off+50); !bytes.Equal(b, want) {
					t.Errorf("other bytes at %d", off)
				}
				c.Release()
			}
		})
	}
	wg.Wait()
}
