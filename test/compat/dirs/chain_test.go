// A chain: one directory that goes from broker to broker, each of which must serve all that was there before and writes on.

package dirs

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"rmqctl/broker/offset"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
	"rmqctl/test/peers"
)

// patience is longer than the minute after which a Java broker looks for old files for the first time.
const patience = 100 * time.Second

// until waits for a condition that another process brings about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

// leg is one broker's turn.
type leg struct {
	version string
	kill    bool // stopped by kill -9, else cleanly
	purge   bool // old files are deleted before the stop
	java    bool // read with Java's client, too
}

func (g leg) String() string {
	how := "clean stop"
	if g.kill {
		how = "kill -9"
	}
	if g.purge {
		how += " after old files were deleted"
	}
	return g.version + ", " + how
}

// chain is a directory and what it must hold.
type chain struct {
	t      *testing.T
	name   string // of the broker
	dir    string
	ns     *peers.Server
	port   int
	host   netip.AddrPort
	since  time.Time
	ledger *ledger
	writer writer
	props  map[string]string

	version string // of Java's client and mqadmin
	admin   *peers.AdminShell
	asked   bool                     // queryMsgByUniqueKey
	w       *wire                    // to the broker whose turn it is
	fresh   func()                   // called in the first turn, when something is stored
	later   func(*peers.Server, leg) // called in every later turn, when all was read
}

func newChain(t *testing.T, name, ip, version string) *chain {
	t.Helper()
	peers.Need(t, peers.Ours, version)
	c := &chain{
		t: t, name: name, dir: t.TempDir(), ns: peers.StartNamesrv(t, peers.Ours), port: peers.Ports(t, 4) + 2,
		since: time.Now(), ledger: newLedger(t, levels, spots()), writer: writer{ids: message.NewUniqIDs(netip.MustParseAddr("127.0.0.1"), os.Getpid())},
	}
	c.host = netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(c.port))
	told := strings.TrimSuffix(c.host.String(), fmt.Sprintf(":%d", c.port)) // with brackets if it is IPv6
	c.props = map[string]string{
		"brokerName": name, "brokerIP1": told, "brokerIP2": told, "bindAddress": ip, "storePathRootDir": c.dir, "listenPort": strconv.Itoa(c.port), "haListenPort": strconv.Itoa(c.port + 1),
		"mappedFileSizeCommitLog": strconv.Itoa(segmentSize), "maxMessageSize": strconv.Itoa(maxBody),
		"mappedFileSizeConsumeQueue": strconv.Itoa(unitsAFile * 20), "maxHashSlotNum": "500", "maxIndexNum": "1500",
		"messageDelayLevel": delayLevels, "flushDelayOffsetInterval": "500", "flushConsumerOffsetInterval": "500",
		"fileReservedTime": "1", "deleteWhen": everyHour(), "cleanResourceInterval": "1000",
	}
	if c.host.Addr().Is6() {
		version += peers.OverIPv6
	}
	c.version, c.admin = version, peers.StartAdmin(t, version)
	return c
}

func everyHour() string {
	var hours []string
	for h := range 24 {
		hours = append(hours, fmt.Sprintf("%02d", h))
	}
	return strings.Join(hours, ";")
}

// run lets each broker have its turn. checks are asked in each turn, before anything is written.
func (c *chain) run(legs ...leg) {
	for i, g := range legs {
		begun := time.Now()
		var before leg
		if i > 0 {
			before = legs[i-1]
		}
		c.turn(g, before)
		c.t.Logf("%-60s %v", g, time.Since(begun).Round(100*time.Millisecond))
	}
}

func (c *chain) turn(g, before leg) {
	c.t.Helper()
	if before.kill && g.version != peers.Ours {
		c.ledger.forgetIndex()
	}
	unharmed := func() {}
	if g.version == peers.Ours && before.version != "" {
		unharmed = c.unharmed()
	}
	broker := peers.StartBroker(c.t, g.version, c.ns.Addr, c.props)
	w := newWire(c.t, c.ns.Addr, c.host.String(), c.name)
	c.w = w
	l, h := c.ledger, host{addr: c.host, since: c.since, java: g.version != peers.Ours}
	if before.version != "" {
		l.sync(w, h, c.logMin())
		l.checkOffsets(w)
		l.checkLookups(w, c.logMin())
		l.checkTags(w, c.logMin())
		if g.java || g.version != peers.Ours {
			c.askAdmin(c.logMin())
		}
		if c.later != nil {
			c.later(broker, g)
		}
		if g.java {
			c.readWithJava(c.version, c.logMin())
			c.resume(c.version, c.logMin())
		}
	}
	l.write(w, &c.writer)
	c.newGroup(w)
	l.sync(w, h, c.logMin())
	if c.fresh != nil && before.version == "" {
		c.fresh()
	}
	l.sendBack(w, spot{plain, int32(c.writer.round) % 4})
	l.commitSome(w, c.logMin())
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		l.sync(w, h, c.logMin())
		late := l.missing(time.Now().Add(-2 * time.Second))
		if len(late) == 0 {
			break
		}
		if time.Now().After(end) {
			c.t.Fatalf("%d messages are late:\n%s", len(late), strings.Join(late, "\n"))
		}
	}
	l.checkLookups(w, c.logMin())
	if g.purge {
		c.purge(w, g, broker)
		l.sync(w, h, c.logMin())
	}
	l.sync(w, h, c.logMin())
	if g.kill {
		c.settled(w)
		broker.Kill()
	} else {
		broker.Stop()
		c.inspect()
	}
	unharmed()
}

// logMin is the first offset that the log on the disk still has.
func (c *chain) logMin() int64 {
	names, err := os.ReadDir(filepath.Join(c.dir, "commitlog"))
	if err != nil {
		c.t.Fatal(err)
	}
	for _, n := range names {
		if at, err := strconv.ParseInt(n.Name(), 10, 64); err == nil {
			return at
		}
	}
	return 0
}

// purge makes the first files of the log old enough and waits until the broker has deleted them and what points into them.
func (c *chain) purge(w *wire, g leg, broker *peers.Server) {
	c.t.Helper()
	names, err := filepath.Glob(filepath.Join(c.dir, "commitlog", "*"))
	if err != nil || len(names) < 4 {
		c.t.Fatalf("too few segments: %v %v", names, err)
	}
	cut := len(names) / 2
	for cut > 0 && baseOf(names[cut]) > c.ledger.waitingFrom() { // what is still to be delivered is not old
		cut--
	}
	if cut == 0 {
		c.t.Fatalf("nothing is old enough to be deleted")
	}
	old := time.Now().Add(-2 * time.Hour)
	var ages []string
	for _, n := range names[:cut] {
		if err := os.Chtimes(n, old, old); err != nil {
			c.t.Fatal(err)
		}
		ages = append(ages, fmt.Sprintf(`"%d":7200`, baseOf(n)))
	}
	if g.version == peers.Ours { // it counts the time that passed and not what files say of themselves
		broker.Stop()
		if err := os.WriteFile(filepath.Join(c.dir, "ages.json"), []byte(`{"ages":{`+strings.Join(ages, ",")+`}}`), 0o644); err != nil {
			c.t.Fatal(err)
		}
		broker.Start()
	}
	want := baseOf(names[cut])
	until(c.t, "old segments are deleted", func() bool { return c.logMin() == want })
	var wrong []string
	begins := func() bool {
		wrong = nil
		for _, s := range c.ledger.spots {
			first, next, err := w.bounds(s)
			kept := c.ledger.firstKept(s, want)
			if g.version != peers.Ours && s.topic == gone {
				continue // see ledger.syncQueue
			}
			if err != nil || first != kept || !c.queueFileHolds(s, first) {
				wrong = append(wrong, fmt.Sprintf("%v: from %d to %d, expected from %d (%v)", s, first, next, kept, err))
			}
		}
		return len(wrong) == 0
	}
	for end := time.Now().Add(10 * time.Second); !begins(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.t.Fatalf("queues do not begin where the log does, at %d:\n%s", want, strings.Join(wrong, "\n"))
		}
	}
}

func baseOf(file string) int64 {
	n, _ := strconv.ParseInt(filepath.Base(file), 10, 64)
	return n
}

// queueFileHolds tells whether the oldest file of a queue is the one with that unit: a Java broker looks for the first
// message in it alone.
func (c *chain) queueFileHolds(s spot, unit int64) bool {
	names, err := os.ReadDir(filepath.Join(c.dir, "consumequeue", s.topic, strconv.Itoa(int(s.queue))))
	if err != nil || len(names) == 0 {
		return c.ledger.shelves[s].next() == 0
	}
	base, err := strconv.ParseInt(names[0].Name(), 10, 64)
	return err == nil && (len(names) == 1 || unit < base/20+unitsAFile)
}

// newGroup makes a group, so that every broker has a reason to write its table of groups anew.
func (c *chain) newGroup(w *wire) {
	c.t.Helper()
	name := fmt.Sprintf("group-of-round-%d", c.writer.round)
	if _, _, _, err := w.pull(name, spot{plain, 0}, 0, "*"); err != nil {
		c.t.Fatalf("group %s: %v", name, err)
	}
}

// settled waits until what is written now and then only has been written: a kill after it loses none of it.
func (c *chain) settled(w *wire) {
	c.t.Helper()
	until(c.t, "offsets are on the disk", func() bool {
		b, err := os.ReadFile(filepath.Join(c.dir, "config", "consumerOffset.json"))
		if err != nil {
			return false
		}
		have, err := offset.Decode(b)
		if err != nil {
			return false
		}
		for g, committed := range c.ledger.offsets {
			for s, n := range committed {
				if have[offset.Key{Topic: s.topic, Group: g}][s.queue] != n {
					return false
				}
			}
		}
		return true
	})
	until(c.t, "the newest group is on the disk", func() bool {
		b, _ := os.ReadFile(filepath.Join(c.dir, "config", "subscriptionGroup.json"))
		return strings.Contains(string(b), fmt.Sprintf("group-of-round-%d", c.writer.round))
	})
	until(c.t, "delay offsets are on the disk", func() bool {
		b, err := os.ReadFile(filepath.Join(c.dir, "config", "delayOffset.json"))
		if err != nil {
			return false
		}
		var table protocol.DelayOffsetTable
		if protocol.DecodeJSON(b, &table) != nil {
			return false
		}
		for level := range int32(2) { // nothing of the longer ones is due at this moment
			_, next, err := w.bounds(spot{message.ScheduleTopic, level})
			if err != nil || next > 0 && table.OffsetTable[level+1] != next {
				return false
			}
		}
		return true
	})
}

// TestDirectories is the matrix: every producer, every stop, every reader. The chains run beside each other whatever
// -parallel says: a Java broker first looks for old files after a minute.
func TestDirectories(t *testing.T) {
	peers.Need(t, peers.Ours, peers.Servers49, peers.Clients49, peers.All53)
	var chains sync.WaitGroup
	defer chains.Wait()
	chains.Go(func() {
		t.Run("4.9", func(t *testing.T) {
			newChain(t, "from-49", "127.0.0.1", peers.Clients49).run(
				leg{version: peers.Servers49, purge: true},
				leg{version: peers.Ours, java: true},
				leg{version: peers.Servers49, kill: true},
				leg{version: peers.Ours, kill: true},
				leg{version: peers.Servers49},
				leg{version: peers.Ours},
			)
		})
	})
	chains.Go(func() {
		t.Run("5.3", func(t *testing.T) {
			c := newChain(t, "from-53", "127.0.0.1", peers.All53)
			c.props["mappedFileSizeTimerLog"] = "1048576"
			c.ledger.add(spot{message.RetryTopic(longGroup), 0})
			c.fresh, c.later = c.write53, c.check53
			c.run(
				leg{version: peers.All53, purge: true, kill: true},
				leg{version: peers.Ours, java: true},
				leg{version: peers.All53},
				leg{version: peers.Ours, kill: true},
				leg{version: peers.All53},
				leg{version: peers.Ours},
			)
		})
	})
	chains.Go(func() {
		t.Run("ours over IPv6", func(t *testing.T) {
			newChain(t, "from-us", "::1", peers.Clients49).run(
				leg{version: peers.Ours, purge: true},
				leg{version: peers.Servers49},
				leg{version: peers.Ours, java: true, kill: true, purge: true},
				leg{version: peers.All53, java: true, kill: true},
				leg{version: peers.Ours},
			)
		})
	})
}
