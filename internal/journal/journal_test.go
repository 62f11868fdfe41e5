package journal

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"rmqctl/internal/jsonfile"
	"rmqctl/internal/vfs"
)

const name = "/config/t.json"

// codec writes "counter timestamp\nname=value\n...".
var codec = Codec[int]{
	Decode: func(b []byte) (map[string]int, jsonfile.Version, error) {
		lines := bytes.Split(b, []byte("\n"))
		var v jsonfile.Version
		if _, err := fmt.Sscan(string(lines[0]), &v.Counter, &v.Timestamp); err != nil {
			return nil, v, err
		}
		rows := map[string]int{}
		for _, line := range lines[1:] {
			if k, n, ok := bytes.Cut(line, []byte("=")); ok {
				rows[string(k)], _ = strconv.Atoi(string(n))
			}
		}
		return rows, v, nil
	},
	Encode: func(rows map[string]int, v jsonfile.Version) ([]byte, error) {
		b := fmt.Appendf(nil, "%d %d\n", v.Counter, v.Timestamp)
		for k, n := range rows {
			b = fmt.Appendf(b, "%s=%d\n", k, n)
		}
		return b, nil
	},
	DecodeRow: func(_ string, b []byte) (int, error) { return strconv.Atoi(string(b)) },
	EncodeRow: func(n int) ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil },
}

func load(t *testing.T, fsys vfs.FS) *Table[int] {
	t.Helper()
	var table Table[int]
	if err := table.Load(fsys, name, codec); err != nil {
		t.Fatal(err)
	}
	return &table
}

func rows(t *testing.T, fsys vfs.FS) map[string]int {
	t.Helper()
	all, _ := load(t, fsys).All()
	return all
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newFS(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	must(t, m.MkdirAll("/config", 0o755))
	must(t, m.SyncDir("/"))
	return m
}

var now = time.Unix(1700000000, 0)

func TestWhatWasCommittedSurvivesAPowerCutAtAnyMoment(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newFS(t)
		f := &vfs.Fault{FS: m}
		table := load(t, f)
		want := map[string]int{}  // what was promised
		doing := map[string]int{} // what may be there already; 0: deleted
		f.Before = func(op vfs.Op) error {
			got := rows(t, m.PowerCut(rng, vfs.AnyCut(rng)))
			for k, n := range want {
				if next, mine := doing[k]; got[k] != n && !(mine && got[k] == next) {
					t.Fatalf("seed %d, before %s %s: %s is %d, promised %d", seed, op.Kind, op.Name, k, got[k], n)
				}
			}
			for k, n := range got {
				if _, mine := doing[k]; want[k] != n && !mine {
					t.Fatalf("seed %d, before %s %s: %s is %d, was deleted", seed, op.Kind, op.Name, k, n)
				}
			}
			return nil
		}
		for i := 1; i <= 40; i++ {
			k := fmt.Sprint("k", rng.IntN(8))
			switch rng.IntN(8) {
			case 0:
				must(t, table.Save(f, name, codec))
				continue
			case 1:
				table.Delete(k, now)
				doing[k] = 0
			default:
				table.Put(k, i, now)
				doing[k] = i
			}
			must(t, table.Commit(f, name, codec, now))
			if want[k] = doing[k]; want[k] == 0 {
				delete(want, k)
			}
			clear(doing)
			if rng.IntN(10) == 0 {
				m = m.PowerCut(rng, vfs.AnyCut(rng))
				f.FS = m
				table = load(t, f)
			}
		}
		if got := rows(t, m); !maps.Equal(got, want) {
			t.Fatalf("seed %d: %v, want %v", seed, got, want)
		}
	}
}

func TestAChangeThatComesAloneIsInTheFileAtOnce(t *testing.T) {
	m := newFS(t)
	table := load(t, m)
	inFile := func() (out map[string]int) {
		_, err := jsonfile.Load(m, name, func(b []byte) (err error) {
			out, _, err = codec.Decode(b)
			return err
		})
		must(t, err)
		return out
	}
	table.Put("a", 1, now)
	must(t, table.Commit(m, name, codec, now))
	table.Put("b", 2, now)
	must(t, table.Commit(m, name, codec, now.Add(time.Second)))
	if got := inFile(); got["a"] != 1 || got["b"] != 0 {
		t.Fatalf("the file holds %v", got)
	}
	must(t, table.Save(m, name, codec))
	table.Put("c", 3, now)
	must(t, table.Commit(m, name, codec, now.Add(time.Minute)))
	if got := inFile(); len(got) != 3 {
		t.Fatalf("the file holds %v", got)
	}
}

func TestAJournalDoesNotCountForAFileSomebodyElseWrote(t *testing.T) {
	m := newFS(t)
	table := load(t, m)
	for i := range 5 {
		table.Put(fmt.Sprint("k", i), i, now)
		must(t, table.Commit(m, name, codec, now))
	}
	text, _ := codec.Encode(map[string]int{"java": 1}, jsonfile.Version{Counter: 2, Timestamp: 99})
	must(t, jsonfile.Save(m, name, text))
	if got := rows(t, m); len(got) != 1 || got["java"] != 1 {
		t.Fatalf("%v", got)
	}
	text, _ = codec.Encode(map[string]int{"old": 1}, jsonfile.Version{})
	must(t, jsonfile.Save(m, name, text))
	if got := rows(t, m); len(got) != 5 || got["old"] != 1 {
		t.Fatalf("an older file in its place: %v", got)
	}
}

func TestAFailedCommitIsMadeUpForByTheNext(t *testing.T) {
	m := newFS(t)
	boom, times := errors.New("boom"), 0
	f := &vfs.Fault{FS: m}
	f.Before = func(op vfs.Op) error {
		if op.Kind == "sync" && times > 0 {
			times--
			return boom
		}
		return nil
	}
	table := load(t, f)
	table.Put("a", 1, now)
	must(t, table.Commit(f, name, codec, now))
	times = 1
	table.Put("bbbbbbbbbbbb", 2, now)
	table.Put("c", 2, now)
	if err := table.Commit(f, name, codec, now); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	table.Delete("bbbbbbbbbbbb", now)
	table.Put("c", 3, now)
	must(t, table.Commit(f, name, codec, now))
	if got := rows(t, m.CrashClone(nil, 0)); !maps.Equal(got, map[string]int{"a": 1, "c": 3}) {
		t.Fatal(got)
	}
}

func TestThoseWhoCommitAtTheSameTimeAllFindTheirsDurable(t *testing.T) {
	m := newFS(t)
	table := load(t, m)
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			k := fmt.Sprint("k", i)
			table.Put(k, i, now)
			if err := table.Commit(m, name, codec, now); err != nil {
				t.Error(err)
			}
			if got := rows(t, m.CrashClone(nil, 0)); got[k] != i {
				t.Errorf("%s: %d", k, got[k])
			}
		})
	}
	wg.Wait()
}

func FuzzOpen(f *testing.F) {
	m := vfs.NewMem()
	_ = m.MkdirAll("/config", 0o755)
	j, _ := Open(m, "/config/j", nil)
	_ = j.Append([]byte("one"), []byte("two"))
	whole, _ := vfs.ReadFile(m, "/config/j")
	f.Add(whole, uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		m := newFS(t)
		file, err := m.OpenFile("/config/j", 0x42, 0o600)
		must(t, err)
		b = append(append([]byte(nil), whole...), b[:min(int(cut), len(b))]...)
		_, err = file.WriteAt(b, 0)
		must(t, err)
		var got [][]byte
		take := func(rec []byte) error { got = append(got, bytes.Clone(rec)); return nil }
		j, err := Open(m, "/config/j", take)
		must(t, err)
		if len(got) < 2 || string(got[0]) != "one" || string(got[1]) != "two" {
			t.Fatalf("%q", got)
		}
		n := len(got)
		must(t, j.Append([]byte("three")))
		got = nil
		if _, err = Open(m, "/config/j", take); err != nil || len(got) != n+1 || string(got[n]) != "three" {
			t.Fatalf("%q %v", got, err)
		}
	})
}
