// What a change of members asks of the inventory: the exact lines to write.

package provision

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rmqctl/inventory"
)

// NotNamedError: a member is to join that the inventory does not name. It says what to write.
type NotNamedError struct {
	Group *inventory.Group
	Node  string
	Known bool // as a node
	File  string

	Leaves string // id of the member whose place it takes
}

func (e *NotNamedError) Error() string {
	text := fmt.Sprintf("%s is not a member of %s in %s. Write there", e.Node, e.Group.Name, e.File)
	if !e.Known {
		text += fmt.Sprintf("\n  [[node]]\n  name = %q\n  address = \"…\"", e.Node)
	}
	if !e.Group.Raft {
		return text + fmt.Sprintf("\n  slaves = [%s]        # of [[group]] %s", quoted(append(nodesOf(e.Group.Slaves), e.Node)), e.Group.Name)
	}
	next, nodes, pins, place := 0, nodesOf(e.Group.Brokers), "", len(e.Group.Brokers)
	for i, b := range e.Group.Brokers {
		next = max(next, b.RaftID+1)
		if b.RaftName() == e.Leaves {
			place = i
		} else if b.RaftID != i {
			pins += fmt.Sprintf("\n  member.%s.raft_id = %d", b.Node.Name, b.RaftID)
		}
	}
	comment := ""
	if place == len(nodes) {
		nodes = append(nodes, "")
		if len(nodes)%2 == 0 {
			comment = ", and one more: an odd number; they are added one after the other"
		}
	}
	nodes[place] = e.Node
	if next != place {
		pins += fmt.Sprintf("\n  member.%s.raft_id = %d        # ids are never used again", e.Node, next)
	}
	return text + fmt.Sprintf("\n  raft = [%s]        # of [[group]] %s%s", quoted(nodes), e.Group.Name, comment) + pins
}

func nodesOf(bs []*inventory.Broker) []string {
	var out []string
	for _, b := range bs {
		out = append(out, b.Node.Name)
	}
	return out
}

func quoted(names []string) string {
	for i, n := range names {
		names[i] = strconv.Quote(n)
	}
	return strings.Join(names, ", ")
}

// sayLines tells what to change in the inventory when it still names who left.
func (e *engine) sayLines(g *inventory.Group, id string) {
	i := slices.IndexFunc(g.Brokers, func(b *inventory.Broker) bool { return b.RaftName() == id })
	if i < 0 {
		return
	}
	stay := slices.Delete(slices.Clone(g.Brokers), i, i+1)
	text := fmt.Sprintf("write into [[group]] %s of %s:\n  raft = [%s]", g.Name, e.inv.File, quoted(nodesOf(stay)))
	for j, b := range stay {
		if b.RaftID != j {
			text += fmt.Sprintf("\n  member.%s.raft_id = %d", b.Node.Name, b.RaftID)
		}
	}
	e.emit(Event{Step: "inventory", State: Note, Why: text})
}
