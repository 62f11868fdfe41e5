// Finding messages: queryMsgById, queryMsgByKey, queryMsgByUniqueKey.
package admin

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/message"
	"rmqctl/internal/protocol"
)

type queryMsgByID struct {
	target
	MsgID string `short:"i" name:"msgId" required:"" help:"Offset message ids (made by the broker), comma-joined."`
}

func (f *queryMsgByID) Run(e *Env) error {
	for _, id := range strings.Split(f.MsgID, ",") {
		host, at, err := message.ParseOffsetID(strings.TrimSpace(id))
		if err != nil {
			return fmt.Errorf("%w; an id made by a client is looked up by queryMsgByUniqueKey", err)
		}
		_, body, err := client.Call(e.Ctx, e.C, host.String(), protocol.ViewMessageByID, &protocol.ViewMessageRequest{Offset: at})
		if err != nil {
			return err
		}
		found, err := client.DecodeMessages(body)
		if err != nil || len(found) != 1 {
			return fmt.Errorf("message %s: %d messages in the answer of %s: %w", id, len(found), host, err)
		}
		m := &found[0]
		offsetID := message.OffsetID(m.StoreHost, m.PhysicalOffset)
		e.printf("%-20s %s\n", "OffsetID:", offsetID)
		if err := printMessage(e, m, cmp.Or(property(m, message.PropUniqKey), offsetID)); err != nil {
			return err
		}
		if err := printTracks(e, m); err != nil {
			return err
		}
	}
	return nil
}

type queryMsgByKey struct {
	target
	Topic string `short:"t" name:"topic" required:"" help:"Topic."`
	Key   string `short:"k" name:"msgKey" required:"" help:"One of the keys it was sent with."`
}

func (f *queryMsgByKey) Run(e *Env) error {
	found, err := query(e, f.Topic, f.Key, "", func(m *message.Message) bool {
		return slices.Contains(message.Keys(property(m, message.PropKeys)), f.Key)
	})
	if err != nil {
		return err
	}
	e.printf("%-50s %4s %40s\n", "#Message ID", "#QID", "#Offset")
	for _, m := range found {
		e.printf("%-50s %4d %40d\n", property(&m, message.PropUniqKey), m.QueueID, m.QueueOffset)
	}
	return nil
}

type queryMsgByUniqueKey struct {
	target
	MsgID   string `short:"i" name:"msgId" required:"" help:"Message id made by the client."`
	Topic   string `short:"t" name:"topic" required:"" help:"Topic."`
	ShowAll bool   `short:"a" name:"showAll" help:"All of them, if it was sent more than once."`
}

func (f *queryMsgByUniqueKey) Run(e *Env) error {
	found, err := query(e, f.Topic, f.MsgID, "true", func(m *message.Message) bool { return property(m, message.PropUniqKey) == f.MsgID })
	if err != nil {
		return err
	}
	for i := range found {
		name := f.MsgID
		if i > 0 {
			name += fmt.Sprintf("_%d", i)
		}
		if err := printMessage(e, &found[i], name); err != nil {
			return err
		}
		if err := printTracks(e, &found[i]); err != nil {
			return err
		}
		if !f.ShowAll {
			break
		}
	}
	return nil
}

// query asks one replica of every broker of a topic and keeps what matches exactly (an index holds hashes), oldest first.
func query(e *Env, topic, key, unique string, match func(*message.Message) bool) ([]message.Message, error) {
	r, err := e.C.Route(e.Ctx, topic)
	if err != nil {
		return nil, err
	}
	var found []message.Message
	for _, b := range r.BrokerDatas {
		addr := client.AnyReplica(b)
		_, body, err := client.Call(e.Ctx, e.C, addr, protocol.QueryMessage, &protocol.QueryMessageRequest{
			Topic: topic, Key: key, MaxNum: 64, BeginTimestamp: 0, EndTimestamp: math.MaxInt64, UniqueKey: unique})
		if protocol.StatusOf(err) == protocol.QueryNotFound {
			continue
		}
		if err != nil {
			return nil, at(addr, err)
		}
		some, err := client.DecodeMessages(body)
		if err != nil {
			return nil, at(addr, err)
		}
		for _, m := range some {
			if m.Topic == topic && match(&m) {
				found = append(found, m)
			}
		}
	}
	if len(found) == 0 {
		return nil, protocol.Errorf(protocol.NoMessage, "query message by key finished, but no message.")
	}
	slices.SortFunc(found, func(a, b message.Message) int { return cmp.Compare(a.StoreTimestamp, b.StoreTimestamp) })
	return found, nil
}

func property(m *message.Message, name string) string {
	v, _ := m.Property(name)
	return v
}

// printMessage prints everything of a message but its body, which it writes to a file of the given name.
func printMessage(e *Env, m *message.Message, name string) error {
	path, err := writeBody(m, name)
	if err != nil {
		return err
	}
	props := message.DecodeProperties(m.Properties)
	var all []string
	for _, k := range slices.Sorted(maps.Keys(props)) {
		all = append(all, k+"="+props[k])
	}
	or := func(name string) string {
		if v, ok := props[name]; ok {
			return v
		}
		return "null"
	}
	for _, row := range [][2]string{
		{"Topic:", m.Topic}, {"Tags:", "[" + or(message.PropTags) + "]"}, {"Keys:", "[" + or(message.PropKeys) + "]"},
		{"Queue ID:", fmt.Sprint(m.QueueID)}, {"Queue Offset:", fmt.Sprint(m.QueueOffset)}, {"CommitLog Offset:", fmt.Sprint(m.PhysicalOffset)},
		{"Reconsume Times:", fmt.Sprint(m.ReconsumeTimes)}, {"Born Timestamp:", human2(m.BornTimestamp)}, {"Store Timestamp:", human2(m.StoreTimestamp)},
		{"Born Host:", m.BornHost.String()}, {"Store Host:", m.StoreHost.String()}, {"System Flag:", fmt.Sprint(m.SysFlag)},
		{"Properties:", "{" + strings.Join(all, ", ") + "}"}, {"Message Body Path:", path},
	} {
		e.printf("%-20s %s\n", row[0], row[1])
	}
	return nil
}

// writeBody puts a body where mqadmin puts it.
func writeBody(m *message.Message, name string) (string, error) {
	body, err := client.Plain(m)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(os.TempDir(), "rocketmq", "msgbodys")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	root, err := os.OpenRoot(dir) // an id from the wire, or a link that somebody put there, leads to nowhere else
	if err != nil {
		return "", err
	}
	defer root.Close()
	return filepath.Join(dir, name), root.WriteFile(name, body, 0o644)
}
