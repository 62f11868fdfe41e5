// Sends that reach a broker which has just lost its leadership.
//
// Clients look for routes every 30 s, and some cannot be told to look earlier. Until then they send to the address that led,
// and their retries, a few milliseconds later, go there too. So a member of a raft group, and a master that was replaced
// while it ran, hands such a send on to who takes messages now, and its answer back as it is; while nobody does, it holds
// the send for as long as an election lasts. One hop: what was handed on is not handed on again.

package processor

import (
	"context"
	"slices"

	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
)

const (
	// hopField marks a request that was handed on. RocketMQ leaves fields that it does not know alone.
	hopField = "rmqctlHop"
	// mostForwarded bounds how many sends are held or handed on at a time.
	mostForwarded = 4096
)

// forward hands the request of x on, if it is to be handed on. It is false when the caller has to answer.
func (p *Send) forward(x *remoting.Exchange) bool {
	if st := p.Role.Load(); st.Takes() || !st.Forward || p.Elsewhere == nil || p.Stopping() { // who stops waits for what it holds
		return false
	}
	if hop, _ := x.Request.Fields.Get(hopField); hop != "" {
		return false
	}
	if p.forwarded.Add(1) > mostForwarded {
		p.forwarded.Add(-1)
		return false
	}
	cmd := &protocol.Command{Code: x.Request.Code, Body: slices.Clone(x.Request.Body)}
	x.Request.Fields.Range(func(k, v string) bool {
		cmd.Fields.Set(k, v)
		return true
	})
	cmd.Fields.Set(hopField, "1")
	pending := x.Hold()
	p.Tasks.Go(func() {
		defer p.forwarded.Add(-1)
		answer, err := p.Elsewhere(context.Background(), cmd)
		if err != nil {
			pending.Reply(nil, err)
			return
		}
		pending.Status(answer.Code)
		pending.Remark(answer.Remark)
		answer.Fields.Range(func(k, v string) bool {
			pending.Set(k, v)
			return true
		})
		pending.ReplyBody(answer.Body)
		pending.Reply(nil, nil)
	})
	return true
}
