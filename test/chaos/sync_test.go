//go:build linux

package chaos

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// TestTheSlaveAloneHasAllThatWasAcknowledged: the slave is far away, the master dies under load and never comes back. Whoever
// acknowledges before the slave has it is found out here.
func TestTheSlaveAloneHasAllThatWasAcknowledged(t *testing.T) {
	t.Parallel()
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", true)}})
	master, slave := c.Sets[0].Members[0], c.Sets[0].Members[1]
	line, err := c.net.slow(master.card, 40*time.Millisecond, 10*time.Millisecond, 0)
	must(t, err)
	w := c.Run(Load{Producers: 16, Pause: time.Millisecond})
	w.MoreAcks(300, time.Minute)
	must(t, c.net.change(1, cut{master.card, slave.card})) // what is on the line when it dies does not arrive
	time.Sleep(300 * time.Millisecond)
	master.Kill()
	must(t, line.close())
	v, err := w.Alone(slave)
	must(t, err)
	kept(t, w, v)
}

// TestALyingSlaveIsNotBelieved: somebody reports to have what nobody has, while the real slave is cut off (#1155).
func TestALyingSlaveIsNotBelieved(t *testing.T) {
	t.Parallel()
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", true)}})
	master, slave := c.Sets[0].Members[0], c.Sets[0].Members[1]
	w := c.Run(Load{Producers: 4})
	w.MoreAcks(100, time.Minute)
	must(t, c.net.change(1, cut{master.card, slave.card}, cut{slave.card, master.card}))
	for range 4 {
		conn, err := (&card{host: c.net.home}).dial(fmt.Sprintf("%v:%d", master.card.ip, haPort))
		must(t, err)
		defer conn.Close()
		go func() { // what it is sent it does not want
			for b := make([]byte, 1<<16); ; {
				if _, err := conn.Read(b); err != nil {
					return
				}
			}
		}()
		_, _ = conn.Write(binary.BigEndian.AppendUint64(nil, 0)) // a new slave, then one that has everything
		time.Sleep(200 * time.Millisecond)
		_, _ = conn.Write(binary.BigEndian.AppendUint64(nil, 1<<40))
		time.Sleep(400 * time.Millisecond)
	}
	master.Kill()
	v, err := w.Alone(slave)
	must(t, err)
	kept(t, w, v)
}
