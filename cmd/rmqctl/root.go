// The list of everything rmqctl can do. A command is a row here and a file of its own.
package main

import (
	"fmt"
	"runtime"

	"github.com/alecthomas/kong"
)

const description = `Deploy and run a RocketMQ-compatible message cluster.

Exit codes: 0 done or nothing to do · 1 failed · 2 usage or inventory invalid · 3 check failed · 4 changes pending ·
5 locked by another run · 6 hosts unreachable · 7 a gate of a rolling restart did not hold · 130 interrupted`

var groups = []kong.Group{
	{Key: "cluster", Title: "A cluster described by an inventory:"},
	{Key: "use", Title: "Use and look into any RocketMQ cluster:"},
	{Key: "daemon", Title: "Run by hand:"},
	{Key: "other", Title: "Other:"},
}

type root struct {
	Deploy   deployCmd   `cmd:"" group:"cluster" help:"Make the hosts what the inventory says and start the cluster. Again: nothing to do."`
	Plan     planCmd     `cmd:"" group:"cluster" help:"Show what deploy would change, with diffs, and what the death of each host and data centre would mean; touches nothing."`
	Check    checkCmd    `cmd:"" group:"cluster" help:"Look whether the hosts can carry the cluster; changes nothing."`
	Status   statusCmd   `cmd:"" group:"cluster" help:"Live view of name servers and broker groups."`
	Restart  restartCmd  `cmd:"" group:"cluster" help:"Rolling restart: one member at a time, masters drained and raft leaders relieved first, every step gated."`
	Start    startCmd    `cmd:"" group:"cluster" help:"Start what is stopped and wait until it is registered."`
	Stop     stopCmd     `cmd:"" group:"cluster" help:"Stop brokers, then name servers, gracefully."`
	Promote  promoteCmd  `cmd:"" group:"cluster" help:"Make a slave master of its group: the old master is fenced first, and becomes its slave."`
	Transfer transferCmd `cmd:"" group:"cluster" help:"Hand the lead of a raft group over to the member on a node."`
	Member   memberCmd   `cmd:"" group:"cluster" help:"Add, remove or replace a member of a group, one at a time."`
	Destroy  destroyCmd  `cmd:"" group:"cluster" help:"Take everything back that deploy put on the hosts; data is kept unless --data."`
	Logs     logsCmd     `cmd:"" group:"cluster" help:"Show the logs of the cluster's processes."`

	Admin   adminCmd   `cmd:"" group:"use" help:"Operator commands with mqadmin's names, options and layouts."`
	Produce produceCmd `cmd:"" group:"use" help:"Send messages from the command line or standard input."`
	Consume consumeCmd `cmd:"" group:"use" help:"Receive messages and print them."`
	Bench   benchCmd   `cmd:"" group:"use" help:"Load a cluster and report throughput and latency percentiles."`
	Store   storeCmd   `cmd:"" group:"use" help:"Check, print or repair the files of a stopped broker, ours or Java's."`

	Namesrv namesrvCmd `cmd:"" group:"daemon" help:"Run a name server, as mqnamesrv does."`
	Broker  brokerCmd  `cmd:"" group:"daemon" help:"Run a broker, as mqbroker does."`
	Dev     devCmd     `cmd:"" group:"daemon" help:"Name server and broker in one process, for development."`

	Demo    demoCmd    `cmd:"" group:"other" help:"Deploy a 2m-2s-sync cluster on this machine, use it, kill a master, clean up."`
	Version versionCmd `cmd:"" group:"other" help:"Print the version."`
	Agent   agentCmd   `cmd:"" hidden:"" help:"The part of rmqctl that works on a host, on behalf of deploy."`

	VersionFlag kong.VersionFlag `name:"version" help:"Print the version."`
}

type versionCmd struct{}

func (versionCmd) Run(std *streams) error {
	_, err := fmt.Fprintln(std.out, versionLine())
	return err
}

func versionLine() string {
	return fmt.Sprintf("rmqctl %s %s/%s %s", version, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
