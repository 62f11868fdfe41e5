package index

import (
	"slices"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

func TestAClockThatIsSetBackDoesNotEndTheIndex(t *testing.T) {
	m := vfs.NewMem()
	x := mustIndex(t, m, 10, 10)
	now := start
	for i := range int64(100) {
		if i == 40 {
			now = now.Add(-10 * 365 * 24 * time.Hour)
		}
		now = now.Add(time.Second)
		if err := x.PutRun([]Put{{Hash: 7, Phys: i + 1, At: now.UnixMilli()}}, func() time.Time { return now }); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
	if err := x.Save(true); err != nil {
		t.Fatal(err)
	}
	x.Close()
	x = mustIndex(t, m, 10, 10)
	defer x.Close()
	var got []int64
	if err := x.Find(7, 0, start.Add(time.Hour).UnixMilli(), func(phys int64) bool { got = append(got, phys); return true }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	if len(got) != 100 || got[0] != 1 || got[99] != 100 {
		t.Errorf("%d entries are found: %v", len(got), got)
	}
}
