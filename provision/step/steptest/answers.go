// How the host in memory answers questions.

package steptest

import (
	"encoding/json"
	"fmt"
	"path"
	"sort"
	"strconv"
	"strings"

	"rmqctl/provision/step"
)

// Query is step.Reader's.
func (h *Host) Query(q step.Query) (string, error) {
	a := append(append([]string(nil), q.Argv()...), "", "", "")
	if h.NoAgent && q.Shell() == "" {
		return "", step.ErrNoAgent
	}
	switch a[0] {
	case "@sha256":
		return h.sum(a[1]), nil
	case "@list":
		return h.list(a[1]), nil
	case "@disk":
		return fmt.Sprint(h.Free, h.Total), nil
	case "@listeners":
		return h.listeners(), nil
	case "@which":
		return "/usr/sbin/" + a[1], nil
	case "@enabled":
		if h.nodes["/etc/systemd/system/multi-user.target.wants/"+a[1]] != nil {
			return "enabled", nil
		}
		return "disabled", nil
	case "@unit-state":
		return h.unitState(a[1]), nil
	case "@unit-env":
		return environ(h.running[a[1]].text, a[3]), nil
	case "@unit-log":
		return h.Broken[a[1]], nil
	case "@dial":
		return h.dial(a[1]), nil
	case "@frame-body":
		if h.dial(a[1]) != "ok" {
			return "", fmt.Errorf("dial %s: connection refused", a[1])
		}
		return h.clusterInfo(), nil
	case "getent":
		return h.getent(a[1], a[2])
	case "uname":
		if a[1] == "-n" {
			return h.kernel, nil
		}
		return "Linux x86_64", nil
	case "ip":
		return h.Addresses, nil
	case "systemctl":
		return h.systemctlLook(a)
	case "journalctl":
		return h.Broken[a[2]], nil
	case "firewall-cmd":
		return h.Firewalld.look(q.Argv()[1:])
	case "nft":
		return h.Nft.look()
	}
	return "", fmt.Errorf("steptest: host does not know the question %q", q)
}

func (h *Host) list(dir string) string {
	var names []string
	for _, p := range h.below(dir) {
		if path.Dir(p) == path.Clean(dir) {
			names = append(names, path.Base(p))
		}
	}
	return strings.Join(names, "\n")
}

func (h *Host) getent(db, name string) (string, error) {
	for _, line := range strings.Split(h.Text("/etc/"+db), "\n") {
		if strings.HasPrefix(line, name+":") {
			return line, nil
		}
	}
	return "", &step.ExitError{Argv: []string{"getent"}, Code: 2}
}

func (h *Host) systemctlLook(a []string) (string, error) {
	if h.NoSystemd {
		return "", step.ErrNoCommand
	}
	if a[1] == "--version" {
		return "systemd 252 (252.39-1~deb12u1)", nil
	}
	unit := a[len(a)-4] // before the three empty words
	if old, ok := h.loaded[unit]; ok && old != h.Text("/etc/systemd/system/"+unit) {
		return "yes", nil
	}
	return "no", nil
}

func (h *Host) unitState(unit string) string {
	if p, ok := h.running[unit]; ok {
		return fmt.Sprintf("active %d 1700000000", p.pid)
	}
	if h.nodes["/etc/systemd/system/"+unit] == nil && h.unitFile(unit) == "" {
		return "absent 0 0"
	}
	return "inactive 0 0"
}

// unitFile finds the unit's definition: systemd's, or a builtin supervisor's.
func (h *Host) unitFile(unit string) string {
	if n := h.nodes["/etc/systemd/system/"+unit]; n != nil {
		return n.data
	}
	for p, n := range h.nodes {
		if path.Base(p) == strings.TrimSuffix(unit, ".service")+".json" {
			return n.data
		}
	}
	return ""
}

// environ reads a variable from a unit's text.
func environ(text, key string) string {
	var s step.Service
	lines := strings.Split(text, "\n")
	if json.Unmarshal([]byte(text), &s) == nil {
		lines = s.Env
	}
	for _, l := range lines {
		if v, ok := strings.CutPrefix(strings.TrimPrefix(l, "Environment="), key+"="); ok {
			return v
		}
	}
	return ""
}

// words is the command line of a unit's text.
func words(text string) []string {
	var s step.Service
	if json.Unmarshal([]byte(text), &s) == nil {
		return s.Exec
	}
	for _, l := range strings.Split(text, "\n") {
		if v, ok := strings.CutPrefix(l, "ExecStart="); ok {
			return strings.Fields(v)
		}
	}
	return nil
}

// properties of a running daemon: those of the file it was started with.
func (h *Host) properties(p process) map[string]string {
	m := map[string]string{}
	w := words(p.text)
	for _, l := range strings.Split(h.Text(w[len(w)-1]), "\n") {
		if k, v, ok := strings.Cut(l, "="); ok {
			m[k] = v
		}
	}
	m["kind"] = w[1]
	return m
}

// listening is address:port -> pid of the daemons.
func (h *Host) listening() map[string]int {
	out := map[string]int{}
	for _, p := range h.running {
		m := h.properties(p)
		bind := m["bindAddress"]
		if bind == "" {
			bind = "*"
		}
		port, _ := strconv.Atoi(m["listenPort"])
		out[fmt.Sprintf("%s:%d", bind, port)] = p.pid
		if m["kind"] == "broker" {
			out[fmt.Sprintf("%s:%d", bind, port+1)] = p.pid
			out[fmt.Sprintf("%s:%d", bind, port-2)] = p.pid
		}
	}
	return out
}

func (h *Host) listeners() string {
	lines := append([]string(nil), h.Listeners...)
	for addr, pid := range h.listening() {
		lines = append(lines, fmt.Sprintf("%s %d rmqctl", addr, pid))
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

// dial knows the host's own daemons; every other address answers, as if the rest of the cluster were there.
func (h *Host) dial(addr string) string {
	ip, port, _ := strings.Cut(addr, ":")
	on := h.listening()
	if !strings.Contains(h.Addresses, ip+"/") || on["*:"+port] > 0 || on[addr] > 0 {
		return "ok"
	}
	return "refused"
}

// clusterInfo is a name server's table, as fastjson writes it.
func (h *Host) clusterInfo() string {
	var rows []string
	for _, p := range h.running {
		if m := h.properties(p); m["kind"] == "broker" {
			if m["dLegerSelfId"] != "" { // a follower of n1 is registered as 2
				n, _ := strconv.Atoi(strings.TrimPrefix(m["dLegerSelfId"], "n"))
				m["brokerId"] = strconv.Itoa(n + 1)
			}
			rows = append(rows, fmt.Sprintf(`"%s":{"brokerAddrs":{%s:"%s:%s"},"brokerName":"%s","cluster":"%s"}`,
				m["brokerName"], m["brokerId"], m["brokerIP1"], m["listenPort"], m["brokerName"], m["brokerClusterName"]))
		}
	}
	sort.Strings(rows)
	return `{"brokerAddrTable":{` + strings.Join(rows, ",") + `},"clusterAddrTable":{}}`
}
