package consumequeue

import (
	"fmt"
	"testing"

	"rmqctl/broker/store/segment"
	"rmqctl/internal/vfs"
)

func open(t *testing.T, m *vfs.Mem) *Table {
	t.Helper()
	tb, err := Open("/q", 200, &segment.Cache{FS: m, Max: 8})
	if err != nil {
		t.Fatal(err)
	}
	if err := tb.Limit(1<<62, false); err != nil {
		t.Fatal(err)
	}
	return tb
}

// TestAQueueThatIsShorterThanItWasDoesNotNumberMessagesTwice damages the files of a table with so many queues that a start
// looks at none of them: each is noticed when it is used.
func TestAQueueThatIsShorterThanItWasDoesNotNumberMessagesTwice(t *testing.T) {
	for what, damage := range map[string]func(m *vfs.Mem) error{
		"no damage":       func(m *vfs.Mem) error { return nil },
		"last file gone":  func(m *vfs.Mem) error { return m.Remove("/q/T/0/" + segment.Name(200)) },
		"all files gone":  func(m *vfs.Mem) error { return m.RemoveAll("/q/T/0") },
		"the topic gone":  func(m *vfs.Mem) error { return m.RemoveAll("/q/T") },
		"a hole mid file": func(m *vfs.Mem) error { return zero(m, "/q/T/0/"+segment.Name(0), 40, 60) },
		"the end zeroed":  func(m *vfs.Mem) error { return zero(m, "/q/T/0/"+segment.Name(200), 60, 40) },
	} {
		m := vfs.NewMem()
		tb := open(t, m)
		q := tb.Ensure("T", 0)
		for i := range int64(15) {
			if err := q.Publish(i, Unit{Phys: 100 * i, Size: 100}); err != nil {
				t.Fatal(err)
			}
		}
		if err := tb.Save(0, true); err != nil {
			t.Fatal(err)
		}
		past := tb.Ends()
		if len(past) != 1 || past[0].End != 15 || past[0].Last.Phys != 1400 {
			t.Fatalf("%+v", past)
		}
		tb.Close()
		if err := damage(m); err != nil {
			t.Fatal(err)
		}
		tb = open(t, m)
		told := ""
		tb.Short = func(topic string, id int32, at, end int64) { told = fmt.Sprint(topic, id, at, end) }
		tb.Know(past)
		tb.few = false
		q = tb.Ensure("T", 0)
		end, err := q.End()
		if err != nil || end != 15 {
			t.Errorf("%s: the queue ends at %d, %v", what, end, err)
		}
		if whole := what == "no damage" || what == "a hole mid file"; whole != (told == "") {
			t.Errorf("%s: told %q", what, told)
		}
		if err := tb.Delete("T"); err != nil {
			t.Fatal(err)
		}
		if end, err := tb.Ensure("T", 0).End(); end != 0 || err != nil {
			t.Errorf("%s: a topic made anew begins at %d, %v", what, end, err)
		}
	}
}

func zero(m *vfs.Mem, name string, off, n int64) error {
	f, err := m.OpenFile(name, 2, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Zero(off, n)
}
