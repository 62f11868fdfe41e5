// Files, links and directories.

package step

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Diff is a unified diff of a file before and after; "" when they are equal.
func Diff(name, before, after string) string {
	return udiff.Unified(name, name, before, after)
}

// File is a file with just this content.
type File struct {
	Path         string
	Content      []byte
	Owner, Group string // "" = whoever writes it
	Mode         fs.FileMode
}

// Name is the path.
func (f File) Name() string { return f.Path }

// Check compares content, owner and mode.
func (f File) Check(_ context.Context, h Reader) (*Change, error) {
	info, err := h.Stat(f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Change{Why: "absent", Diff: Diff(f.Path, "", string(f.Content)), Creates: true, Apply: f.write}, nil
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", f.Path, err)
	case info.Mode.IsDir():
		return Obstacle(f.Path+" is a directory", "move it away"), nil
	}
	old, err := h.ReadFile(f.Path)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", f.Path, err)
	}
	if string(old) != string(f.Content) {
		return &Change{Why: "content differs", Diff: Diff(f.Path, string(old), string(f.Content)), Apply: f.write}, nil
	}
	if why := rights(info, f.Owner, f.Group, f.Mode); why != "" {
		return &Change{Why: why, Apply: func(_ context.Context, w Writer) error { return setRights(w, f.Path, f.Owner, f.Group, f.Mode, false) }}, nil
	}
	return nil, nil
}

func (f File) write(_ context.Context, w Writer) error {
	if err := w.WriteFile(f.Path, f.Content, f.Mode); err != nil {
		return err
	}
	return setRights(w, f.Path, f.Owner, f.Group, f.Mode, false)
}

// Owned is the file.
func (f File) Owned() Owned { return Owned{Kind: "file", Name: f.Path} }

// Absent removes it, and the previous version that a daemon keeps beside it.
func (f File) Absent() Step { return NoFile{Path: f.Path} }

// NoFile is a file or link that should not be there; neither should its .bak.
type NoFile struct{ Path string }

// Name says what it is.
func (f NoFile) Name() string { return "no " + f.Path }

// Check looks for them.
func (f NoFile) Check(_ context.Context, h Reader) (*Change, error) {
	var there []string
	for _, p := range []string{f.Path, f.Path + ".bak"} {
		if _, err := h.Stat(p); err == nil {
			there = append(there, p)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("look at %s: %w", p, err)
		}
	}
	if there == nil {
		return nil, nil
	}
	return &Change{Why: "still there", Apply: func(_ context.Context, w Writer) error {
		for _, p := range there {
			if err := w.Remove(p); err != nil {
				return err
			}
		}
		return nil
	}}, nil
}

// Link is a symbolic link.
type Link struct{ Path, Target string }

// Name is both ends.
func (l Link) Name() string { return l.Path + " → " + l.Target }

// Check compares the target.
func (l Link) Check(_ context.Context, h Reader) (*Change, error) {
	info, err := h.Stat(l.Path)
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case err != nil && !absent:
		return nil, fmt.Errorf("look at %s: %w", l.Path, err)
	case !absent && info.Mode&fs.ModeSymlink == 0:
		return Obstacle(l.Path+" is not a link", "move it away"), nil
	case !absent && info.Link == l.Target:
		return nil, nil
	}
	why := "points to " + info.Link
	if absent {
		why = "absent"
	}
	return &Change{Why: why, Creates: absent, Apply: func(_ context.Context, w Writer) error {
		// A link cannot be rewritten: a second one is made and takes the first one's place.
		tmp := l.Path + ".new"
		if err := w.Run(Cmd("ln", "-sfn", l.Target, tmp)); err != nil {
			return err
		}
		return w.Run(Cmd("mv", "-fT", tmp, l.Path))
	}}, nil
}

// Owned is the link.
func (l Link) Owned() Owned { return Owned{Kind: "link", Name: l.Path} }

// Absent removes it.
func (l Link) Absent() Step { return NoFile{Path: l.Path} }

// Dir is a directory.
type Dir struct {
	Path         string
	Owner, Group string
	Mode         fs.FileMode // 0 = any owner and mode will do: a directory on the way to another one
	Deep         bool        // a wrong owner is put right all the way down
	Whole        bool        // all that is in it is ours, so destroy removes it with its content
	Data         bool        // holds messages: destroy keeps it unless told otherwise
}

// Name is the path.
func (d Dir) Name() string { return d.Path + "/" }

// Check compares owner and mode.
func (d Dir) Check(_ context.Context, h Reader) (*Change, error) {
	info, err := h.Stat(d.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &Change{Why: "absent", Creates: true, Apply: func(_ context.Context, w Writer) error {
			if err := w.Mkdir(d.Path, d.mode()); err != nil {
				return err
			}
			return setRights(w, d.Path, d.Owner, d.Group, d.mode(), false)
		}}, nil
	case err != nil:
		return nil, fmt.Errorf("look at %s: %w", d.Path, err)
	case info.Mode&fs.ModeSymlink != 0 && d.Mode == 0:
		return nil, nil // a link to a directory on the way is the operator's affair
	case info.Mode&fs.ModeSymlink != 0:
		return Obstacle(d.Path+" is a link to "+info.Link, "write the directory itself into [paths]"), nil
	case !info.Mode.IsDir():
		return Obstacle(d.Path+" is not a directory", "move it away, or choose another place in [paths]"), nil
	case d.Mode == 0:
		return nil, nil
	}
	if why := rights(info, d.Owner, d.Group, d.Mode); why != "" {
		deep := d.Deep && d.Owner != "" && info.Owner != d.Owner
		return &Change{Why: why, Apply: func(_ context.Context, w Writer) error {
			return setRights(w, d.Path, d.Owner, d.Group, d.Mode, deep)
		}}, nil
	}
	return nil, nil
}

func (d Dir) mode() fs.FileMode {
	if d.Mode == 0 {
		return 0o755
	}
	return d.Mode
}

// Owned is the directory; its kind is data where it holds messages.
func (d Dir) Owned() Owned {
	if d.Data {
		return Owned{Kind: "data", Name: d.Path}
	}
	return Owned{Kind: "dir", Name: d.Path}
}

// Absent removes it.
func (d Dir) Absent() Step { return NoDir{Path: d.Path, Whole: d.Whole || d.Data} }

// NoDir is a directory that should not be there. Without Whole it is left alone while something is in it.
type NoDir struct {
	Path  string
	Whole bool
}

// Name says what it is.
func (d NoDir) Name() string { return "no " + d.Path + "/" }

// Check looks for it.
func (d NoDir) Check(_ context.Context, h Reader) (*Change, error) {
	if _, err := h.Stat(d.Path); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("look at %s: %w", d.Path, err)
	}
	list, err := h.Query(AskList(d.Path))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.Path, err)
	}
	if list != "" && !d.Whole {
		return nil, nil
	}
	return &Change{Why: "still there", Apply: func(_ context.Context, w Writer) error {
		if list == "" {
			return w.Remove(d.Path)
		}
		if p := path.Clean(d.Path); strings.Count(p, "/") < 2 {
			return fmt.Errorf("remove %s: too near to the root of the host", p)
		}
		return w.Run(Cmd("rm", "-rf", "--", d.Path))
	}}, nil
}

// rights says how owner and mode differ from what they should be.
func rights(i Info, owner, group string, mode fs.FileMode) string {
	switch {
	case owner != "" && i.Owner != owner || group != "" && i.Group != group:
		return fmt.Sprintf("belongs to %s:%s, not %s:%s", i.Owner, i.Group, owner, group)
	case i.Mode.Perm() != mode:
		return fmt.Sprintf("mode is %04o, not %04o", i.Mode.Perm(), mode)
	}
	return ""
}

// setRights gives owner and mode; deep means everything below as well.
func setRights(w Writer, p, owner, group string, mode fs.FileMode, deep bool) error {
	i, err := w.Stat(p)
	if err != nil {
		return fmt.Errorf("look at %s: %w", p, err)
	}
	if owner != "" && (i.Owner != owner || i.Group != group) {
		argv := []string{"chown", owner + ":" + group, "--", p}
		if deep {
			// The directory itself comes last: its owner says that all below is done.
			if err := w.Run(Cmd("find", p, "-mindepth", "1", "-exec", "chown", "-h", owner+":"+group, "{}", "+")); err != nil {
				return err
			}
		}
		if err := w.Run(Cmd(argv...)); err != nil {
			return err
		}
	}
	if i.Mode.Perm() != mode {
		return w.Run(Cmd("chmod", fmt.Sprintf("%04o", mode.Perm()), p))
	}
	return nil
}
