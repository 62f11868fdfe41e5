package decide

import (
	"math"
	"slices"
	"strings"
	"testing"

	"rmqctl/broker/ha/epoch"
)

func TestDecide(t *testing.T) {
	lived := epoch.List{{Epoch: 1, Life: 7, Start: 0}}
	again := epoch.List{{Epoch: 1, Life: 7, Start: 0}, {Epoch: 1, Life: 8, Start: 1000}}
	promoted := epoch.List{{Epoch: 1, Life: 7, Start: 0}, {Epoch: 2, Life: 9, Start: 1000}}
	other := epoch.List{{Epoch: 1, Life: 66, Start: 0}}
	side := func(min, max int64, l epoch.List) Side {
		return Side{Epoch: l.Last().Epoch, Segment: 4096, Min: min, Max: max, Epochs: l}
	}
	for _, c := range []struct {
		name          string
		master, slave Side
		different     []int64 // where the bytes differ
		unknown       bool    // no checksums at all
		want          Action
		at            int64
		why           string
	}{
		{name: "fresh slave of a whole log", master: side(0, 500, lived), slave: side(0, 0, nil), want: Continue, at: 0},
		{name: "fresh slave of a log that was cleaned begins with its queues' ends", master: side(4096, 5000, lived), slave: side(0, 0, nil), want: Restart, at: 4096},
		{name: "slave that was reset and got nothing", master: side(4096, 5000, lived), slave: side(4096, 4096, lived), want: Continue, at: 4096},
		{name: "slave that was reset and got nothing before the next cleaning", master: side(8192, 9000, lived), slave: side(4096, 4096, lived), want: Restart, at: 8192},
		{name: "level", master: side(0, 500, lived), slave: side(0, 500, lived), want: Continue, at: 500},
		{name: "behind", master: side(0, 500, lived), slave: side(0, 200, lived), want: Continue, at: 200},
		{name: "behind, and no checksum to be had", master: side(0, 500, lived), slave: side(0, 200, lived), unknown: true, want: Continue, at: 200},
		{name: "ahead of a master that lost its tail", master: side(0, 1000, again), slave: side(0, 1040, lived), want: Truncate, at: 1000},
		{name: "ahead, and the master has grown past it", master: side(0, 9000, again), slave: side(0, 1040, lived), want: Truncate, at: 1000},
		{name: "old master behind a promoted slave", master: side(0, 2000, promoted), slave: side(0, 1500, lived), want: Truncate, at: 1000},
		{name: "the slave's list is missing", master: side(0, 2000, again), slave: side(0, 1900, nil), want: Continue, at: 1900},
		{name: "the slave's list is missing and it has other bytes", master: side(0, 2000, again), slave: side(0, 1900, nil), different: []int64{1900}, want: Refuse, why: "no history in common"},
		{name: "the slave followed a master of before lists", master: side(0, 2000, lived), slave: side(0, 1900, lived.Lead(1, 0, 500)), want: Continue, at: 1900},
		{name: "it did so and has other bytes", master: side(0, 2000, lived), slave: side(0, 1900, lived.Lead(1, 0, 500)), different: []int64{1900}, want: Truncate, at: 500},
		{name: "logs of before lists, equal", master: side(0, 2000, nil), slave: side(0, 900, nil), want: Continue, at: 900},
		{name: "logs of before lists, nothing to compare", master: side(0, 2000, nil), slave: side(0, 900, nil), unknown: true, want: Refuse, why: "by their bytes"},
		{name: "no history in common but the same bytes", master: side(0, 2000, lived), slave: side(0, 900, other), want: Continue, at: 900},
		{name: "no history in common", master: side(0, 2000, lived), slave: side(0, 900, other), different: []int64{900}, want: Refuse, why: "no history in common"},
		{name: "same mastership, other bytes: the last place where both agree", master: side(0, 3000, again), slave: side(0, 2000, again), different: []int64{2000}, want: Truncate, at: 1000},
		{name: "same mastership, other bytes everywhere", master: side(0, 3000, again), slave: side(0, 2000, again), different: []int64{2000, 1000}, want: Refuse, why: "by their bytes"},
		{name: "its place was cleaned away, the master had all of it", master: side(8192, 9000, lived), slave: side(0, 5000, lived), want: Restart, at: 8192},
		{name: "its place was cleaned away, and it has more", master: side(8192, 9000, again), slave: side(0, 5000, lived), want: Refuse, why: "the slave alone has 4000 bytes"},
		{name: "its place was cleaned away, and nobody knows whose it is", master: side(8192, 9000, nil), slave: side(0, 5000, nil), want: Refuse, why: "agree up to 5000"},
		{name: "nothing would remain", master: side(0, 5000, again), slave: side(1000, 1500, lived), want: Refuse, why: "nothing of it would remain"},
		{name: "a master without its log", master: side(0, 0, lived), slave: side(0, 1500, lived), want: Refuse, why: "promote the slave"},
		{name: "a master that was replaced", master: side(0, 5000, lived), slave: side(0, 1500, promoted), want: Refuse, why: "another broker was promoted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			points := Points(c.master, c.slave)
			v := Decide(c.master, c.slave, func(off int64) Sameness {
				if c.unknown {
					return Unknown
				}
				if slices.Contains(c.different, off) {
					return Different
				}
				if !slices.Contains(points, off) {
					return Unknown
				}
				return Same
			})
			if v.Action != c.want || v.Action != Refuse && v.At != c.at || !strings.Contains(v.Why, c.why) || (v.Why == "") != (c.want != Refuse) {
				t.Errorf("%v at %d: %s (points %v)", v.Action, v.At, v.Why, points)
			}
			if v.Stale != strings.Contains(c.why, "promoted") && c.want == Refuse && strings.Contains(c.name, "replaced") {
				t.Error("the master is not told that it was replaced")
			}
		})
	}
}

func TestRecall(t *testing.T) {
	lived := epoch.List{{Epoch: 1, Life: 7, Start: 0}}
	again := epoch.List{{Epoch: 1, Life: 7, Start: 0}, {Epoch: 1, Life: 8, Start: 1000}}
	side := func(min, max int64, l epoch.List) Side {
		return Side{Epoch: l.Last().Epoch, Segment: 4096, Min: min, Max: max, Epochs: l}
	}
	for _, c := range []struct {
		name          string
		master, slave Side
		same          Sameness
		want          Action
	}{
		{"the slave has what a power cut took", side(0, 1000, lived), side(0, 1040, lived), Same, Give},
		{"all of the last mastership is gone", side(0, 1000, again), side(0, 1040, again), Same, Give},
		{"the last mastership wrote nothing", side(0, 1000, again), side(0, 1040, lived), Same, Give},
		{"promoted, and bytes of the epoch before are gone", side(0, 1000, epoch.List{{Epoch: 1, Life: 7, Start: 0}, {Epoch: 2, Life: 8, Start: 1040}}),
			side(0, 1040, lived), Same, Give},
		{"everything is gone", side(0, 0, lived), side(0, 1040, lived), Unknown, Give},
		{"nothing is gone", side(0, 1000, lived), side(0, 1000, lived), Same, Later},
		{"the slave has less", side(0, 1000, lived), side(0, 900, lived), Same, Later},
		{"other bytes", side(0, 1000, lived), side(0, 1040, lived), Different, Later},
		{"the master has gone on since", side(0, 1500, again), side(0, 1600, lived), Same, Later},
		{"nobody knows whose it is", side(0, 1000, nil), side(0, 1040, nil), Same, Later},
		{"the slave followed who does not tell", side(0, 1000, lived), side(0, 1040, lived.Lead(1, 0, 1000)), Same, Later},
		{"the slave begins behind the master's end", side(0, 1000, lived), side(4096, 5000, lived), Unknown, Later},
		{"another was promoted", side(0, 1000, lived), side(0, 1040, lived.Lead(2, 9, 1000)), Same, Refuse},
	} {
		v := Recall(c.master, c.slave, func(int64) Sameness { return c.same })
		if v.Action != c.want || v.Action == Give && v.At != c.master.Max || v.Stale != (c.want == Refuse) {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	me := Side{Identity: Identity{Cluster: "c", Broker: "a"}, Segment: 4096, Max: 100}
	for name, slave := range map[string]Side{
		"b":                       {Identity: Identity{Cluster: "c", Broker: "b"}, Segment: 4096},
		"of cluster d":            {Identity: Identity{Cluster: "d", Broker: "a"}, Segment: 4096},
		"mappedFileSizeCommitLog": {Identity: Identity{Cluster: "c", Broker: "a"}, Segment: 8192},
	} {
		if v := Decide(me, slave, nil); v.Action != Refuse || !strings.Contains(v.Why, name) {
			t.Errorf("%s: %v %s", name, v.Action, v.Why)
		}
	}
}

func TestAcksCountSlavesAndNotConnections(t *testing.T) {
	var a Acks
	a.SetRules(Rules{InSyncReplicas: 3})
	a.Join(1, "x", 100)
	if got := a.Covered(200); got != Nobody {
		t.Errorf("one slave covers %d for three copies", got)
	}
	a.Join(2, "x", 90) // it is back; its old connection is half dead
	if got := a.Held(1); got != 90 {
		t.Errorf("a slave that came back with less has %d", got)
	}
	if a.Covered(200) != Nobody || a.Slaves() != 1 {
		t.Error("a slave with two connections counts twice")
	}
	a.Join(3, "y", 80)
	if got := a.Covered(200); got != 80 {
		t.Errorf("three copies up to %d", got)
	}
	a.Report(1, 100) // it was not dead: two Java slaves of one host
	if got := a.Held(1); got != 100 || a.Slaves() != 2 {
		t.Errorf("%d slaves, the best has %d", a.Slaves(), got)
	}
	a.Leave(2)
	a.Leave(3)
	if a.Slaves() != 1 || a.Held(1) != 100 {
		t.Errorf("%d slaves, the best has %d", a.Slaves(), a.Held(1))
	}
	a.Leave(1)
	if a.Held(1) != Nobody || a.InSync(0) != 0 {
		t.Error("an acknowledgement outlived its slave")
	}
}

func TestRules(t *testing.T) {
	for _, c := range []struct {
		name    string
		rules   Rules
		slaves  []int64 // what each has; the log ends at 1000
		need    int
		covered int64
		admit   bool
	}{
		{"as 4.x: one slave", Rules{}, []int64{500, 700}, 2, 700, true},
		{"as 4.x: nobody", Rules{}, nil, 2, Nobody, true},
		{"5.x's default waits for nobody", Rules{InSyncReplicas: 1}, []int64{500}, 1, math.MaxInt64, true},
		{"three copies", Rules{InSyncReplicas: 3}, []int64{500, 700, 600}, 3, 600, true},
		{"three copies, two there", Rules{InSyncReplicas: 3}, []int64{700}, 3, Nobody, true},
		{"two copies or nothing", Rules{MinInSyncReplicas: 2}, nil, 2, Nobody, false},
		{"the slave is too far behind to count", Rules{MinInSyncReplicas: 2, MaxGap: 300}, []int64{700}, 2, 700, false},
		{"all that are near", Rules{AllAck: true, MaxGap: 450}, []int64{500, 700, 600}, 3, 600, true},
		{"all, and there is none", Rules{AllAck: true}, nil, 2, Nobody, true},
		{"as many as there are", Rules{InSyncReplicas: 3, AutoInSync: true}, []int64{700}, 2, 700, true},
		{"as many as there are: none", Rules{InSyncReplicas: 3, AutoInSync: true}, nil, 1, math.MaxInt64, true},
		{"as many as there are, but two at least", Rules{InSyncReplicas: 3, AutoInSync: true, MinInSyncReplicas: 2}, nil, 2, Nobody, false},
	} {
		var a Acks
		a.SetRules(c.rules)
		for i, off := range c.slaves {
			a.Join(int64(i), string(rune('a'+i)), off)
		}
		if need, covered, admit := a.Need(1000), a.Covered(1000), a.Admit(1000); need != c.need || covered != c.covered || admit != c.admit {
			t.Errorf("%s: need %d, covered %d, admit %v", c.name, need, covered, admit)
		}
	}
}

func TestMuteSlaveIsNotWaitedForUntilItSpeaks(t *testing.T) {
	var a Acks
	a.SetRules(Rules{AllAck: true})
	a.Join(1, "x", 100)
	a.Join(2, "y", 50)
	a.Mute(2)
	if a.InSync(200) != 1 || a.Covered(200) != 100 || a.Near(2, 200) || !a.Near(1, 200) || a.Near(1, 100+DefaultMaxGap) {
		t.Errorf("%d near, covered %d", a.InSync(200), a.Covered(200))
	}
	a.Report(2, 60)
	if a.InSync(200) != 2 || a.Covered(200) != 60 {
		t.Errorf("%d near, covered %d", a.InSync(200), a.Covered(200))
	}
}
