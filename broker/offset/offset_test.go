package offset

import (
	"reflect"
	"testing"

	"rmqctl/internal/vfs"
)

func TestAnUnknownQueueHasNoOffsetAndZeroIsOne(t *testing.T) {
	table := New()
	if _, ok := table.Get("G", "T", 0); ok {
		t.Error("found in an empty table")
	}
	table.Commit("G", "T", 0, 0)
	if n, ok := table.Get("G", "T", 0); n != 0 || !ok {
		t.Errorf("after commit of 0: %d %v", n, ok)
	}
}

func TestRaiseNeverLowers(t *testing.T) {
	table := New()
	for _, row := range []struct {
		n, want int64
		raised  bool
	}{{10, 10, true}, {5, 10, false}, {10, 10, false}, {11, 11, true}} {
		if got := table.Raise(Entry{Key{"T", "G"}, 0, row.n}); got != row.raised {
			t.Errorf("raise to %d: %v", row.n, got)
		}
		if n, _ := table.Get("G", "T", 0); n != row.want {
			t.Errorf("after raise to %d: %d", row.n, n)
		}
	}
}

func TestASlaveKeepsAndReportsWhatTheReturningMasterDoesNotKnow(t *testing.T) {
	slave := New()
	slave.Track()
	key := Key{"T", "G"}
	slave.Follow(map[Key]map[int32]int64{key: {0: 100, 1: 100, 2: 100}})
	slave.Commit("G", "T", 0, 150) // the master was away
	slave.Commit("G", "T", 1, 120)

	ahead := slave.Follow(map[Key]map[int32]int64{key: {0: 90, 1: 130, 2: 40}})
	if want := []Entry{{key, 0, 150}}; !reflect.DeepEqual(ahead, want) {
		t.Errorf("ahead %v, want %v", ahead, want)
	}
	want := map[int32]int64{0: 150, 1: 130, 2: 40} // queue 2 was set back at the master by an operator
	if got := slave.Queues("G", "T"); !reflect.DeepEqual(got, want) {
		t.Errorf("slave %v, want %v", got, want)
	}
	slave.Told(ahead[0])
	if ahead := slave.Follow(map[Key]map[int32]int64{key: {0: 20}}); len(ahead) != 0 {
		t.Errorf("still ahead: %v", ahead)
	}
	if n, _ := slave.Get("G", "T", 0); n != 20 {
		t.Errorf("an operator's reset did not reach the slave: %d", n)
	}
}

// javaFile is what RocketMQ 4.9.8 leaves on disk.
const javaFile = "{\n\t\"offsetTable\":{\n\t\t\"%RETRY%G@G\":{0:1\n\t\t},\n\t\t\"T@G\":{0:12,1:13,11:14\n\t\t}\n\t}\n}"

func TestTheFileIsRocketMQs(t *testing.T) {
	m := newMem(t)
	if err := vfs.WriteFileAtomic(m, "/c/consumerOffset.json", []byte(javaFile), 0o640); err != nil {
		t.Fatal(err)
	}
	table := New()
	if err := table.Load(m, "/c/consumerOffset.json"); err != nil {
		t.Fatal(err)
	}
	if got, want := table.Queues("G", "T"), (map[int32]int64{0: 12, 1: 13, 11: 14}); !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %v, want %v", got, want)
	}
	if got := table.Topics("G"); !reflect.DeepEqual(got, []string{"%RETRY%G", "T"}) {
		t.Errorf("topics %v", got)
	}
	table.Commit("G", "T", 1, 99)
	table.Commit("G", "T", 1, 13)
	if err := table.Save(m, "/c/consumerOffset.json"); err != nil {
		t.Fatal(err)
	}
	if b, err := vfs.ReadFile(m, "/c/consumerOffset.json"); err != nil || string(b) != javaFile {
		t.Errorf("saved %s, %v", b, err)
	}
}

func TestSaveWritesOnlyChanges(t *testing.T) {
	m, table := newMem(t), New()
	if err := table.Save(m, "/c/o.json"); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.ReadFile(m, "/c/o.json"); err == nil {
		t.Error("an unchanged table was written")
	}
}

func TestCloneAndForget(t *testing.T) {
	table := New()
	table.Commit("A", "T", 0, 7)
	table.Clone("A", "B", "T")
	table.Commit("A", "T", 0, 9)
	if n, _ := table.Get("B", "T", 0); n != 7 {
		t.Errorf("clone has %d", n)
	}
	table.Forget(func(k Key) bool { return k.Group == "A" })
	if got := table.Groups("T"); !reflect.DeepEqual(got, []string{"B"}) {
		t.Errorf("groups %v", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(javaFile))
	f.Fuzz(func(t *testing.T, text []byte) {
		groups, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(Encode(groups))
		if err != nil || !reflect.DeepEqual(groups, again) {
			t.Errorf("%v became %v, %v", groups, again, err)
		}
	})
}

func newMem(t *testing.T) *vfs.Mem {
	m := vfs.NewMem()
	if err := m.MkdirAll("/c", 0o755); err != nil {
		t.Fatal(err)
	}
	return m
}
