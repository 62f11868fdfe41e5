// What operators see of a master.

package ha

import (
	"time"

	"rmqctl/broker/ha/decide"
)

// SlaveState is one connected slave.
type SlaveState struct {
	Addr           string
	Identity       *decide.Identity // nil: a Java slave, which does not tell
	Connected      time.Time
	Reported       bool  // false until its first report
	Ack            int64 // what it has
	Sent           int64 // what has been written to its connection
	LagBytes       int64 // the master's max less Ack
	InSync         bool  // near enough, and not mute: it is waited for
	BytesSent      int64 // on this connection
	BytesPerSecond int64 // at which it takes the log
	// Left is the time until it is level at that rate; negative while that cannot be told.
	Left time.Duration
}

// MasterStatus is what operators see of a master.
type MasterStatus struct {
	MaxOffset int64
	Slaves    []SlaveState
	Waiting   int  // appends that wait for a slave
	Admits    bool // enough slaves are in sync for appends to be stored
}

// Status looks at the slaves that are connected now.
func (m *Master) Status() MasterStatus {
	hi := m.o.Log.MaxPhysical()
	m.mu.Lock()
	defer m.mu.Unlock()
	st := MasterStatus{MaxOffset: hi, Waiting: m.waiting.len(), Admits: !m.scarce.Load()}
	for s := range m.slaves {
		lag := max(hi-s.ack, 0)
		x := SlaveState{
			Addr: s.addr, Identity: s.peer, Connected: s.since, Reported: s.reported, Ack: s.ack, Sent: s.sent.Load(), LagBytes: lag,
			InSync: m.acks.Near(s.number, hi), BytesSent: s.bytes.Load(), Left: -1,
		}
		if s.reported {
			x.BytesPerSecond, x.Left = s.speed.rate(m.mono(), s.ack, hi)
		}
		st.Slaves = append(st.Slaves, x)
	}
	sortByAddr(st.Slaves)
	return st
}
