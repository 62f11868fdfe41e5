// The same directory through the eyes of Java's own client and mqadmin.

package dirs

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"rmqctl/internal/message"
	"rmqctl/test/peers"
)

// askAdmin lets the real mqadmin look for messages and offsets.
func (c *chain) askAdmin(logMin int64) {
	c.t.Helper()
	l := c.ledger
	until(c.t, "a route", func() bool { _, err := c.w.c.Route(context.Background(), plain); return err == nil })
	status := c.mqadmin("topicStatus", "-t", plain)
	progress := c.mqadmin("consumerProgress", "-g", group)
	for q := range int32(4) {
		s := spot{plain, q}
		first, _ := l.kept(s, logMin)
		next := l.shelves[s].next()
		c.says(status, `(?m)^%s\s+%d\s+%d\s+%d\s`, c.name, q, first, next)
		c.says(progress, `(?m)^%s\s+%s\s+%d\s+%d\s+%d\s`, plain, c.name, q, next, l.offsets[group][s])
	}
	s := spot{plain, 2}
	_, records := l.kept(s, logMin)
	r := parse(records[len(records)-2])
	m := r.Message()
	args := []string{"queryMsgById", "-i", message.OffsetID(m.StoreHost, m.PhysicalOffset)}
	if c.version == peers.All53 {
		args = append(args, "-t", s.topic)
	}
	c.says(c.mqadmin(args...), `Queue Offset:\s+%d\s`, r.QueueOffset)
	if r.PhysicalOffset < l.indexed {
		return
	}
	id, _ := m.Property(message.PropUniqKey)
	keys, _ := m.Property(message.PropKeys)
	if !c.asked { // the command keeps the client it has shut down: in one JVM it works once
		c.asked = true
		c.says(c.mqadmin("queryMsgByUniqueKey", "-t", s.topic, "-i", id), `Queue Offset:\s+%d\s`, r.QueueOffset)
	}
	c.says(c.mqadmin("queryMsgByKey", "-t", s.topic, "-k", message.Keys(keys)[0]), `(?m)^%s\s+%d\s+%d\s`, id, s.queue, r.QueueOffset)
}

// mqadmin runs a command; on a busy machine its new connections fail now and then.
func (c *chain) mqadmin(args ...string) string {
	c.t.Helper()
	out := ""
	for range 3 {
		if out = c.admin.Run(append(args, "-n", c.ns.Addr)...); !strings.Contains(out, "RemotingConnectException") {
			break
		}
	}
	return out
}

func (c *chain) says(out, pattern string, args ...any) {
	c.t.Helper()
	for i, a := range args {
		args[i] = regexp.QuoteMeta(fmt.Sprint(a))
	}
	p := fmt.Sprintf(strings.ReplaceAll(pattern, "%d", "%s"), args...) // they are texts now
	if !regexp.MustCompile(p).MatchString(out) {
		c.t.Errorf("mqadmin says nothing like %s:\n%s", p, out)
	}
}

// readWithJava reads topics whole with the Java client, which unpacks and checks every body.
func (c *chain) readWithJava(version string, logMin int64) {
	c.t.Helper()
	for _, topic := range []string{plain, odd} {
		var want []string
		for _, s := range c.ledger.spots {
			if s.topic != topic {
				continue
			}
			_, records := c.ledger.kept(s, logMin)
			for _, b := range records {
				want = append(want, c.ledger.line(parse(b)))
			}
		}
		events := peers.Of(peers.Run(c.t, version, "pull", "namesrv="+c.ns.Addr, "topic="+topic, "group=java-reader"), "received")
		c.sameLines("read by Java "+version+" from "+topic, want, events)
	}
}

// resume lets a Java consumer go on where its group stopped.
func (c *chain) resume(version string, logMin int64) {
	c.t.Helper()
	l := c.ledger
	var want []string
	for s, at := range l.offsets[resumer] {
		for off := max(at, l.firstKept(s, logMin)); off < l.shelves[s].next(); off++ {
			want = append(want, l.line(parse(l.shelves[s].at(off))))
		}
	}
	events := peers.Of(peers.Run(c.t, version, "consume", "namesrv="+c.ns.Addr, "topic="+plain, "group="+resumer,
		"n="+strconv.Itoa(len(want)), "idle=60000"), "received")
	c.sameLines("consumed by Java "+version, want, events)
	for s := range l.offsets[resumer] {
		l.offsets[resumer][s] = l.shelves[s].next()
	}
}

// line is a message as a Peer program prints it, as far as it is compared.
func (l *ledger) line(r *message.Record) string {
	m := r.Message()
	id, _ := m.Property(message.PropUniqKey)
	tag, _ := m.Property(message.PropTags)
	keys, _ := m.Property(message.PropKeys)
	return fmt.Sprintf("%s queue %d offset %d tag %s keys %s", id, r.QueueID, r.QueueOffset, tag, keys)
}

func (c *chain) sameLines(what string, want []string, events []peers.Event) {
	c.t.Helper()
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s queue %d offset %d tag %s keys %s", e.MsgID, e.Queue, e.Offset, e.Tags, e.Keys))
	}
	slices.Sort(want)
	slices.Sort(got)
	if slices.Equal(want, got) && len(want) > 0 {
		return
	}
	lacks := without(want, got)
	more := without(got, want)
	c.t.Errorf("%s: %d messages, expected %d; missing %q, too many %q", what, len(got), len(want), lacks[:min(len(lacks), 3)], more[:min(len(more), 3)])
}

func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(x string) bool { _, in := slices.BinarySearch(b, x); return in })
}
