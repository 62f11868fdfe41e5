// What must be there before a run: topics, and where their queues end.
package load

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

// benchmarkTopic is made by every broker itself, and by nobody else.
const benchmarkTopic = "BenchmarkTest"

// CreateTopics makes the topics of o on all its targets.
func CreateTopics(ctx context.Context, o Options) error {
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, t := range o.Targets {
		for _, topic := range o.Topics {
			if topic == benchmarkTopic {
				continue
			}
			g.Go(func() error {
				_, _, err := remoting.Do(ctx, rc, t.Addr, protocol.UpdateAndCreateTopic, &protocol.UpdateTopicRequest{
					Topic: topic, DefaultTopic: "TBW102", ReadQueueNums: t.Queues, WriteQueueNums: t.Queues,
					Perm: protocol.PermRead | protocol.PermWrite, TopicFilterType: "SINGLE_TAG",
				})
				if err != nil {
					return fmt.Errorf("topic %s at %s: %w", topic, t.Addr, err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// toEnd sets the cursors behind the last message of their queues.
func (r *run) toEnd(ps []*puller) error {
	rc := remoting.NewClient(remoting.ClientOptions{})
	defer rc.Close()
	for _, p := range ps {
		for _, c := range p.cursors {
			resp, _, err := remoting.Do(r.ctx, rc, p.conn.RemoteAddr().String(), protocol.GetMaxOffset, &protocol.GetMaxOffsetRequest{Topic: c.topic, QueueID: c.queue})
			if err != nil {
				return fmt.Errorf("end of %s queue %d: %w", c.topic, c.queue, err)
			}
			c.next, c.first = resp.Offset, resp.Offset
		}
	}
	return nil
}

// Idle opens n connections to addr that each have asked once and then say nothing. close ends them.
func Idle(ctx context.Context, addr string, n int) (close func(), err error) {
	var conns []net.Conn
	close = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	cmd := protocol.Command{Code: protocol.HeartBeat.Code, Language: protocol.LanguageGo, Version: protocol.CurrentVersion, Opaque: markOpaque}
	var d net.Dialer
	answer := make([]byte, 4096)
	for i := range n {
		c, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			close()
			return nil, fmt.Errorf("connection %d: %w", i+1, err)
		}
		conns = append(conns, c)
		body := fmt.Appendf(nil, `{"clientID":"127.0.0.1@%d","consumerDataSet":[],"producerDataSet":[{"groupName":"idle"}]}`, i)
		if _, err = c.Write(protocol.AppendFrame(nil, &cmd, protocol.Header{}, body)); err == nil {
			_, err = c.Read(answer)
		}
		if err != nil {
			close()
			return nil, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	return close, nil
}

// Once sends one message on a connection of its own and waits for its acknowledgement.
func Once(ctx context.Context, addr, topic string) error {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	o := Options{Topics: []string{topic}, Group: "rmqctl-bench"}
	m := outgoing{opaque: opaqueBase, topic: topic}
	m.setBorn(time.Now().UnixMilli())
	if _, err := c.Write(sendTemplate(&o, 1, 0, []byte("once")).appendSend(nil, &m)); err != nil {
		return err
	}
	in := newReader(c)
	for {
		if err := in.fill(); err != nil {
			return err
		}
		var a answer
		ok, err := in.next(&a)
		if err != nil {
			return err
		}
		if ok && a.code != protocol.Success {
			return a.failure()
		}
		if ok {
			return nil
		}
	}
}
