// Who leads and who belongs: promote, transfer, member.
package main

import (
	"context"

	"rmqctl/provision"
)

// namedFlags are runFlags of commands that take more arguments: there the inventory has to be named.
type namedFlags struct {
	Inventory string `arg:"" help:"The inventory file."`
	faceFlags
	yesFlag
}

type promoteCmd struct {
	namedFlags
	Member          string `arg:"" help:"The slave that becomes master: broker-a-s."`
	OldMasterIsDead bool   `help:"The old master's host cannot be reached, and you have made sure that it is off: if it were not, what clients still send there would be lost."`
}

func (c *promoteCmd) Run(ctx context.Context, std *streams) error {
	return c.change(ctx, std, "promote", func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.Promote(ctx, o, provision.PromoteOptions{Member: c.Member, OldMasterIsDead: c.OldMasterIsDead})
	})
}

type transferCmd struct {
	namedFlags
	Group string `arg:"" help:"A raft group."`
	Node  string `arg:"" help:"The node whose member is to lead."`
}

func (c *transferCmd) Run(ctx context.Context, std *streams) error {
	return c.change(ctx, std, "transfer", func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.Transfer(ctx, o, c.Group, c.Node)
	})
}

type memberCmd struct {
	Add     memberAddCmd     `cmd:"" help:"Start a member that the inventory names already, and wait until it is level and votes (a slave: until it is in sync)."`
	Remove  memberRemoveCmd  `cmd:"" help:"Take a member out of a raft group and stop it. Its store stays."`
	Replace memberReplaceCmd `cmd:"" help:"Add one member, then remove another: never fewer copies than before."`
}

type memberAddCmd struct {
	namedFlags
	Group string `arg:"" help:"The group."`
	Node  string `arg:"" help:"The node of the new member."`
}

func (c *memberAddCmd) Run(ctx context.Context, std *streams) error {
	return c.change(ctx, std, "member add", func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.MemberAdd(ctx, o, c.Group, c.Node)
	})
}

type memberRemoveCmd struct {
	namedFlags
	Group string `arg:"" help:"The raft group."`
	Node  string `arg:"" help:"The member's node, or its id (n0), which also finds one that the inventory names no more."`
}

func (c *memberRemoveCmd) Run(ctx context.Context, std *streams) error {
	return c.change(ctx, std, "member remove", func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.MemberRemove(ctx, o, c.Group, c.Node)
	})
}

type memberReplaceCmd struct {
	namedFlags
	Group string `arg:"" help:"The raft group."`
	Old   string `arg:"" help:"Who leaves: node or id (n0)."`
	Node  string `arg:"" help:"The node of the new member, which the inventory names already."`
}

func (c *memberReplaceCmd) Run(ctx context.Context, std *streams) error {
	return c.change(ctx, std, "member replace", func(ctx context.Context, o provision.Options) (*provision.Result, error) {
		return provision.MemberReplace(ctx, o, c.Group, c.Old, c.Node)
	})
}

// change runs something that asks first and prints how it went.
func (f namedFlags) change(ctx context.Context, std *streams, what string, run func(context.Context, provision.Options) (*provision.Result, error)) error {
	j, err := runFlags{inventoryFlag{f.Inventory}, f.faceFlags}.job(std, what)
	if err != nil {
		return err
	}
	if !f.Yes {
		j.opts.Confirm = j.confirm
	}
	return j.result(j.watch(ctx, run))
}
