package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"rmqctl/internal/vfs"
)

// TestADamagedFileIsNeverBelievedAndNeverKeepsATableFromLoading damages one of the files of a table, after each number of
// saves, in each way: a text that was saved is loaded, the newest unless that is what was hurt, and never another one.
func TestADamagedFileIsNeverBelievedAndNeverKeepsATableFromLoading(t *testing.T) {
	const name = "/c/t.json"
	damages := map[string]func([]byte, *rand.Rand) []byte{
		"bit":  func(b []byte, r *rand.Rand) []byte { b[r.IntN(len(b))] ^= 1 << r.IntN(8); return b },
		"cut":  func(b []byte, r *rand.Rand) []byte { return b[:r.IntN(len(b))] },
		"zero": func(b []byte, r *rand.Rand) []byte { clear(b[r.IntN(len(b)):]); return b },
		"gone": func([]byte, *rand.Rand) []byte { return nil },
	}
	for saves := 1; saves <= 4; saves++ {
		for _, ending := range []string{"", bak, bak2, sums} {
			for what, damage := range damages {
				for seed := range uint64(10) {
					m := newMem(t)
					var texts []string
					for i := range saves {
						text := fmt.Sprintf(`{"offsetTable":{"T@G":{0:%d,1:%d}}}`, 1000+i, 2000*i)
						if err := Save(m, name, []byte(text)); err != nil {
							t.Fatal(err)
						}
						texts = append(texts, string(Indent([]byte(text))))
					}
					b, err := vfs.ReadFile(m, name+ending)
					if err != nil {
						continue // there is no such file yet
					}
					hurt(t, m, name+ending, damage(bytes.Clone(b), rand.New(rand.NewPCG(seed, 3))))
					var got string
					found, err := Load(m, name, func(text []byte) error {
						if !bytes.HasSuffix(text, []byte("}")) || json.Valid(text) && len(text) < 5 {
							return errors.New("not a table")
						}
						got = string(text)
						return nil
					})
					want := texts[saves-1]
					if ending == "" {
						want = texts[max(saves-2, 0)]
					}
					if !found || err != nil || got != want {
						t.Errorf("%d saves, %s of %q, seed %d: %q %v %v", saves, what, ending, seed, got, found, err)
					}
				}
			}
		}
	}
}

func hurt(t *testing.T, m *vfs.Mem, name string, b []byte) {
	t.Helper()
	if b == nil {
		if err := m.Remove(name); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := m.OpenFile(name, 2, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(len(b))); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}
