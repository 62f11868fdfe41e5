package jsonfile

import (
	"sync"
	"testing"
	"time"

	"rmqctl/internal/vfs"
)

func encodeNames(rows map[string]int, v Version) ([]byte, error) {
	out := []byte("{")
	for name := range rows {
		out = append(out, name...)
	}
	return append(out, '}'), nil
}

func TestTheVersionMovesWithEveryChangeAndWithNothingElse(t *testing.T) {
	var table Table[int]
	now := time.UnixMilli(5)
	table.Put("a", 1, now)
	if v, isNew := table.PutNew("a", 2, now); v != 1 || isNew {
		t.Errorf("put new over an old one: %d %v", v, isNew)
	}
	table.Delete("b", now)
	if got := table.Version(); got != (Version{1, 5}) {
		t.Errorf("version %+v", got)
	}
	table.Touch(time.UnixMilli(6))
	table.Delete("a", time.UnixMilli(7))
	if got := table.Version(); got != (Version{3, 7}) {
		t.Errorf("version %+v", got)
	}
}

func TestOnlyChangesAreSavedAndOneWriteServesAllWhoWait(t *testing.T) {
	m := newMem(t)
	var table Table[int]
	table.Loaded(map[string]int{"a": 1}, Version{7, 7})
	if err := table.Save(m, "/c/t.json", encodeNames); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.ReadFile(m, "/c/t.json"); err == nil {
		t.Error("what was just loaded was written again")
	}
	var writes sync.WaitGroup
	for range 8 {
		writes.Go(func() {
			table.Put("a", 2, time.UnixMilli(1))
			if err := table.Save(m, "/c/t.json", encodeNames); err != nil {
				t.Error(err)
			}
		})
	}
	writes.Wait()
	if b, err := vfs.ReadFile(m, "/c/t.json"); err != nil || string(b) != "{a\n}" {
		t.Errorf("%s %v", b, err)
	}
}
