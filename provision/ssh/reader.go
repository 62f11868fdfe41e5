// Looking at a host where rmqctl is not installed yet: one POSIX shell command per question, as root where that is to
// be had. Nothing here changes the host.

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"rmqctl/provision/step"
)

// Reader answers a step's questions over plain SSH.
type Reader struct {
	c   *Client
	ctx context.Context // of the Check that uses it
}

// Reader looks at the host; ctx ends a question that hangs.
func (c *Client) Reader(ctx context.Context) *Reader { return &Reader{c: c, ctx: ctx} }

// absent is the exit status by which our scripts say that a path is not there.
const absent = 66

// ReadFile is step.Reader's.
func (r *Reader) ReadFile(path string) ([]byte, error) {
	p := step.Quote(path)
	out, err := r.c.script(r.ctx, true, "if [ -e "+p+" ]; then cat -- "+p+"; else exit "+strconv.Itoa(absent)+"; fi")
	if err != nil {
		return nil, pathError("read", path, err)
	}
	return []byte(out), nil
}

// Stat is step.Reader's.
func (r *Reader) Stat(path string) (step.Info, error) {
	p := step.Quote(path)
	out, err := r.c.script(r.ctx, true, "if [ -e "+p+" ] || [ -L "+p+" ]; then stat -c '%f %s %U %G' -- "+p+"; readlink -- "+p+" || true; else exit "+strconv.Itoa(absent)+"; fi")
	if err != nil {
		return step.Info{}, pathError("stat", path, err)
	}
	return parseStat(out)
}

func parseStat(out string) (step.Info, error) {
	first, link, _ := strings.Cut(out, "\n")
	f := strings.Fields(first)
	if len(f) != 4 {
		return step.Info{}, fmt.Errorf("stat answered %q", first)
	}
	mode, err := strconv.ParseUint(f[0], 16, 32)
	if err != nil {
		return step.Info{}, fmt.Errorf("stat answered %q", first)
	}
	size, _ := strconv.ParseInt(f[1], 10, 64)
	return step.Info{Mode: unixMode(uint32(mode)), Size: size, Owner: f[2], Group: f[3], Link: strings.TrimSuffix(link, "\n")}, nil
}

func unixMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & 0o170000 {
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o100000:
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

// Query is step.Reader's.
func (r *Reader) Query(q step.Query) (string, error) {
	sh := q.Shell()
	if sh == "" {
		return "", step.ErrNoAgent
	}
	out, err := r.c.script(r.ctx, true, sh)
	var exit *step.ExitError
	if errors.As(err, &exit) {
		exit.Argv = q.Argv()
		if exit.Code == 127 {
			return "", fmt.Errorf("%s: %w", q.Argv()[0], step.ErrNoCommand)
		}
	}
	return strings.TrimSpace(out), err
}

func pathError(op, path string, err error) error {
	var exit *step.ExitError
	if errors.As(err, &exit) {
		if exit.Code == absent {
			return &fs.PathError{Op: op, Path: path, Err: fs.ErrNotExist}
		}
		return &fs.PathError{Op: op, Path: path, Err: errors.New(exit.Error())}
	}
	return err
}
