// What the inventory knows of the daemons: their tables of keys, and nothing else.

package inventory

import (
	brokerconfig "rmqctl/broker/config"
	"rmqctl/internal/conf"
	namesrvconfig "rmqctl/namesrv/config"
)

// keyTable answers questions about the keys of one kind of daemon.
type keyTable struct {
	what string
	set  conf.Set
}

type keyTables struct{ broker, namesrv keyTable }

func newKeyTables() keyTables {
	return keyTables{
		broker:  keyTable{"broker", new(brokerconfig.Config).Keys()},
		namesrv: keyTable{"name server", new(namesrvconfig.Config).Keys()},
	}
}

// canonical is the key's own name; RocketMQ knows some keys by two.
func (t keyTable) canonical(key string) (string, bool) {
	k, ok := t.set.Find(key)
	if !ok {
		return "", false
	}
	return k.Name, true
}

// acting is canonical for a key that has an effect: what is derived is not written down for nothing.
func (t keyTable) acting(key string) (string, bool) {
	k, ok := t.set.Find(key)
	if !ok || k.NoUse != "" {
		return "", false
	}
	return k.Name, true
}

func (t keyTable) nearest(key string) string { return t.set.Nearest(key) }

// check says whether the text is a value of the key. It sets the table's own throw-away configuration.
func (t keyTable) check(key, value string) error {
	k, ok := t.set.Find(key)
	if !ok || k.NoUse != "" {
		return nil
	}
	return k.Set(value)
}

// value is the key's default.
func (t keyTable) value(key string) string {
	if k, ok := t.set.Find(key); ok {
		return k.Default
	}
	return ""
}

// lint asks the broker's own configuration what it thinks of all settings together.
func (b *builder) lint(br *Broker) {
	var props []conf.Prop
	for _, k := range sortedKeys(br.settings) {
		props = append(props, conf.Prop{Key: k, Value: br.settings.value(k)})
	}
	_, warnings, err := conf.NewLive((*brokerconfig.Config).Keys, props)
	at := item("group", br.index)
	if err != nil && len(b.problems) == 0 {
		b.wrongKey(at, "", "%s: %v", br.Member, err)
	}
	for _, w := range warnings {
		b.warn(b.writtenAt(br, w.Key, at), "", "%s: %s", br.Member, w.Text)
	}
}

// writtenAt is the path at which the file gives a broker a key, or else.
func (b *builder) writtenAt(br *Broker, key, or string) string {
	tables := []string{child(memberPath(br), "broker"), child(item("node", br.Node.index), "broker"),
		child(item("group", br.index), "broker"), "broker"}
	for _, t := range tables {
		if p := child(t, key); b.src.places.keys[p].line > 0 {
			return p
		}
	}
	return or
}
