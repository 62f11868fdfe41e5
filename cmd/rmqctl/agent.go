// The part of rmqctl that works on a host, started there by the engine.
package main

import (
	"errors"

	"rmqctl/provision/agent"
)

type agentCmd struct {
	Stdio bool `required:"" help:"Speak over standard input and output."`
}

func (c *agentCmd) Run(std *streams) error {
	if !c.Stdio {
		return withCode(exitUsage, errors.New("agent: only --stdio is served"))
	}
	return agent.Serve(std.in, std.out, agent.Options{Version: version})
}
