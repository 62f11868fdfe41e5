// Settings of running processes: getBrokerConfig, updateBrokerConfig, getNamesrvConfig, updateNamesrvConfig, updateKvConfig,
// deleteKvConfig; cleaning: cleanExpiredCQ, cleanUnusedTopic, deleteExpiredCommitLog.
package admin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"rmqctl/internal/client"
	"rmqctl/internal/conf"
	"rmqctl/internal/protocol"
)

type getBrokerConfig struct {
	target
	BrokerAddr  string `short:"b" name:"brokerAddr" xor:"where" required:"" help:"One broker."`
	ClusterName string `short:"c" name:"clusterName" xor:"where" required:"" help:"Every master and slave of a cluster."`
}

func (f *getBrokerConfig) Run(e *Env) error {
	if f.BrokerAddr != "" {
		return f.print(e, f.BrokerAddr, fmt.Sprintf("============%s============\n", f.BrokerAddr))
	}
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return err
	}
	names, ok := info.ClusterAddrTable[f.ClusterName]
	if !ok {
		return fmt.Errorf("cluster %s does not exist; the name server knows %v", f.ClusterName, slices.Sorted(maps.Keys(info.ClusterAddrTable)))
	}
	for _, name := range slices.Sorted(slices.Values(names)) {
		b := info.BrokerAddrTable[name]
		if b == nil {
			continue
		}
		for _, id := range slices.Sorted(maps.Keys(b.BrokerAddrs)) {
			head := fmt.Sprintf("============Master: %s============\n", b.BrokerAddrs[id])
			if id != 0 {
				head = fmt.Sprintf("============My Master: %s=====Slave: %s============\n", cmp.Or(client.Master(b), "NO_MASTER"), b.BrokerAddrs[id])
			}
			err = errors.Join(err, f.print(e, b.BrokerAddrs[id], head))
		}
	}
	return err
}

func (f *getBrokerConfig) print(e *Env, addr, head string) error {
	_, body, err := client.Call(e.Ctx, e.C, addr, protocol.GetBrokerConfig, nil)
	if err != nil {
		return at(addr, err)
	}
	e.printf("%s", head)
	if len(body) == 0 {
		e.printf("Broker[%s] has no config property!\n", addr)
	}
	if err := printProperties(e, addr, body); err != nil {
		return err
	}
	e.printf("\n")
	return nil
}

func printProperties(e *Env, from string, text []byte) error {
	props, err := conf.ParseProperties(bytes.NewReader(text), from)
	if err != nil {
		return err
	}
	slices.SortFunc(props, func(a, b conf.Prop) int { return cmp.Compare(a.Key, b.Key) })
	for _, p := range props {
		e.printf("%-50s=  %s\n", p.Key, p.Value)
	}
	return nil
}

type updateBrokerConfig struct {
	target
	place
	Key   string `short:"k" name:"key" required:"" help:"Setting."`
	Value string `short:"v" name:"value" required:"" help:"Its new value."`
}

func (f *updateBrokerConfig) Run(e *Env) error {
	return f.each(e, func(addr string) error {
		if _, _, err := client.Call(e.Ctx, e.C, addr, protocol.UpdateBrokerConfig, nil, []byte(conf.FormatProp(f.Key, f.Value)+"\n")); err != nil {
			return err
		}
		e.printf("update broker config success, %s\n", addr)
		return nil
	})
}

type getNamesrvConfig struct{ target }

func (f *getNamesrvConfig) Run(e *Env) error {
	var failed error
	for _, ns := range e.C.NameServers() {
		_, body, err := client.Call(e.Ctx, e.C, ns, protocol.GetNamesrvConfig, nil)
		if err == nil {
			e.printf("============%s============\n", ns)
			err = printProperties(e, ns, body)
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

type updateNamesrvConfig struct {
	target
	Key   string `short:"k" name:"key" required:"" help:"Setting."`
	Value string `short:"v" name:"value" required:"" help:"Its new value."`
}

func (f *updateNamesrvConfig) Run(e *Env) error {
	err := everyNameServer(e, func(ns string) error {
		_, _, err := client.Call(e.Ctx, e.C, ns, protocol.UpdateNamesrvConfig, nil, []byte(conf.FormatProp(f.Key, f.Value)+"\n"))
		return err
	})
	if err != nil {
		return err
	}
	e.printf("update name server config success![%s]\n%s : %s\n", strings.Join(e.C.NameServers(), ", "), f.Key, f.Value)
	return nil
}

// everyNameServer does something at all of them; one that fails does not keep the others from their turn.
func everyNameServer(e *Env, do func(ns string) error) error {
	var failed error
	for _, ns := range e.C.NameServers() {
		failed = errors.Join(failed, at(ns, do(ns)))
	}
	return failed
}

type updateKvConfig struct {
	target
	Namespace string `short:"s" name:"namespace" required:"" help:"Namespace."`
	Key       string `short:"k" name:"key" required:"" help:"Key."`
	Value     string `short:"v" name:"value" required:"" help:"Value."`
}

func (f *updateKvConfig) Run(e *Env) error {
	err := everyNameServer(e, func(ns string) error {
		_, _, err := client.Call(e.Ctx, e.C, ns, protocol.PutKVConfig, &protocol.PutKVConfigRequest{Namespace: f.Namespace, Key: f.Key, Value: f.Value})
		return err
	})
	if err == nil {
		e.printf("create or update kv config to namespace success.\n")
	}
	return err
}

type deleteKvConfig struct {
	target
	Namespace string `short:"s" name:"namespace" required:"" help:"Namespace."`
	Key       string `short:"k" name:"key" required:"" help:"Key."`
}

func (f *deleteKvConfig) Run(e *Env) error {
	err := everyNameServer(e, func(ns string) error {
		_, _, err := client.Call(e.Ctx, e.C, ns, protocol.DeleteKVConfig, &protocol.KVConfigRequest{Namespace: f.Namespace, Key: f.Key})
		return err
	})
	if err == nil {
		e.printf("delete kv config from namespace success.\n")
	}
	return err
}

// clean is one of the three requests that make brokers tidy up.
type clean struct {
	target
	somewhere
	call *protocol.Call[protocol.Empty, protocol.Empty]
}

func (f *clean) Run(e *Env) error {
	addrs, err := f.brokers(e)
	for _, a := range addrs {
		_, _, cerr := client.Call(e.Ctx, e.C, a, f.call, nil)
		err = errors.Join(err, at(a, cerr))
	}
	if err == nil {
		e.printf("success\n")
	}
	return err
}
