// Name server and broker in one process, for development.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"rmqctl/broker"
	brokerconfig "rmqctl/broker/config"
	"rmqctl/internal/clock"
	"rmqctl/internal/conf"
	"rmqctl/internal/vfs"
	"rmqctl/namesrv"
	namesrvconfig "rmqctl/namesrv/config"
)

type devCmd struct {
	Address     string `default:"127.0.0.1" help:"Address that both listen on and advertise."`
	NamesrvPort int    `default:"9876" help:"Port of the name server."`
	BrokerPort  int    `default:"10911" help:"Port of the broker; 2 below and 1 above are used too."`
	Dir         string `placeholder:"DIR" type:"path" help:"Where messages are kept; default is a folder in the user's cache."`
	logFlags
}

func (c *devCmd) Run(ctx context.Context, std *streams) error {
	log, closer, err := c.open(std)
	if err != nil {
		return withCode(exitUsage, err)
	}
	defer closer.Close()
	if c.Dir == "" {
		c.Dir = defaultDevStore()
	}
	if err := os.MkdirAll(c.Dir, 0o755); err != nil {
		return err
	}
	ns, err := c.namesrv()
	if err != nil {
		return withCode(exitUsage, err)
	}
	n, err := namesrv.New(namesrv.Options{Config: ns, FS: vfs.OS, Log: log.With("process", "namesrv"), Clock: clock.System, Version: version})
	if err != nil {
		return err
	}
	if err := n.Start(ctx); err != nil {
		return errors.Join(err, n.Close())
	}
	cfg, err := c.broker()
	if err != nil {
		return errors.Join(err, n.Close())
	}
	b, err := broker.New(broker.Options{Config: cfg, FS: vfs.OS, Log: log.With("process", "broker"), Clock: clock.System, Version: version, Ready: func() {
		fmt.Fprintf(std.out, "ready: name server %s:%d, broker %s:%d, messages in %s; try: rmqctl produce -n %s:%d -t TopicTest hello\n",
			c.Address, c.NamesrvPort, c.Address, c.BrokerPort, c.Dir, c.Address, c.NamesrvPort)
	}})
	if err != nil {
		return errors.Join(err, n.Close())
	}
	return errors.Join(serve(ctx, log, b.Start, b.Close), n.Close())
}

func (c *devCmd) namesrv() (*conf.Live[namesrvconfig.Config], error) {
	live, _, err := conf.NewLive((*namesrvconfig.Config).Keys, c.props(map[string]string{
		"listenPort": fmt.Sprint(c.NamesrvPort), "bindAddress": c.Address, "kvConfigPath": c.Dir + "/namesrv/kvConfig.json",
	}))
	return live, err
}

func (c *devCmd) broker() (*conf.Live[brokerconfig.Config], error) {
	live, _, err := brokerconfig.Load(surroundings(), c.props(map[string]string{
		"brokerName": "broker-a", "brokerId": "0", "listenPort": fmt.Sprint(c.BrokerPort), "bindAddress": c.Address, "brokerIP1": c.Address,
		"namesrvAddr": fmt.Sprintf("%s:%d", c.Address, c.NamesrvPort), "storePathRootDir": c.Dir + "/store",
	}))
	return live, err
}

func (c *devCmd) props(m map[string]string) []conf.Prop {
	var out []conf.Prop
	for k, v := range m {
		out = append(out, conf.Prop{Key: k, Value: v})
	}
	return out
}
