// Names of the cluster's nodes in /etc/hosts.

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
)

// HostsPath is the file of the hosts block.
const HostsPath = "/etc/hosts"

// HostLine is an address and its names.
type HostLine struct {
	Address string
	Names   []string
}

// HostsBlock is the cluster's block of /etc/hosts. A line outside it that gives one of the names another address is an
// obstacle: which of the two is right is not for a tool to guess.
type HostsBlock struct {
	Cluster string
	Lines   []HostLine
	Self    []string // the host's own names; Debian gives them a loopback address, which may stay
}

// Name says what it is.
func (s HostsBlock) Name() string { return "names in " + HostsPath }

// Check compares the block and looks for contradictions around it.
func (s HostsBlock) Check(_ context.Context, h Reader) (*Change, error) {
	old, exists, err := readText(h, HostsPath)
	if err != nil {
		return nil, err
	}
	b, err := findBlock(old, s.Cluster)
	if err != nil {
		return Obstacle(fmt.Sprintf("%s: %v", HostsPath, err), "repair the block of cluster "+s.Cluster+" by hand"), nil
	}
	if o := s.conflict(old, b); o != nil {
		return o, nil
	}
	var lines []string
	for _, l := range s.Lines {
		lines = append(lines, l.Address+" "+strings.Join(l.Names, " "))
	}
	text, err := setBlock(old, s.Cluster, lines, exists)
	if err != nil || text == old {
		return nil, err
	}
	why := "names differ"
	if b.from < 0 {
		why = "names absent"
	}
	return &Change{Why: why, Diff: Diff(HostsPath, old, text), Creates: b.from < 0, Apply: func(_ context.Context, w Writer) error {
		return rewrite(w, HostsPath, text, 0o644)
	}}, nil
}

// conflict finds a line outside the block that contradicts it.
func (s HostsBlock) conflict(text string, b block) *Change {
	want := map[string]netip.Addr{}
	for _, l := range s.Lines {
		ip, err := netip.ParseAddr(l.Address)
		if err != nil {
			continue
		}
		for _, n := range l.Names {
			want[strings.ToLower(n)] = ip
		}
	}
	own := map[string]bool{}
	for _, n := range s.Self {
		own[strings.ToLower(n)] = true
	}
	at := 0
	for n, line := range strings.SplitAfter(text, "\n") {
		inside := b.from >= 0 && at >= b.from && at < b.to
		at += len(line)
		if inside {
			continue
		}
		ip, names := parseHostsLine(line)
		for _, name := range names {
			w, ours := want[strings.ToLower(name)]
			if !ours || w == ip || w.Is4() != ip.Is4() || ip.IsLoopback() && own[strings.ToLower(name)] {
				continue
			}
			return Obstacle(fmt.Sprintf("%s line %d says %s is %s, the inventory says %s", HostsPath, n+1, name, ip, w),
				"correct that line, or the inventory; or set manage = false in [hosts_file]")
		}
	}
	return nil
}

// parseHostsLine reads "address name name # comment".
func parseHostsLine(line string) (netip.Addr, []string) {
	line, _, _ = strings.Cut(line, "#")
	f := strings.Fields(line)
	if len(f) < 2 {
		return netip.Addr{}, nil
	}
	ip, err := netip.ParseAddr(f[0])
	if err != nil {
		return netip.Addr{}, nil
	}
	return ip, f[1:]
}

// Owned is the block.
func (s HostsBlock) Owned() Owned { return Owned{Kind: "hosts", Name: s.Cluster} }

// Absent takes the block out.
func (s HostsBlock) Absent() Step { return NoBlock{Path: HostsPath, Cluster: s.Cluster} }

// NoBlock is a cluster's block that should not be in a file.
type NoBlock struct{ Path, Cluster string }

// Name says what it is.
func (s NoBlock) Name() string { return "no block of " + s.Cluster + " in " + s.Path }

// Check looks for the block.
func (s NoBlock) Check(_ context.Context, h Reader) (*Change, error) {
	old, exists, err := readText(h, s.Path)
	if err != nil || !exists {
		return nil, err
	}
	text, remove, err := dropBlock(old, s.Cluster)
	if err != nil {
		return Obstacle(fmt.Sprintf("%s: %v", s.Path, err), "take the block of cluster "+s.Cluster+" out by hand"), nil
	}
	if text == old {
		return nil, nil
	}
	return &Change{Why: "block is still there", Diff: Diff(s.Path, old, text), Apply: func(_ context.Context, w Writer) error {
		if remove {
			return w.Remove(s.Path)
		}
		return rewrite(w, s.Path, text, 0o644)
	}}, nil
}

// readText is the file's text; an absent file is empty.
func readText(h Reader, path string) (text string, exists bool, err error) {
	b, err := h.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("read %s: %w", path, err)
	}
	return string(b), true, nil
}

// rewrite replaces a file's text and keeps its mode.
func rewrite(w Writer, path, text string, mode fs.FileMode) error {
	if i, err := w.Stat(path); err == nil {
		mode = i.Mode.Perm()
	}
	return w.WriteFile(path, []byte(text), mode)
}
