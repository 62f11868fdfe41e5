package store

import (
	"testing"
	"time"

	"rmqctl/internal/message"
	"rmqctl/internal/vfs"
)

// Java's 4.9 makes lost units of delayed messages again without their time: a kill must not lose them.
func TestUnitsOfDelayedMessagesAreInTheFileSoon(t *testing.T) {
	fsys := vfs.NewMem()
	o := small("/store")
	o.Clock = fakeClock() // no interval ever ends
	s := mustOpen(t, fsys, o)
	defer mustClose(t, s)
	mustAppend(t, s, msg("T", 0, "x"))
	mustAppend(t, s, msg(message.ScheduleTopic, 3, "x", message.PropDelay, "4"))
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		b, err := vfs.ReadFile(fsys, "/store/consumequeue/"+message.ScheduleTopic+"/3/00000000000000000000")
		if err == nil && !allZero(b[:20]) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never in the file: %v", err)
		}
	}
	if _, err := fsys.Stat("/store/consumequeue/T/0"); err == nil {
		t.Error("the units of other topics are gathered first")
	}
}
