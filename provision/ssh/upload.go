// Bringing a file to the host. It is complete under its name or not there: it arrives under a temporary name, is moved
// beside its target, hashed there by the host, and renamed. A session on the same connection stands by to remove the
// temporary files, so that a cut cable leaves nothing behind.

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"

	"rmqctl/provision/step"
)

// Upload is a file to be brought.
type Upload struct {
	From     string
	To       string
	Sum      string // sha256 in hex
	Mode     fs.FileMode
	Progress func(done, total int64) // may be nil
}

// Upload brings the file, unless the host has it already.
func (c *Client) Upload(ctx context.Context, u Upload) error {
	have, err := c.script(ctx, true, step.AskSHA256(u.To).Shell())
	if err != nil {
		return err
	}
	if strings.TrimSpace(have) == u.Sum {
		return nil
	}
	f, err := os.Open(u.From)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	defer f.Close()
	stage, temp, guard, err := c.stage(ctx, u)
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := c.send(ctx, f, stage, u); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return c.uploadFailed(u, "send", err)
	}
	return c.install(ctx, u, stage, temp)
}

// stage chooses the temporary names and starts the guard, a shell that removes them when its input ends.
func (c *Client) stage(ctx context.Context, u Upload) (stage, temp string, guard *Process, err error) {
	tag := strings.TrimSuffix(nonce(), ":")
	dir := path.Dir(u.To)
	temp = dir + "/." + tag
	if _, err := c.script(ctx, true, "mkdir -p -- "+step.Quote(dir)); err != nil {
		return "", "", nil, c.uploadFailed(u, "make "+dir, err)
	}
	way, err := c.becomeRoot(ctx)
	if err != nil {
		return "", "", nil, err
	}
	stage = temp
	if way != plain {
		home, err := c.script(ctx, false, `cd && pwd -P`)
		if err != nil {
			return "", "", nil, c.uploadFailed(u, "find the home directory", err)
		}
		stage = strings.TrimSuffix(home, "\n") + "/." + tag
	}
	guard, err = c.Start(ctx, true, "/bin/sh", "-c",
		"trap '' HUP; echo; cat >/dev/null; rm -f -- "+step.Quote(stage)+" "+step.Quote(temp)+"; rmdir -- "+step.Quote(dir)+" 2>/dev/null")
	if err != nil {
		return "", "", nil, err
	}
	if _, err := guard.Read(make([]byte, 1)); err != nil {
		guard.Close()
		return "", "", nil, c.uploadFailed(u, "stand by", err)
	}
	return stage, temp, guard, nil
}

// send copies by SFTP; a server without that subsystem gets the bytes on the standard input of cat.
func (c *Client) send(ctx context.Context, f *os.File, stage string, u Upload) error {
	st, err := f.Stat()
	if err != nil {
		return err
	}
	src := &counted{r: f, total: st.Size(), progress: u.Progress}
	client, err := sftp.NewClient(c.conn, sftp.UseConcurrentWrites(true))
	if err != nil {
		return c.sendByCat(ctx, src, stage)
	}
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	defer client.Close()
	dst, err := client.OpenFile(stage, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err := dst.Chmod(0o600); err != nil {
		dst.Close()
		return err
	}
	if _, err := dst.ReadFromWithConcurrency(src, 64); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}

func (c *Client) sendByCat(ctx context.Context, src io.Reader, stage string) error {
	p, err := c.Start(ctx, false, "/bin/sh", "-c", "umask 077; cat >"+step.Quote(stage))
	if err != nil {
		return err
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, func() { p.Close() })
	defer stop()
	if _, err := io.Copy(p, src); err != nil {
		return err
	}
	p.WriteCloser.Close()
	if err := p.Wait(); err != nil {
		return fmt.Errorf("%w: %s", err, p.Stderr())
	}
	return nil
}

// install checks the hash where only root can write, and renames.
func (c *Client) install(ctx context.Context, u Upload, stage, temp string) error {
	s, t, to := step.Quote(stage), step.Quote(temp), step.Quote(u.To)
	script := "set -e; "
	if stage != temp {
		script += "mv -- " + s + " " + t + "; chown 0:0 -- " + t + "; "
	}
	script += fmt.Sprintf("chmod %04o -- %s; ", u.Mode.Perm(), t) +
		"h=$(sha256sum -- " + t + " | cut -d' ' -f1); if [ \"$h\" != " + u.Sum + " ]; then echo \"$h\" >&2; exit 65; fi; " +
		"sync -- " + t + " 2>/dev/null || sync; mv -f -- " + t + " " + to
	_, err := c.script(ctx, true, script)
	var exit *step.ExitError
	if errors.As(err, &exit) && exit.Code == 65 {
		return c.uploadFailed(u, "verify", fmt.Errorf("the host hashes it to %s, it is %s", exit.Stderr, u.Sum))
	}
	if err != nil {
		return c.uploadFailed(u, "install", err)
	}
	return nil
}

func (c *Client) uploadFailed(u Upload, act string, err error) error {
	if errors.Is(err, LinkLost) || errors.Is(err, SudoRefused) {
		return err
	}
	e := &Error{Kind: UploadFailed, Host: c.target.Name, Addr: c.target.addr(), Tried: act + " " + u.To, Cause: err,
		Likely: "the disk is full or the directory cannot be written", Next: "look at `df -h " + path.Dir(u.To) + "` on the host"}
	if lost(err) || errors.Is(err, sftp.ErrSSHFxConnectionLost) {
		return c.lost("upload of "+u.To, err)
	}
	return e
}

// counted reports how much of a file has been read.
type counted struct {
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.done += int64(n)
	if c.progress != nil && n > 0 {
		c.progress(c.done, c.total)
	}
	return n, err
}
