package store

// Facts about retention under clocks that are set.

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rmqctl/internal/clock"
	"rmqctl/internal/logging"
	"rmqctl/internal/vfs"
)

const year = 365 * 24 * time.Hour

var jumps = []time.Duration{time.Hour, -time.Hour, 10 * year, -10 * year}

// jumping is a store on a clock that a test sets; its retention has every hour and keeps files for half an hour.
func jumping(t *testing.T, m *vfs.Mem, clk *clock.Jumping, log *strings.Builder) (*Store, Options) {
	t.Helper()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	tun := DefaultTunables()
	tun.CleanInterval, tun.DeletePause, tun.FileReserved = time.Hour, 0, 30*time.Minute
	tun.DeleteWhen = []int{}
	for h := range 24 {
		tun.DeleteWhen = append(tun.DeleteWhen, h)
	}
	o.Tunables = &tun
	o.Log, _, _ = logging.New(logging.Options{Console: log, Format: "text"})
	s, _ := filled(t, m, o, 100)
	s.Flush()
	return s, o
}

func TestAClockThatIsSetDeletesNothing(t *testing.T) {
	for _, jump := range jumps {
		t.Run(fmt.Sprint(jump), func(t *testing.T) {
			var clk clock.Jumping
			var log strings.Builder
			m := vfs.NewMem()
			s, o := jumping(t, m, &clk, &log)
			before := len(s.clog.Segments())
			s.cleanRound(false)
			clk.Jump(jump)
			s.cleanRound(false)
			for i := range 60 { // files of the wrong time
				mustAppend(t, s, msg("T1", 0, fmt.Sprint("wrong", i)))
			}
			s.Flush()
			s.cleanRound(false)
			clk.Jump(-jump)
			s.cleanRound(false)
			if n := len(s.clog.Segments()); n <= before || s.MinPhysical() != 0 {
				t.Errorf("%d segments of %d, the first at %d", n, before, s.MinPhysical())
			}
			if !strings.Contains(log.String(), "the clock was set") {
				t.Error("the log says nothing of it")
			}
			mustClose(t, s)

			// A start under the wrong time, and one under the right one.
			clk.Jump(jump)
			s = mustOpen(t, m, o)
			s.cleanRound(false)
			if s.MinPhysical() != 0 {
				t.Errorf("deleted after a start, up to %d", s.MinPhysical())
			}
			mustClose(t, s)
			clk.Jump(-jump)
			s = mustOpen(t, m, o)
			defer mustClose(t, s)
			s.cleanRound(false)
			if s.MinPhysical() != 0 {
				t.Errorf("deleted after the clock was right again, up to %d", s.MinPhysical())
			}
			wantWhole(t, s)
		})
	}
}

func TestFilesOfAnEarlierRunGoInTheirTime(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	tun := DefaultTunables()
	tun.CleanInterval, tun.DeletePause, tun.FileReserved = 1000*time.Hour, 0, 10*time.Hour
	o.Tunables = &tun
	s, _ := filled(t, m, o, 100)
	s.Flush()
	last := s.clog.Segments()[len(s.clog.Segments())-1].Base()
	mustClose(t, s)
	clk.Advance(time.Minute)
	s = mustOpen(t, m, o)
	defer func() { mustClose(t, s) }()
	clk.Advance(9 * time.Hour)
	if n := s.CleanExpired(); n != 0 {
		t.Fatal("nine hours are not ten", n)
	}
	clk.Advance(time.Hour)
	s.CleanExpired()
	s.CleanExpired()
	if s.MinPhysical() != last {
		t.Fatal("ten hours have passed", s.MinPhysical(), last)
	}
}

func TestTimeWithoutTheBrokerDoesNotCount(t *testing.T) {
	clk := fakeClock()
	m := vfs.NewMem()
	m.Now = clk.Now
	o := small("/store")
	o.Clock = clk
	s, _ := filled(t, m, o, 100)
	mustClose(t, s)
	clk.Advance(1000 * time.Hour)
	s = mustOpen(t, m, o)
	defer func() { mustClose(t, s) }()
	if n := s.CleanExpired(); n != 0 {
		t.Fatal("a broker that was off, or a clock that is wrong: deleted", n)
	}
}
