// Where a value came from.

package inventory

import "fmt"

// Explanation is the history of one key of one process: the last origin is what holds.
type Explanation struct {
	Process string // broker-a-s, namesrv
	Key     string // canonical name
	Chain   []Origin
}

// Value is what holds.
func (e Explanation) Value() string { return e.Chain[len(e.Chain)-1].Value }

// Explain says for every process of a node that knows the key what each layer says about it.
func (inv *Inventory) Explain(node, key string) ([]Explanation, error) {
	n := inv.Node(node)
	if n == nil {
		return nil, fmt.Errorf("there is no node %q", node)
	}
	tables := newKeyTables()
	var all []Explanation
	add := func(process string, t keyTable, s settings) {
		if name, ok := t.canonical(key); ok {
			chain := append([]Origin{{Layer: "built-in", Value: t.value(name)}}, s[name]...)
			all = append(all, Explanation{Process: process, Key: name, Chain: chain})
		}
	}
	if n.NameServer != nil {
		add("namesrv", tables.namesrv, n.NameServer.settings)
	}
	for _, b := range n.Brokers {
		add(b.Member, tables.broker, b.settings)
	}
	if len(all) == 0 {
		if near := tables.broker.nearest(key); near != "" {
			return nil, fmt.Errorf("no process of %s knows the key %q: did you mean %s?", node, key, near)
		}
		return nil, fmt.Errorf("no process of %s knows the key %q", node, key)
	}
	return all, nil
}
