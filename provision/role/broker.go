// The steps of a broker.

package role

import (
	"strconv"
	"time"

	"rmqctl/inventory"
	"rmqctl/provision/step"
)

// Broker is what holds on a node with a broker.
func Broker(inv *inventory.Inventory, b *inventory.Broker, bin Binary) []step.Step {
	n, user, sup := b.Node, owner(inv, b.Node), Supervisor(inv, b.Node)
	p := process{
		inv: inv, node: n, bin: bin,
		unit:        b.Unit(),
		description: "RocketMQ broker " + b.Member + " of cluster " + inv.Name,
		args:        []string{"broker", "-c", b.ConfPath()},
		conf:        b.Properties(),
		log:         b.LogPath(),
		writes:      append(b.DataDirs(), n.Paths.Conf),
		memory:      n.MemoryMax,
	}
	var steps []step.Step
	add := func(s ...step.Step) { steps = append(steps, s...) }
	ports := []int{b.ListenPort, b.FastPort(), b.HAPort}
	id := b.ID
	if b.Raft() {
		ports, id = []int{b.ListenPort, b.FastPort(), b.RaftPort}, -1
	}
	for _, port := range ports {
		add(step.PortFree{Address: bind(n), Port: port, Unless: b.Unit(), Sup: sup})
	}
	add(step.DiskSpace{Path: b.StoreDir, Need: room(b)})
	for _, dir := range b.DataDirs() {
		add(dirs(n, step.Dir{Path: dir, Owner: user, Group: user, Mode: 0o750, Deep: true, Data: true})...)
	}
	add(step.StoreIdentity{Dir: b.StoreDir, Owner: user, Group: user, Cluster: inv.Name, Broker: b.Name, ID: b.ID})
	add(step.File{Path: b.ConfPath(), Content: p.conf, Owner: user, Group: user, Mode: 0o640})
	add(p.run()...)
	add(step.Answers{Addr: b.Addr(), Limit: time.Minute})
	add(step.Registered{Broker: b.Name, ID: id, Member: b.Member, Addr: b.Addr(), NameServers: nameServers(inv), Limit: inv.Service.StartTimeout})
	return unique(steps)
}

// room is what a new store needs: the commit log's current file and the one prepared behind it, and as much again for
// queues and index.
func room(b *inventory.Broker) int64 {
	const builtIn = 1 << 30
	segment, err := strconv.ParseInt(b.Property("mappedFileSizeCommitLog"), 10, 64)
	if err != nil {
		segment = builtIn
	}
	return 2*segment + 256<<20
}

func nameServers(inv *inventory.Inventory) []string {
	var addrs []string
	for _, s := range inv.NameServers {
		addrs = append(addrs, s.Addr())
	}
	return addrs
}
