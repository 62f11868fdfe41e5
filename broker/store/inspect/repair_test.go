package inspect

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rmqctl/broker/store"
	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// files lists all files below dir.
func files(t testing.TB, fsys vfs.FS, dir string) []string {
	t.Helper()
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		p := filepath.Join(dir, e.Name())
		if e.IsDir() {
			out = append(out, files(t, fsys, p)...)
		} else {
			out = append(out, p)
		}
	}
	return out
}

func read(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// messages reads everything that a broker would serve: queue offset and body by queue.
func messages(t testing.TB, fsys vfs.FS, dir string) map[string]string {
	t.Helper()
	s, err := store.Open(fsys, small(dir))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	out := map[string]string{}
	for _, topic := range s.Topics() {
		for _, q := range s.Queues(topic) {
			for off := s.MinOffset(topic, q); off < s.MaxOffset(topic, q); {
				r, err := s.Get(topic, q, off, store.GetLimit{}, store.Match{})
				if err != nil {
					t.Fatal(err)
				}
				for _, b := range r.Messages {
					m, _, err := message.Decode(b, message.Options{CheckCRC: true})
					if err != nil {
						t.Fatal(err)
					}
					out[fmt.Sprint(topic, "/", q, "@", m.QueueOffset)] = string(m.Body)
				}
				if r.Next <= off {
					t.Fatalf("no progress at %d: %s", off, r.Status)
				}
				off = r.Next
				r.Release()
			}
			out[fmt.Sprint("end of ", topic, "/", q)] = fmt.Sprint(s.MaxOffset(topic, q))
		}
	}
	return out
}

func mend(t testing.TB, fsys vfs.FS, dir string) *Plan {
	t.Helper()
	d, err := Open(fsys, Options{Dir: dir, SegmentSize: 4096, QueueSegmentSize: 200, IndexSlots: 50, IndexEntries: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	p, err := d.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Do(context.Background(), time.Now(), func(Step) {}); err != nil {
		t.Fatalf("%v\n%s", err, text(p.Report))
	}
	return p
}

// damages are what may happen to a file.
var damages = map[string]func(b []byte, r *rand.Rand) []byte{
	"bit": func(b []byte, r *rand.Rand) []byte {
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	},
	"cut": func(b []byte, r *rand.Rand) []byte { return b[:r.IntN(len(b))] },
	"zero": func(b []byte, r *rand.Rand) []byte {
		at := r.IntN(len(b))
		clear(b[at:min(at+100, len(b))])
		return b
	},
	"gone": func([]byte, *rand.Rand) []byte { return nil },
}

// TestRepairMendsWhateverHappenedToOneFile damages one file of a store in one way, many times over: the check names that
// file, the repair leaves a store that is clean but for what is lost, loses nothing that the file did not hold alone, and a
// second repair has nothing to do.
func TestRepairMendsWhateverHappenedToOneFile(t *testing.T) {
	const dir = "/store"
	m := vfs.NewMem()
	aStore(t, m, dir, 200)
	if err := vfs.MakeDirs(m, dir+"/config", 0o755); err != nil {
		t.Fatal(err)
	}
	topics := []byte(`{"topicConfigTable":{"A":{"topicName":"A"},"B":{"topicName":"B"}}}`)
	write(t, m, dir+"/config/topics.json", topics)
	write(t, m, dir+"/config/topics.json.bak", topics)
	if r := look(t, m, dir); !r.Clean {
		t.Fatal(text(r))
	}
	whole := messages(t, m.Clone(), dir)
	for what, damage := range damages {
		for _, kind := range []string{"commitlog", "consumequeue", "index", "checkpoint", "config"} {
			t.Run(kind+" "+what, func(t *testing.T) {
				for seed := range uint64(10) {
					oneDamage(t, m.Clone(), dir, kind, what, seed, damage, whole)
				}
			})
		}
	}
}

func oneDamage(t *testing.T, m *vfs.Mem, dir, kind, what string, seed uint64, damage func([]byte, *rand.Rand) []byte, whole map[string]string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var of []string
	for _, f := range files(t, m, dir) {
		if what == "gone" && f == dir+"/commitlog/00000000000000000000" {
			continue // as if retention had taken it
		}
		if rel, _ := filepath.Rel(dir, f); strings.HasPrefix(rel, kind) && !strings.HasSuffix(f, ".bak") {
			of = append(of, f)
		}
	}
	victim := of[rng.IntN(len(of))]
	before := read(t, m, victim)
	after := damage(bytes.Clone(before), rng)
	if after == nil {
		if err := m.Remove(victim); err != nil {
			t.Fatal(err)
		}
	} else {
		write(t, m, victim, after)
	}
	fail := func(format string, a ...any) {
		t.Helper()
		t.Errorf("seed %d, %s %s: %s", seed, what, victim, fmt.Sprintf(format, a...))
	}
	first := look(t, m, dir)
	harmless := bytes.Equal(before, after) && after != nil
	p := mend(t, m, dir)
	second := look(t, m, dir)
	if !second.Clean {
		fail("after the repair:\n%s\nbefore:\n%s", text(second), text(first))
		return
	}
	if again := mend(t, m, dir); len(again.Steps) > 0 {
		fail("a second repair has %d steps: %+v", len(again.Steps), again.Steps)
	}
	if harmless && (len(p.Steps) > 0 || !first.Clean) {
		fail("nothing happened, and yet: %s", text(first))
	}
	have := messages(t, m, dir)
	lost := 0
	for at, body := range whole {
		switch got, ok := have[at]; {
		case !ok && kind == "commitlog":
			lost++
		case got != body:
			fail("%s is %q, was %q\n%s", at, got, body, text(first))
		}
	}
	if int64(lost) != first.LostMessages {
		fail("%d messages are gone, the check spoke of %d\n%s", lost, first.LostMessages, text(first))
	}
	if lost > 0 && first.Clean {
		fail("%d messages are gone and the check was clean", lost)
	}
}
