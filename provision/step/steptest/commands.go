// What the host in memory does when a command runs.

package steptest

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"rmqctl/provision/step"
)

// Run is step.Writer's.
func (h *Host) Run(c step.Command) error {
	return h.change(func() error { return h.run(c) })
}

func (h *Host) run(c step.Command) error {
	a := c.Argv
	last := a[len(a)-1]
	no := func(format string, args ...any) error {
		return &step.ExitError{Argv: a, Code: 1, Stderr: fmt.Sprintf(format, args...)}
	}
	switch a[0] {
	case "@nothing":
		return nil
	case "groupadd":
		h.nodes["/etc/group"].data += last + ":x:998:\n"
	case "useradd":
		if _, err := h.getent("group", a[3]); err != nil {
			return no("group %s does not exist", a[3])
		}
		h.nodes["/etc/passwd"].data += last + ":x:998:998::/nonexistent:/usr/sbin/nologin\n"
	case "groupdel":
		h.dropLine("/etc/group", last)
	case "userdel":
		h.dropLine("/etc/passwd", last)
	case "chown":
		return h.chown(a[1], []string{last}, no)
	case "find":
		return h.chown(a[7], h.below(a[1]), no)
	case "chmod":
		mode, err := strconv.ParseUint(a[1], 8, 32)
		if err != nil || h.nodes[last] == nil {
			return no("cannot change %s", last)
		}
		n := h.nodes[last]
		n.mode = n.mode&fs.ModeType | fs.FileMode(mode)
	case "ln":
		h.nodes[last] = &node{mode: fs.ModeSymlink | 0o777, owner: "root", group: "root", link: a[2]}
	case "mv":
		h.nodes[last] = h.nodes[a[2]]
		delete(h.nodes, a[2])
	case "rm":
		for _, p := range h.below(last) {
			delete(h.nodes, p)
		}
		delete(h.nodes, last)
	case "hostnamectl":
		h.kernel = last
		h.Put("/etc/hostname", last+"\n")
	case "sysctl":
		return h.sysctl(last, no)
	case "systemctl":
		return h.systemctl(a, no)
	case "@unit-start":
		return h.start(a[1], h.unitFile(a[1]), no)
	case "@unit-stop":
		delete(h.running, a[1])
	case "firewall-cmd":
		return h.Firewalld.run(a[1:], no)
	case "nft":
		if a[1] == "-c" {
			return h.Nft.load(h.Text(last), true, no)
		}
		return h.Nft.load(string(c.Stdin), false, no)
	default:
		return no("steptest: unknown command")
	}
	return nil
}

func (h *Host) dropLine(file, name string) {
	var keep []string
	for _, l := range strings.SplitAfter(h.nodes[file].data, "\n") {
		if !strings.HasPrefix(l, name+":") {
			keep = append(keep, l)
		}
	}
	h.nodes[file].data = strings.Join(keep, "")
}

type refusal func(format string, args ...any) error

func (h *Host) chown(who string, paths []string, no refusal) error {
	user, group, _ := strings.Cut(who, ":")
	if _, err := h.getent("passwd", user); err != nil {
		return no("invalid user: %s", who)
	}
	for _, p := range paths {
		if h.nodes[p] == nil {
			return no("cannot access %s", p)
		}
		h.nodes[p].owner, h.nodes[p].group = user, group
	}
	return nil
}

func (h *Host) sysctl(file string, no refusal) error {
	for _, l := range strings.Split(h.Text(file), "\n") {
		if k, v, ok := strings.Cut(l, " = "); ok {
			p := "/proc/sys/" + strings.ReplaceAll(k, ".", "/")
			if h.nodes[p] == nil {
				return no("cannot stat %s", p)
			}
			h.nodes[p].data = v + "\n"
		}
	}
	return nil
}

func (h *Host) systemctl(a []string, no refusal) error {
	unit := a[len(a)-1]
	link := "/etc/systemd/system/multi-user.target.wants/" + unit
	switch a[1] {
	case "daemon-reload":
		for u := range h.loaded {
			if n := h.nodes["/etc/systemd/system/"+u]; n != nil {
				h.loaded[u] = n.data
			} else {
				delete(h.loaded, u)
			}
		}
	case "enable":
		if h.nodes["/etc/systemd/system/"+unit] == nil {
			return no("Unit file %s does not exist.", unit)
		}
		h.nodes[link] = &node{mode: fs.ModeSymlink | 0o777, owner: "root", group: "root", link: "/etc/systemd/system/" + unit}
	case "disable":
		delete(h.nodes, link)
	case "start":
		n := h.nodes["/etc/systemd/system/"+unit]
		if n == nil {
			return no("Unit %s not found.", unit)
		}
		if _, ok := h.loaded[unit]; !ok {
			h.loaded[unit] = n.data
		}
		return h.start(unit, h.loaded[unit], no)
	case "stop":
		delete(h.running, unit)
	default:
		return no("steptest: unknown verb %s", a[1])
	}
	return nil
}

// start fails like a real start where something the unit needs is missing.
func (h *Host) start(unit, text string, no refusal) error {
	if _, ok := h.running[unit]; ok {
		return nil
	}
	if h.Broken[unit] != "" {
		return no("Job for %s failed", unit)
	}
	w := words(text)
	if len(w) == 0 || h.nodes[w[0]] == nil || h.nodes[w[len(w)-1]] == nil {
		return no("Job for %s failed: missing program or configuration", unit)
	}
	for _, l := range strings.Split(text, "\n") {
		if u, ok := strings.CutPrefix(l, "User="); ok {
			if _, err := h.getent("passwd", u); err != nil {
				return no("Job for %s failed: no user %s", unit, u)
			}
		}
		if dirs, ok := strings.CutPrefix(l, "ReadWritePaths="); ok {
			for _, d := range strings.Fields(dirs) {
				if h.nodes[d] == nil {
					return no("Job for %s failed: no directory %s", unit, d)
				}
			}
		}
	}
	h.nextPID++
	h.running[unit] = process{pid: h.nextPID, text: text}
	return nil
}

// WriteAsDaemon is a file that a daemon wrote: below a store, say.
func (h *Host) WriteAsDaemon(name, text, owner string) {
	h.PutDir(path.Dir(name))
	h.nodes[name] = &node{data: text, mode: 0o644, owner: owner, group: owner}
}
