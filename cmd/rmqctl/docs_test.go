// The reference pages under docs/ are printed from the tables that the program itself uses.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	brokerconfig "rmqctl/broker/config"
	brokerprocessor "rmqctl/broker/processor"
	"rmqctl/cmd/rmqctl/admin"
	"rmqctl/internal/protocol"
	"rmqctl/internal/remoting"
	namesrvconfig "rmqctl/namesrv/config"
	namesrvprocessor "rmqctl/namesrv/processor"
)

// TestGeneratedDocs compares the pages with what the tables print now; with UPDATE_DOCS set (`make docs`) it writes them.
func TestGeneratedDocs(t *testing.T) {
	for name, text := range map[string]string{"CONFIG.md": configDoc(), "COMMANDS.md": clusterDoc(t)[1:] + "\n" + admin.Markdown() + storeDoc(t), "REQUEST_CODES.md": codesDoc(t)} {
		path := filepath.Join("..", "..", "docs", name)
		if os.Getenv("UPDATE_DOCS") != "" {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if have, err := os.ReadFile(path); err != nil || string(have) != text {
			t.Errorf("docs/%s is not what its table says (%v): run make docs", name, err)
		}
	}
}

// clusterDoc is the page's part about clusters with an inventory, from the same declarations as the help.
func clusterDoc(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n# A cluster described by an inventory\n\nGenerated from cmd/rmqctl; do not edit. All of them take `--output`, `--forks`, `--binary`, `--lock-wait`, `--verbose`; what changes\nsomething asks first unless `-y` is given.\n\n| command | what it does | options |\n|---|---|---|\n")
	common := map[string]bool{"help": true, "version": true, "output": true, "forks": true, "binary": true, "lock-wait": true, "verbose": true, "yes": true}
	for _, n := range model(t).Children {
		if n.Group == nil || n.Group.Key != "cluster" {
			continue
		}
		for _, c := range append([]*kong.Node{n}, n.Children...) {
			if !c.Leaf() {
				continue
			}
			name := strings.TrimPrefix(c.FullPath(), model(t).Name+" ")
			var args, opts []string
			for _, p := range c.Positional {
				args = append(args, p.Summary())
			}
			for _, f := range c.Flags {
				if !common[f.Name] {
					opts = append(opts, "`"+f.String()+"` "+f.Help)
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.Join(append([]string{name}, args...), " "), c.Help, strings.Join(opts, "<br>"))
		}
	}
	return b.String()
}

func model(t *testing.T) *kong.Application {
	t.Helper()
	parser, err := kong.New(&root{}, kong.Vars{"version": ""}, kong.ExplicitGroups(groups))
	if err != nil {
		t.Fatal(err)
	}
	return parser.Model
}

// storeDoc is the page's part about a stopped broker's files, from the same declarations as the help.
func storeDoc(t *testing.T) string {
	var b strings.Builder
	b.WriteString("\n# Files of a stopped broker\n\nGenerated from cmd/rmqctl; do not edit. Ours or a Java broker's (4.9, 5.x): `rmqctl store COMMAND DIR`. Exit codes: 0 clean or done,\n2 no store, 3 damage, 4 steps pending, 5 a broker holds the lock.\n\n| command | what it does | options |\n|---|---|---|\n")
	for _, n := range model(t).Children {
		if n.Name != "store" {
			continue
		}
		for _, c := range n.Children {
			var args, opts []string
			for _, p := range c.Positional {
				args = append(args, p.Summary())
			}
			for _, f := range c.Flags {
				if f.Name != "help" {
					opts = append(opts, "`"+f.String()+"` "+f.Help)
				}
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", strings.Join(append([]string{c.Name}, args...), " "), c.Help, strings.Join(opts, "<br>"))
		}
	}
	return b.String()
}

func configDoc() string {
	return `# Configuration keys

Generated from broker/config and namesrv/config; do not edit. Names and defaults are RocketMQ's. A key that is live can be
changed in a running process (` + "`mqadmin updateBrokerConfig`" + `); the others need a restart.

# Broker

` + new(brokerconfig.Config).Keys().Markdown() + `
# Name server

` + new(namesrvconfig.Config).Keys().Markdown()
}

// ofClients are the requests that our broker sends to the clients connected to it.
var ofClients = []int32{
	protocol.NotifyConsumerIdsChanged.Code, protocol.ResetConsumerClientOffset.Code, protocol.GetConsumerStatusOfClient.Code,
	protocol.GetConsumerRunningInfo.Code, protocol.ConsumeMessageDirectly.Code, protocol.PushReplyMessageToClient.Code,
}

func codesDoc(t *testing.T) string {
	broker := &brokerprocessor.Processors{Pools: &brokerprocessor.Pools{}}
	who := map[int32][]string{}
	add := func(name string, routes []remoting.Route) {
		for _, r := range routes {
			who[r.Code()] = append(who[r.Code()], name)
		}
	}
	add("broker", broker.Routes())
	add("name server", (&namesrvprocessor.Processors{}).Routes())
	for _, code := range ofClients {
		who[code] = append(who[code], "client")
	}
	var b strings.Builder
	if err := protocol.WriteDoc(&b, func(code int32) string { return strings.Join(who[code], ", ") }); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
