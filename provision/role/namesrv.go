// The steps of a name server.

package role

import (
	"time"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// NameServer is what holds on a node with a name server.
func NameServer(inv *inventory.Inventory, s *inventory.NameServer, bin Binary) []step.Step {
	n, user := s.Node, owner(inv, s.Node)
	p := process{
		inv: inv, node: n, bin: bin,
		unit:        s.Unit(),
		description: "RocketMQ name server of cluster " + inv.Name,
		args:        []string{"namesrv", "-c", s.ConfPath()},
		conf:        s.Properties(),
		log:         s.LogPath(),
		writes:      []string{s.DataDir(), n.Paths.Conf},
		memory:      inv.Service.NameServerMemoryMax,
	}
	steps := []step.Step{step.PortFree{Address: bind(n), Port: s.Port, Unless: s.Unit(), Sup: Supervisor(inv, n)}}
	steps = append(steps, dirs(n, step.Dir{Path: s.DataDir(), Owner: user, Group: user, Mode: 0o750, Deep: true, Data: true})...)
	steps = append(steps, step.File{Path: s.ConfPath(), Content: p.conf, Owner: user, Group: user, Mode: 0o640})
	steps = append(steps, p.run()...)
	return append(steps, step.Answers{Addr: s.Addr(), Limit: time.Minute})
}
