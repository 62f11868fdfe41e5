// A log as it grows.

package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"time"
)

// follow sends what is appended to a file (Path), or what a program that follows prints (Argv), until it is called off.
func (s *server) follow(ctx context.Context, q *request) error {
	send := writerFunc(func(b []byte) (int, error) {
		return len(b), s.write(&response{ID: q.ID, More: true, Data: b})
	})
	if len(q.Argv) > 0 {
		bin, ok := which(q.Argv[0])
		if !ok {
			return errors.New(q.Argv[0] + ": command not found")
		}
		cmd := exec.CommandContext(ctx, bin, q.Argv[1:]...)
		cmd.Env, cmd.Stdout = environ(), send
		err := cmd.Run()
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	f, err := os.Open(q.Path)
	if err != nil {
		return err
	}
	defer func() { f.Close() }()
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return err
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := io.Copy(send, f); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if n, err := reopened(f, q.Path); err == nil && n != nil { // rotated
			f.Close()
			f = n
		}
	}
}

func reopened(f *os.File, path string) (*os.File, error) {
	was, err := f.Stat()
	if err != nil {
		return nil, err
	}
	is, err := os.Stat(path)
	if err != nil || os.SameFile(was, is) {
		return nil, err
	}
	return os.Open(path)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
