package sim

// Playing seeds: one of them, or thousands in processes of their own, and those that once failed.

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// Story plays one seed to its end.
type Story func(seed uint64, trace func(string)) (tally Tally, hash uint64, err error)

// Flags are the flags of a simulation's test binary.
type Flags struct {
	seed, seeds, from *uint64
}

// NewFlags declares -seed, -seeds and -from; it is called once, from a package variable of the test.
func NewFlags(seeds uint64) Flags {
	return Flags{
		seed:  flag.Uint64("seed", 1, "the seed that TestSeed plays"),
		seeds: flag.Uint64("seeds", seeds, "how many seeds TestSeeds plays"),
		from:  flag.Uint64("from", 1, "the first seed of TestSeeds"),
	}
}

// partOf is how a test tells its own copies which seeds to play.
const partOf = "SIM_PART"

// maxFailures ends a part early: what fails everywhere need not be said ten thousand times.
const maxFailures = 10

// Seeded makes everything that draws from crypto/rand follow from a seed while f runs: etcd/raft takes its election timeouts from
// there. One world at a time may play in a process.
func Seeded(seed uint64, f func()) {
	was := rand.Reader
	defer func() { rand.Reader = was }()
	var key [32]byte
	for i := range 8 {
		key[i] = byte(seed >> (8 * i))
	}
	rand.Reader = io.Reader(mrand.NewChaCha8(key))
	f()
}

// played is one seed, its panics turned into failures.
func played(story Story, seed uint64, trace func(string)) (tally Tally, hash uint64, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	Seeded(seed, func() { tally, hash, err = story(seed, trace) })
	return tally, hash, err
}

// Seed plays the seed of -seed and tells its story.
func (f Flags) Seed(t *testing.T, story Story) {
	var lines []string
	tally, hash, err := played(story, *f.seed, func(line string) { lines = append(lines, line) })
	t.Logf("seed %d:\n%s\n%v\nhash %x", *f.seed, strings.Join(lines, "\n"), tally, hash)
	if err != nil {
		t.Fatalf("seed %d: %v", *f.seed, err)
	}
}

// Repeats wants each of n seeds to tell the same story twice, with a listener and without.
func (f Flags) Repeats(t *testing.T, n uint64, story Story) {
	for seed := *f.from; seed < *f.from+n; seed++ {
		var first, second strings.Builder
		_, one, err1 := played(story, seed, func(line string) { first.WriteString(line + "\n") })
		_, two, err2 := played(story, seed, func(line string) { second.WriteString(line + "\n") })
		_, three, _ := played(story, seed, nil)
		if one != two || one != three || first.String() != second.String() || (err1 == nil) != (err2 == nil) {
			a, b := parting(first.String(), second.String())
			t.Fatalf("seed %d tells different stories: %x, %x, %x\nfirst  %s\nsecond %s", seed, one, two, three, a, b)
		}
		if first.Len() == 0 {
			t.Fatalf("seed %d tells nothing", seed)
		}
	}
}

// parting is where two stories part.
func parting(a, b string) (string, string) {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return as[i], bs[i]
		}
	}
	return "(same text)", "(same text)"
}

// OnceFailing plays every seed of a file again, each as a test of its own. A line is: seed, a space, what it found.
func (f Flags) OnceFailing(t *testing.T, file string, story Story) {
	list, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer list.Close()
	for lines := bufio.NewScanner(list); lines.Scan(); {
		word, what, _ := strings.Cut(lines.Text(), " ")
		seed, err := strconv.ParseUint(word, 10, 64)
		if err != nil {
			continue // a comment
		}
		t.Run(fmt.Sprintf("%d %s", seed, what), func(t *testing.T) {
			if _, _, err := played(story, seed, nil); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		})
	}
}

// Seeds plays one of share of -seeds seeds from -from on, in one process per processor, and reports what they did altogether.
// repeat is how to play one seed, which is added to it.
func (f Flags) Seeds(t *testing.T, repeat string, share uint64, story Story) {
	if part := os.Getenv(partOf); part != "" {
		playPart(t, repeat, part, story)
		return
	}
	seeds := (*f.seeds + share - 1) / share
	start := time.Now()
	n := uint64(runtime.NumCPU())
	var mu sync.Mutex // guards total and failed
	total := Tally{}
	var failed []string
	var wg sync.WaitGroup
	for i := range min(n, seeds) {
		wg.Go(func() {
			got, bad := inProcess(t.Name(), fmt.Sprintf("%d %d %d", *f.from+i, *f.from+seeds, n))
			mu.Lock()
			defer mu.Unlock()
			total.Join(got)
			if bad != "" {
				failed = append(failed, bad)
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	played := total["seeds"]
	years := float64(total["virtual ms"]) / 1000 / 3600 / 24 / 365.25
	t.Logf("%d seeds in %v, %.0f per second; %.4f simulated years: %v", played, took.Round(time.Millisecond), float64(played)/took.Seconds(), years, total)
	for _, line := range failed {
		t.Error(line)
	}
	if len(failed) == 0 && played != int64(seeds) {
		t.Errorf("%d seeds were to be played", seeds)
	}
}

func inProcess(test, part string) (total Tally, failed string) {
	cmd := exec.Command(os.Args[0], "-test.run=^"+test+"$", "-test.timeout=0", "-test.v=false")
	cmd.Env = append(os.Environ(), partOf+"="+part, "GOMAXPROCS=1")
	out, err := cmd.CombinedOutput()
	total = Tally{}
	var rest []string
	for _, line := range strings.Split(string(out), "\n") {
		text, ok := strings.CutPrefix(line, "tally ")
		if !ok || json.Unmarshal([]byte(text), &total) != nil {
			rest = append(rest, line)
		}
	}
	if err != nil {
		failed = fmt.Sprintf("%v\n%s", err, strings.Join(rest, "\n"))
	}
	return total, failed
}

func playPart(t *testing.T, repeat, part string, story Story) {
	debug.SetGCPercent(400)
	var from, end, step uint64
	if _, err := fmt.Sscan(part, &from, &end, &step); err != nil {
		t.Fatal(err)
	}
	total, failures := Tally{}, 0
	for seed := from; seed < end && failures < maxFailures; seed += step {
		tally, _, err := played(story, seed, nil)
		total.Join(tally)
		total.Add("seeds", 1)
		if err != nil {
			failures++
			t.Errorf("seed %d: %v\nrepeat: %s%d", seed, err, repeat, seed)
		}
	}
	out, err := json.Marshal(total)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("tally", string(out))
}
