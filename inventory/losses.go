// What the death of each host and of each data centre would mean, from the layout alone.

package inventory

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What is left of a group.
const (
	Writable    = "writable"    // sends and reads go on
	Unconfirmed = "unconfirmed" // messages are stored, but the send is answered SLAVE_NOT_AVAILABLE
	ReadOnly    = "read-only"   // what is there can be read, sends are refused
	Unavailable = "unavailable" // neither
)

// Loss is one host or data centre that is gone, and what remains.
type Loss struct {
	Kind        string      `json:"kind"` // node, zone
	Name        string      `json:"name"`
	Sends       string      `json:"sends"` // of the whole cluster: "go on", "go on through broker-b", "stop"
	Reads       string      `json:"reads"`
	NameServers int         `json:"nameServers"` // that are left
	Of          int         `json:"of"`
	Groups      []GroupLoss `json:"groups"`
}

// GroupLoss is what remains of one group.
type GroupLoss struct {
	Group   string `json:"group"`
	State   string `json:"state"`
	Hit     bool   `json:"hit"` // a member was there
	Why     string `json:"why,omitempty"`
	MayLose string `json:"mayLose,omitempty"` // acknowledged messages that can be lost for good, and when; "" = none
}

// Losses lists the hosts on which something runs and, when there are two or more, the data centres.
func (inv *Inventory) Losses() []Loss {
	var out []Loss
	var zones []string
	for _, n := range inv.Nodes {
		if n.NameServer != nil || len(n.Brokers) > 0 {
			out = append(out, inv.loss("node", n.Name, func(x *Node) bool { return x == n }))
		}
		if n.Zone != "" && !slices.Contains(zones, n.Zone) {
			zones = append(zones, n.Zone)
		}
	}
	if len(zones) > 1 {
		for _, z := range zones {
			out = append(out, inv.loss("zone", z, func(x *Node) bool { return x.Zone == z }))
		}
	}
	return out
}

func (inv *Inventory) loss(kind, name string, dead func(*Node) bool) Loss {
	l := Loss{Kind: kind, Name: name, Of: len(inv.NameServers)}
	for _, s := range inv.NameServers {
		if !dead(s.Node) {
			l.NameServers++
		}
	}
	var send, unread []string
	for _, g := range inv.Groups {
		left := g.without(dead)
		l.Groups = append(l.Groups, left)
		if left.State == Writable || left.State == Unconfirmed {
			send = append(send, g.Name)
		}
		if left.State == Unavailable {
			unread = append(unread, g.Name)
		}
	}
	switch {
	case l.NameServers == 0:
		l.Sends = "only by clients that run already"
	case len(send) == 0:
		l.Sends = "stop"
	case len(send) == len(inv.Groups):
		l.Sends = "go on"
	default:
		l.Sends = "go on through " + strings.Join(send, ", ")
	}
	switch {
	case l.NameServers == 0:
		l.Reads = "only by clients that run already"
	case len(unread) == 0:
		l.Reads = "all"
	case len(unread) == len(inv.Groups):
		l.Reads = "stop"
	default:
		l.Reads = "all but " + strings.Join(unread, ", ")
	}
	return l
}

// without is what remains of the group on the other hosts.
func (g *Group) without(dead func(*Node) bool) GroupLoss {
	l := GroupLoss{Group: g.Name, State: Writable}
	var gone, left []*Broker
	for _, b := range g.Brokers {
		if dead(b.Node) {
			gone = append(gone, b)
		} else {
			left = append(left, b)
		}
	}
	if len(gone) == 0 {
		return l
	}
	l.Hit = true
	if g.Raft {
		g.raftLoss(&l, gone, left)
	} else {
		g.masterLoss(&l, gone, left)
	}
	return l
}

func (g *Group) raftLoss(l *GroupLoss, gone, left []*Broker) {
	spare := len(left) - g.Majority()
	switch {
	case spare >= 0:
		l.Why = fmt.Sprintf("%d of %d members left, a majority: if the leader was there another is elected in seconds; ", len(left), len(g.Brokers))
		if spare == 0 {
			l.Why += "one more loss stops it"
		} else {
			l.Why += fmt.Sprintf("%s more would be borne", times(spare, "loss", "losses"))
		}
	case len(left) > 0:
		l.State = ReadOnly
		l.Why = fmt.Sprintf("%d of %d members left, no majority: nobody leads until %s", len(left), len(g.Brokers), back(g.Majority()-len(left), gone))
	default:
		l.State = Unavailable
		l.Why = "all its members are there"
	}
	// An acknowledged message is on a majority. It is gone only if all of that majority lose it.
	if len(gone) < g.Majority() {
		return
	}
	l.MayLose = "if the disks of " + names(gone) + " are gone, what they had acknowledged between them"
	if !flushes(gone) {
		l.MayLose = "if their power is cut, what was not on their disks yet (usually under a second, ASYNC_FLUSH); " + l.MayLose
	}
}

func (g *Group) masterLoss(l *GroupLoss, gone, left []*Broker) {
	var slaves []*Broker
	master := false
	for _, b := range left {
		if b.Master() {
			master = true
		} else {
			slaves = append(slaves, b)
		}
	}
	switch {
	case master:
		g.slaveLoss(l, slaves)
	case len(slaves) > 0:
		l.State = ReadOnly
		l.Why = fmt.Sprintf("%s is its master: %s serves reads; sends wait until %s is back or `rmqctl promote` makes %s master",
			g.Master.Node.Name, names(slaves), g.Master.Node.Name, one(slaves))
		if g.acks() < 2 {
			l.MayLose = "if you promote, or the master's disk is gone: what no slave had yet (milliseconds of sends while they keep up: look at the lag in `rmqctl status`)"
		}
	default:
		l.State = Unavailable
		if len(g.Slaves) == 0 {
			l.Why = fmt.Sprintf("its only broker is on %s: unread messages wait for its return", g.Master.Node.Name)
		} else {
			l.Why = "its master and all its slaves are there"
		}
		l.MayLose = "if the disk of " + names(gone) + " is gone, everything on it"
		if len(gone) > 1 {
			l.MayLose = "if the disks of " + names(gone) + " are gone, everything on them"
		}
		if !flushes(gone) {
			l.MayLose = "if the power is cut, what was not on disk yet (usually under a second, ASYNC_FLUSH); " + l.MayLose
		}
	}
}

// slaveLoss: the master lives, with the slaves that are left.
func (g *Group) slaveLoss(l *GroupLoss, slaves []*Broker) {
	switch need := g.acks(); {
	case need > 1+len(slaves):
		l.State = Unconfirmed
		l.Why = fmt.Sprintf("%s stores each message and answers SLAVE_NOT_AVAILABLE until a slave is back: an application that insists on SEND_OK sees errors", g.Master.Member)
		l.MayLose = "if " + g.Master.Node.Name + " dies as well, what was sent meanwhile (no send of it said SEND_OK)"
	case len(slaves) == 0:
		l.Why = g.Master.Member + " goes on without a copy"
		l.MayLose = "if " + g.Master.Node.Name + " dies as well, what was sent meanwhile"
	default:
		l.Why = fmt.Sprintf("%s goes on with %s", g.Master.Member, names(slaves))
	}
}

// acks is how many members have a message before its send is answered SEND_OK.
func (g *Group) acks() int {
	if g.Master.Role != SyncMaster {
		return 1
	}
	n, err := strconv.Atoi(g.Master.Property("inSyncReplicas"))
	if err != nil || n < 2 {
		return 2
	}
	return n
}

// flushes says whether what a send is acknowledged for lies on a disk by then.
func flushes(bs []*Broker) bool {
	return !slices.ContainsFunc(bs, func(b *Broker) bool { return b.Property("flushDiskType") != "SYNC_FLUSH" })
}

func names(bs []*Broker) string {
	var out []string
	for _, b := range bs {
		out = append(out, b.Member)
	}
	return strings.Join(out, " and ")
}

func one(bs []*Broker) string {
	if len(bs) == 1 {
		return "it"
	}
	return "one of them"
}

// back is "node1 is back", or "2 of node1, node2, node3 are back".
func back(need int, gone []*Broker) string {
	var at []string
	for _, b := range gone {
		at = append(at, b.Node.Name)
	}
	if len(at) == 1 {
		return at[0] + " is back"
	}
	if need == 1 {
		return "one of " + strings.Join(at, ", ") + " is back"
	}
	return fmt.Sprintf("%d of %s are back", need, strings.Join(at, ", "))
}

func times(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

// LossesText is Losses for people: a table, and below it what it means for each group that is hit.
func LossesText(losses []Loss) string {
	if len(losses) == 0 {
		return ""
	}
	rows := [][]string{{"if this dies", "name servers"}}
	for _, g := range losses[0].Groups {
		rows[0] = append(rows[0], g.Group)
	}
	rows[0] = append(rows[0], "sends", "reads")
	for _, l := range losses {
		row := []string{l.Kind + " " + l.Name, fmt.Sprintf("%d of %d", l.NameServers, l.Of)}
		for _, g := range l.Groups {
			row = append(row, g.State)
		}
		rows = append(rows, append(row, l.Sends, l.Reads))
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		line := " "
		for i, cell := range row {
			line += fmt.Sprintf(" %-*s ", width[i], cell)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, l := range losses {
		var lines []string
		if l.NameServers == 0 {
			lines = append(lines, "no name server is left: clients and brokers that run go on with what they know, new ones find nothing")
		}
		for _, g := range l.Groups {
			if !g.Hit {
				continue
			}
			lines = append(lines, g.Group+": "+g.Why)
			if g.MayLose == "" {
				lines = append(lines, "   nothing acknowledged is lost")
			} else {
				lines = append(lines, "   may be lost: "+g.MayLose)
			}
		}
		if lines != nil {
			b.WriteString("  " + l.Kind + " " + l.Name + "\n")
		}
		for _, line := range lines {
			b.WriteString("    " + line + "\n")
		}
	}
	return b.String()
}
