// Kernel settings and the host's name.

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
)

// Sysctl is kernel settings in a file of their own below /etc/sysctl.d, and in force. Taking it back removes the file;
// what the kernel was told stays until the next boot.
type Sysctl struct {
	Cluster string
	Values  map[string]string
}

// Name says what it is.
func (s Sysctl) Name() string { return "kernel settings in " + s.path() }

func (s Sysctl) path() string { return "/etc/sysctl.d/90-rmqctl-" + s.Cluster + ".conf" }

func (s Sysctl) file() File {
	keys := make([]string, 0, len(s.Values))
	for k := range s.Values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	text := "# Written by rmqctl for cluster " + s.Cluster + "; the next deploy overwrites it.\n"
	for _, k := range keys {
		text += k + " = " + s.Values[k] + "\n"
	}
	return File{Path: s.path(), Content: []byte(text), Mode: 0o644}
}

// Check compares the file and what the kernel says.
func (s Sysctl) Check(ctx context.Context, h Reader) (*Change, error) {
	c, err := s.file().Check(ctx, h)
	if err != nil {
		return nil, err
	}
	why, err := s.notInForce(h)
	if err != nil {
		return nil, err
	}
	switch {
	case c == nil && why == "":
		return nil, nil
	case c != nil && c.Apply == nil:
		return c, nil
	case c == nil:
		c = &Change{Why: why}
	}
	write := c.Apply
	c.Apply = func(ctx context.Context, w Writer) error {
		if write != nil {
			if err := write(ctx, w); err != nil {
				return err
			}
		}
		return w.Run(Cmd("sysctl", "-p", s.path()))
	}
	return c, nil
}

func (s Sysctl) notInForce(h Reader) (string, error) {
	var off []string
	for k, want := range s.Values {
		have, err := h.ReadFile(path.Join("/proc/sys", strings.ReplaceAll(k, ".", "/")))
		if errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("this kernel has no setting %s", k)
		}
		if err != nil {
			return "", fmt.Errorf("read kernel setting %s: %w", k, err)
		}
		if strings.Join(strings.Fields(string(have)), " ") != strings.Join(strings.Fields(want), " ") {
			off = append(off, fmt.Sprintf("%s is %s, not %s", k, strings.TrimSpace(string(have)), want))
		}
	}
	sort.Strings(off)
	return strings.Join(off, "; "), nil
}

// Owned is the file.
func (s Sysctl) Owned() Owned { return Owned{Kind: "file", Name: s.path()} }

// Absent removes it.
func (s Sysctl) Absent() Step { return NoFile{Path: s.path()} }

// HostName is the host's own name. It is not taken back.
type HostName struct{ Want string }

// Name says what it is.
func (n HostName) Name() string { return "host name " + n.Want }

// Check asks the kernel, and looks at the file that sets it at boot.
func (n HostName) Check(_ context.Context, h Reader) (*Change, error) {
	now, err := h.Query(AskHostname())
	if err != nil {
		return nil, fmt.Errorf("ask for the host name: %w", err)
	}
	file, _, err := readText(h, "/etc/hostname")
	if err != nil {
		return nil, err
	}
	if now == n.Want && strings.TrimSpace(file) == n.Want {
		return nil, nil
	}
	return &Change{Why: "is " + now, Apply: func(_ context.Context, w Writer) error {
		return w.Run(Cmd("hostnamectl", "set-hostname", n.Want))
	}}, nil
}
