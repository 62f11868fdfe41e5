//go:build linux

package chaos

import (
	"testing"
	"time"
)

func TestPairSmoke(t *testing.T) {
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", true)}})
	w := c.Run(Load{})
	time.Sleep(2 * time.Second)
	m := c.Leader(c.Sets[0])
	at := time.Now()
	m.Kill()
	time.Sleep(3 * time.Second)
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	out, err := w.Outage(c.Sets[0], at, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	w.MoreAcks(1000, 10*time.Second)
	v, err := w.Finish(30 * time.Second)
	if err != nil {
		t.Error(err)
	}
	t.Logf("%v, outage %v, %+v", v.Report, out, v)
}
