// Package role is the table of contents of a host: what should hold for it, for a name server, for a broker, in order.
//
// Destroy is the same lists backwards, each step as its opposite; see Removal.
package role

import (
	"fmt"
	"path"
	"strings"

	"rmqctl/inventory"
	"rmqctl/provision/step"
	"rmqctl/templates"
)

// Binary is the rmqctl that hosts are to run.
type Binary struct {
	Path    string // on the operator's machine
	Sum     string // sha256 in hex
	Size    int64
	Version string
}

// Release is where the binary lies on a node. Its hash is part of the path, so a unit names exactly what it runs, and
// releases lie side by side.
func (b Binary) Release(n *inventory.Node) string {
	return path.Join(b.releaseDir(n), "rmqctl")
}

func (b Binary) releaseDir(n *inventory.Node) string {
	return path.Join(n.Paths.Install, "releases", b.Sum[:min(12, len(b.Sum))])
}

// Builtin says whether rmqctl itself looks after the node's processes, because systemd does not.
func Builtin(inv *inventory.Inventory, n *inventory.Node) bool {
	switch inv.Service.Supervisor {
	case "builtin":
		return true
	case "systemd":
		return false
	}
	return n.Local()
}

// Supervisor is who runs the node's processes.
func Supervisor(inv *inventory.Inventory, n *inventory.Node) step.Supervisor {
	if Builtin(inv, n) {
		return step.Supervisor{Builtin: true, Dir: path.Join(n.Paths.Run, "units")}
	}
	return step.Systemd
}

// owner is the user that the node's processes run as; "" on a local node: whoever runs rmqctl.
func owner(inv *inventory.Inventory, n *inventory.Node) string {
	if n.Local() || Builtin(inv, n) {
		return ""
	}
	return inv.Service.RunAs
}

// Removal is the steps that take a list back, last first. A step that nothing takes back is left out.
func Removal(steps []step.Step) []step.Removable {
	var out []step.Removable
	for i := len(steps) - 1; i >= 0; i-- {
		if r, ok := steps[i].(step.Removable); ok {
			out = append(out, r)
		}
	}
	return out
}

// process is what name server and broker have in common as services.
type process struct {
	inv         *inventory.Inventory
	node        *inventory.Node
	bin         Binary
	unit        string
	description string
	args        []string
	conf        []byte
	log         string
	writes      []string
	memory      int64
}

// spec is what the running process must have been started with: binary, configuration, unit.
func (p process) spec() string {
	if Builtin(p.inv, p.node) {
		return step.Hash(p.bin.Sum, string(p.conf), serviceText(p.service("")))
	}
	return step.Hash(p.bin.Sum, string(p.conf), p.systemd("").Text())
}

// text is the unit's definition, for the supervisor of the node.
func (p process) text() string {
	if Builtin(p.inv, p.node) {
		return serviceText(p.service(p.spec()))
	}
	return p.systemd(p.spec()).Text()
}

func (p process) exec() []string { return append([]string{p.bin.Release(p.node)}, p.args...) }

func (p process) systemd(spec string) templates.Unit {
	user := p.inv.Service.RunAs
	return templates.Unit{
		Description:  p.description,
		Exec:         strings.Join(p.exec(), " "),
		Environment:  []string{step.SpecEnv + "=" + spec},
		User:         user,
		Group:        user,
		Writes:       p.writes,
		MemoryMax:    p.memory,
		LimitNoFile:  p.inv.Service.LimitNoFile,
		StartTimeout: p.inv.Service.StartTimeout,
		StopTimeout:  p.inv.Service.StopTimeout,
	}
}

func (p process) service(spec string) step.Service {
	return step.Service{
		Unit:        p.unit,
		Exec:        p.exec(),
		Env:         []string{step.SpecEnv + "=" + spec},
		Dir:         p.writes[0],
		Log:         p.log,
		Notify:      true,
		StartLimit:  p.inv.Service.StartTimeout.String(),
		StopTimeout: p.inv.Service.StopTimeout.String(),
	}
}

// run is the steps from the unit's definition to a process that is what is wanted.
func (p process) run() []step.Step {
	sup := Supervisor(p.inv, p.node)
	steps := []step.Step{step.Unit{Unit: p.unit, Text: p.text(), Sup: sup}}
	if !sup.Builtin {
		steps = append(steps, step.Enabled{Unit: p.unit})
	}
	return append(steps, step.Running{Unit: p.unit, Spec: p.spec(), Sup: sup,
		StartTimeout: p.inv.Service.StartTimeout, StopTimeout: p.inv.Service.StopTimeout})
}

// bind is the address that the node's ports are opened on; "" = all.
func bind(n *inventory.Node) string {
	if n.Local() {
		return n.Address
	}
	return ""
}

// dirs is the directories on the way to dir that are not part of every host, outermost first, and dir itself as last.
func dirs(n *inventory.Node, last step.Dir) []step.Step {
	var up []step.Step
	for p := path.Dir(last.Path); p != "/" && p != "." && !common[p]; p = path.Dir(p) {
		if n.Local() && len(p) < len(n.Root) || p == n.Paths.Data || p == n.Paths.Install {
			break // Host has it
		}
		up = append([]step.Step{step.Dir{Path: p}}, up...)
	}
	return append(up, last)
}

var common = map[string]bool{"/etc": true, "/opt": true, "/run": true, "/srv": true, "/usr": true, "/usr/local": true,
	"/var": true, "/var/lib": true, "/var/log": true, "/home": true, "/tmp": true, "/mnt": true, "/root": true}

// unique drops a step that stands in the list already: two brokers of a host share directories.
func unique(steps []step.Step) []step.Step {
	seen := map[string]bool{}
	out := steps[:0:0]
	for _, s := range steps {
		key := fmt.Sprintf("%T %s", s, s.Name())
		if !seen[key] {
			seen[key] = true
			out = append(out, s)
		}
	}
	return out
}
