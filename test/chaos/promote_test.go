//go:build linux

package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
)

// state asks a member of ours what it is.
func (m *Member) state() (*protocol.ReplicationState, error) {
	return client.CallJSON[protocol.ReplicationState](context.Background(), m.c.client, m.Addr, protocol.GetReplicationState, nil)
}

// becomes waits until a member has a role.
func (m *Member) becomes(role string, within time.Duration) error {
	return m.c.until(within, func() error {
		s, err := m.state()
		if err == nil && s.Role != role {
			err = fmt.Errorf("%s is %s at epoch %d after %v, wanted is %s: %s", m.Name, s.Role, s.Epoch, within, role, s.Why)
		}
		return err
	})
}

// promote makes a slave master whose master cannot be asked.
func (m *Member) promote() error {
	s, err := m.state()
	if err != nil {
		return err
	}
	_, _, err = client.Call(context.Background(), m.c.client, m.Addr, protocol.ChangeBrokerRole, &protocol.ChangeBrokerRoleRequest{
		Role: protocol.RoleMaster, Epoch: s.Epoch + 1, Force: true,
	})
	return err
}

// TestAPromotedSlaveAndItsOldMaster: the master dies with messages that its slave does not have; the slave is promoted and goes
// on from its own end. The old master comes back and must follow, with another end than it had.
func TestAPromotedSlaveAndItsOldMaster(t *testing.T) {
	for _, c := range []struct {
		name string
		sync bool
	}{{"SYNC_MASTER", true}, {"ASYNC_MASTER", false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			promoted(t, c.sync)
		})
	}
}

// lossWindow is how long before the death of an ASYNC_MASTER a message may have been acknowledged that is lost with it, when its
// slave was level: the time on the line, and what a loaded machine adds.
const lossWindow = time.Second

func promoted(t *testing.T, sync bool) {
	c := Start(t, Layout{Sets: []SetLayout{Pair("pair", sync)}})
	old, slave := c.Sets[0].Members[0], c.Sets[0].Members[1]
	w := c.Run(Load{MayLose: !sync, ReadAhead: true}) // a master shows what its slave does not have yet
	w.MoreAcks(500, time.Minute)
	w.rec.Barrier() // nothing from before may be lost
	time.Sleep(lossWindow)
	must(t, c.net.change(1, cut{old.card, slave.card}))
	time.Sleep(200 * time.Millisecond) // the master goes on alone
	killed := time.Now()
	old.Kill()
	if !sync {
		time.Sleep(50 * time.Millisecond) // answers that were under way
		w.rec.Cut()                       // others take the places of what is lost
	}
	must(t, slave.promote())
	out, err := w.Outage(c.Sets[0], killed, time.Minute)
	must(t, err)
	w.MoreAcks(500, time.Minute)
	must(t, c.net.change(-1, cut{old.card, slave.card})) // not sooner: the dead master's kernel would deliver what was under way
	must(t, old.Start())
	must(t, c.Settle())
	must(t, old.becomes(protocol.RoleSlave, time.Minute))
	w.MoreAcks(200, time.Minute)
	v := mustFinish(t, w, *patient)
	t.Logf("writable %v after the kill; %d acknowledged messages lost within the window", out.Round(time.Millisecond), v.Tail)
	if s, err := slave.state(); err != nil || s.Role != protocol.RoleMaster {
		t.Errorf("%+v %v", s, err)
	}
}
