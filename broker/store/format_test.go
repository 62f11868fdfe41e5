package store

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"rmqctl/broker/store/consumequeue"
	"rmqctl/broker/store/index"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// TestFilesAreByteForByteRocketMQs writes two messages and looks at every file.
func TestFilesAreByteForByteRocketMQs(t *testing.T) {
	m := vfs.NewMem()
	o := small("/store")
	clk := fakeClock()
	o.Clock = clk
	s := mustOpen(t, m, o)
	mustAppend(t, s, msg("T1", 3, "hi", "UNIQ_KEY", "U", "TAGS", "TagA"))
	clk.Advance(2500e6)
	mustAppend(t, s, msg("T1", 3, strings.Repeat("x", 3900))) // 4001 bytes: 8 bytes short of fitting behind the first
	mustAppend(t, s, msg("T1", 3, "ho", "UNIQ_KEY", "U"))
	mustClose(t, s)
	read := func(name string, at, n int) string {
		t.Helper()
		b, err := vfs.ReadFile(m, "/store/"+name)
		if err != nil {
			t.Fatal(err)
		}
		return hex.EncodeToString(b[at : at+n])
	}
	for _, c := range []struct{ what, file, want string }{
		{"first record", "commitlog/00000000000000000000", "00000074daa320a758932aac0000000300000000"},
		{"blank: what is left, and the magic", "commitlog/00000000000000000000@116", "00000f8c" + "cbd43194"},
		{"second record in the next segment", "commitlog/00000000000000004096", "00000f99daa320a7"},
		{"units", "consumequeue/T1/3/00000000000000000000",
			"0000000000000000" + "00000074" + "000000000027a807" +
				"0000000000001000" + "00000f99" + "0000000000000000" +
				"0000000000002000" + "0000006a" + "0000000000000000" + "0000000000000000"},
		{"checkpoint times", "checkpoint", "0000018bcfe571c4" + "0000018bcfe571c4" + "0000018bcfe571c4"},
		{"abort is gone, lock is there", "lock", ""},
	} {
		file, pos, _ := strings.Cut(c.file, "@")
		at := 0
		fmt.Sscan(pos, &at)
		if got := read(file, at, len(c.want)/2); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.what, got, c.want)
		}
	}
	files, _ := m.ReadDir("/store/index")
	if len(files) != 1 || len(files[0].Name()) != 17 {
		t.Fatal(files)
	}
	name := "index/" + files[0].Name()
	if info, _ := m.Stat("/store/" + name); info.Size() != 40+50*4+40*20 {
		t.Fatal(info.Size())
	}
	hash := index.Hash("T1", "U")
	if want := message.JavaHash("T1#U"); hash != want && hash != -want {
		t.Fatal(hash, want)
	}
	// header: begin and end time, begin and end offset, one used slot, next entry 3
	if got, want := read(name, 0, 40), "0000018bcfe56800"+"0000018bcfe571c4"+"0000000000000000"+"0000000000002000"+"00000001"+"00000003"; got != want {
		t.Errorf("index header:\n got %s\nwant %s", got, want)
	}
	if got, want := read(name, 40+int(hash%50)*4, 4), "00000002"; got != want {
		t.Errorf("slot: %s", got)
	}
	h := fmt.Sprintf("%08x", hash)
	if got, want := read(name, 40+200+20, 40), h+"0000000000000000"+"00000000"+"00000000"+h+"0000000000002000"+"00000002"+"00000001"; got != want {
		t.Errorf("entries:\n got %s\nwant %s", got, want)
	}
}

func TestCheckpointRoundTrip(t *testing.T) {
	c := checkpoint{phys: 5, logics: 6, index: 7, safe: 100, lastRecord: 9, exact: true}
	m := vfs.NewMem()
	f := checkpointFile{fs: m, name: "/s/checkpoint"}
	for range 3 { // the slots take turns
		if err := f.write(c); err != nil {
			t.Fatal(err)
		}
		if got, err := readCheckpoint(m, f.name); got != c || err != nil {
			t.Fatal(got, err)
		}
		c.safe += 10
		c.phys++
	}
	f.mark(500, 1<<10, time.Unix(100, 0), func() int64 { return 500 })
	g := checkpointFile{fs: m, name: f.name}
	if _, vouched, err := g.read(); vouched != 500 || err != nil {
		t.Fatal(vouched, err)
	}
	b, _ := vfs.ReadFile(m, f.name)
	b[7]++ // as a Java broker changes a time
	g = checkpointFile{flushed: -1}
	if g.decode(b); g.last.exact || g.last.phys != 8 || g.flushed != -1 {
		t.Fatal(g.last, g.flushed)
	}
}

func TestUnitRoundTrip(t *testing.T) {
	u := consumequeue.Unit{Phys: 1 << 40, Size: 113, Tags: -5}
	if got := consumequeue.At(consumequeue.Append(nil, u), 0); got != u {
		t.Fatal(got)
	}
}

func FuzzCheckpoint(f *testing.F) {
	c := checkpoint{phys: 5, logics: 6, index: 7, safe: 100, lastRecord: 9, exact: true}
	f.Add(append(append(times(&c), make([]byte, slotAt-24)...), seal(slotMagic, &c, c.safe, c.lastRecord, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		full := make([]byte, checkpointSize)
		copy(full, b)
		var f checkpointFile
		if f.decode(full); f.last.exact && (f.last.safe < f.last.lastRecord || f.last.lastRecord < 0) {
			t.Fatal(f.last)
		}
	})
}

// FuzzOpen gives recovery a store whose files hold anything: it must open or say why not, then take and give messages, and
// a second recovery must find nothing to do.
func FuzzOpen(f *testing.F) {
	m := vfs.NewMem()
	o := small("/store")
	s := mustOpen(f, m, o)
	for i := range 30 {
		mustAppend(f, s, msg("T", 0, fmt.Sprint("body", i), "UNIQ_KEY", fmt.Sprint(i)))
	}
	mustClose(f, s)
	part := func(name string) []byte {
		b, err := vfs.ReadFile(m, name)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	ix, _ := m.ReadDir("/store/index")
	ixName := ix[len(ix)-1].Name()
	log, cq, check, index := part("/store/commitlog/00000000000000000000"), part("/store/consumequeue/T/0/00000000000000000000"), part("/store/checkpoint"), part("/store/index/"+ixName)
	f.Add(log, cq, check, index, true)
	f.Add(log, cq, check, index, false)
	f.Add(log[:2000], cq, []byte{}, index[:300], true)
	f.Add(bytes.Repeat([]byte{0xff}, 100), cq, check, index, true)
	f.Fuzz(func(t *testing.T, log, cq, check, index []byte, crashed bool) {
		m := vfs.NewMem()
		put := func(name string, b []byte, size int) {
			if err := m.MkdirAll(name[:strings.LastIndex(name, "/")], 0o755); err != nil {
				t.Fatal(err)
			}
			h, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			h.WriteAt(b[:min(len(b), size)], 0)
			h.Truncate(int64(size))
		}
		put("/store/commitlog/00000000000000000000", log, 4096)
		put("/store/consumequeue/T/0/00000000000000000000", cq, 200)
		put("/store/checkpoint", check, 4096)
		put("/store/index/"+ixName, index, 40+200+800)
		if crashed {
			put("/store/abort", nil, 0)
		}
		s, err := Open(m, o)
		if err != nil {
			return
		}
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
		for _, topic := range s.Topics() {
			for _, q := range s.Queues(topic) {
				r, err := s.Get(topic, q, s.MinOffset(topic, q), GetLimit{}, Match{})
				if err != nil {
					t.Fatal(err)
				}
				r.Release()
			}
		}
		s.Query("T", "3", 10, 0, 1<<60)
		s.OffsetByTime("T", 0, 5)
		before := s.MaxOffset("U", 0)
		r := mustAppend(t, s, msg("U", 0, "after", "UNIQ_KEY", "after"))
		if r.QueueOffset != before {
			t.Fatal(r)
		}
		if b, err := s.LookMessage(r.PhysicalOffset); err != nil || !bytes.Contains(b, []byte("after")) {
			t.Fatal(err)
		}
		s = mustOpen(t, kill(s), o)
		if b, err := s.LookMessage(r.PhysicalOffset); err != nil || !bytes.Contains(b, []byte("after")) {
			t.Fatal("lost by a kill:", err)
		}
		mustClose(t, s)
	})
}
