// Where a command acts: one broker, or the masters of a cluster.
package admin

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// place is the pair of options that many commands have: exactly one of them.
type place struct {
	BrokerAddr  string `short:"b" name:"brokerAddr" xor:"where" required:"" help:"One broker."`
	ClusterName string `short:"c" name:"clusterName" xor:"where" required:"" help:"Every master of a cluster."`
}

// masters are the brokers meant.
func (p place) masters(e *Env) ([]string, error) {
	if p.BrokerAddr != "" {
		return []string{p.BrokerAddr}, nil
	}
	addrs, err := e.C.Masters(e.Ctx, p.ClusterName)
	if err == nil && len(addrs) == 0 {
		err = fmt.Errorf("cluster %s has no master", p.ClusterName)
	}
	return addrs, err
}

// each does something at every broker meant; one that fails does not keep the others from their turn.
func (p place) each(e *Env, do func(addr string) error) error {
	addrs, err := p.masters(e)
	for _, a := range addrs {
		err = errors.Join(err, at(a, do(a)))
	}
	return err
}

// at names the broker that an error came from.
func at(addr string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", addr, err)
}

// somewhere is like place, but without either option it is everywhere.
type somewhere struct {
	BrokerAddr  string `short:"b" name:"brokerAddr" xor:"where" help:"One broker."`
	ClusterName string `short:"c" name:"clusterName" xor:"where" help:"Every broker of a cluster; without both: of all clusters."`
}

func (s somewhere) brokers(e *Env) ([]string, error) {
	if s.BrokerAddr != "" {
		return []string{s.BrokerAddr}, nil
	}
	info, err := e.C.ClusterInfo(e.Ctx)
	if err != nil {
		return nil, err
	}
	names, ok := info.ClusterAddrTable[s.ClusterName]
	if s.ClusterName != "" && !ok {
		return nil, fmt.Errorf("cluster %s does not exist; the name server knows %v", s.ClusterName, slices.Sorted(maps.Keys(info.ClusterAddrTable)))
	}
	var addrs []string
	for name, b := range info.BrokerAddrTable {
		if s.ClusterName == "" || slices.Contains(names, name) {
			addrs = append(addrs, slices.Collect(maps.Values(b.BrokerAddrs))...)
		}
	}
	slices.Sort(addrs)
	return addrs, nil
}
