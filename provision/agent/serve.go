// The agent's side: read a request, do it, answer. Looks run side by side; changes come one at a time, because the
// engine waits for each.

package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"rmqctl/provision/step"
)

// Options of Serve.
type Options struct {
	Version string // of the program, told in the hello
}

// server is one agent.
type server struct {
	in   io.Reader
	out  io.Writer
	ctx  context.Context
	wmu  sync.Mutex // one frame is written at a time
	wg   sync.WaitGroup
	mu   sync.Mutex // guards locks, probes, running
	held map[string]*os.File
	// running holds the requests that can be called off, by id.
	running map[int64]context.CancelFunc
	probes  []io.Closer
	streams streams
}

// Serve answers requests until in ends. What is under way is finished first; the locks go with it.
func Serve(in io.Reader, out io.Writer, o Options) error {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{in: in, out: out, ctx: ctx, held: map[string]*os.File{}, running: map[int64]context.CancelFunc{},
		streams: streams{conns: map[int64]net.Conn{}}}
	defer s.release()
	defer s.wg.Wait()
	defer cancel() // before the wait: ends what only looks
	host, _ := os.Hostname()
	hello := &Hello{Proto: protoVersion, Version: o.Version, PID: os.Getpid(), UID: os.Getuid(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Hostname: host, Millis: time.Now().UnixMilli()}
	if err := s.write(&response{Hello: hello}); err != nil {
		return err
	}
	for {
		var q request
		switch err := readFrame(in, &q); {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // half a request is not begun
			return nil
		case err != nil:
			return fmt.Errorf("read request: %w", err)
		}
		switch q.Op {
		case "cancel":
			s.callOff(q.ID)
			continue
		case "send":
			s.feed(&q)
			continue
		}
		s.wg.Add(1)
		go s.handle(&q)
	}
}

func (s *server) write(r *response) error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	return writeFrame(s.out, r)
}

func (s *server) handle(q *request) {
	defer s.wg.Done()
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	s.running[q.ID] = cancel
	s.mu.Unlock()
	defer func() {
		cancel()
		s.mu.Lock()
		delete(s.running, q.ID)
		s.mu.Unlock()
	}()
	r, err := s.do(ctx, q)
	if r == nil {
		r = &response{}
	}
	r.ID = q.ID
	if err != nil {
		r.Err = toWire(err)
	}
	// A client that has gone away hears nothing; what was asked is done all the same.
	_ = s.write(r)
}

func (s *server) callOff(id int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.running[id]; cancel != nil {
		cancel()
	}
}

func (s *server) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.held {
		f.Close()
	}
	for _, p := range s.probes {
		p.Close()
	}
}

// do is the menu. ctx ends with the connection; only looks heed it.
func (s *server) do(ctx context.Context, q *request) (*response, error) {
	limit := time.Duration(q.Limit) * time.Millisecond
	switch q.Op {
	case "read":
		b, err := os.ReadFile(q.Path)
		return &response{Data: b}, err
	case "stat":
		info, err := stat(q.Path)
		return &response{Info: &info}, err
	case "query":
		text, err := query(ctx, q.Argv)
		return &response{Text: text}, err
	case "write":
		return nil, writeFile(q.Path, q.Data, fs.FileMode(q.Mode))
	case "mkdir":
		return nil, mkdir(q.Path, fs.FileMode(q.Mode))
	case "remove":
		return nil, remove(q.Path)
	case "removeall":
		return nil, removeAll(q.Path)
	case "copy":
		return nil, copyFile(q.Argv[0], q.Path, fs.FileMode(q.Mode))
	case "append":
		return nil, appendFile(q.Path, q.Data, fs.FileMode(q.Mode))
	case "run":
		text, err := run(s.ctx, q.Argv, q.Data, limit)
		return &response{Text: text}, err
	case "lock":
		return nil, s.lock(q.Path, q.Data)
	case "unlock":
		return nil, s.unlock(q.Path)
	case "listen":
		text, err := s.listen(q.Addrs)
		return &response{Text: text}, err
	case "unlisten":
		s.unlisten()
		return nil, nil
	case "open":
		return nil, s.open(ctx, q)
	case "follow":
		return nil, s.follow(ctx, q)
	}
	return nil, fmt.Errorf("agent does not know %q", q.Op)
}

func toWire(err error) *wireError {
	w := &wireError{Kind: "other", Text: err.Error()}
	var exit *step.ExitError
	var locked *LockedError
	switch {
	case errors.As(err, &exit):
		w.Kind, w.Argv, w.Code, w.Stderr = "exit", exit.Argv, exit.Code, exit.Stderr
	case errors.As(err, &locked):
		w.Kind, w.Holder = "locked", &locked.Holder
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR): // below a file there is nothing
		w.Kind = "absent"
	case errors.Is(err, step.ErrNoCommand):
		w.Kind = "command"
	}
	return w
}

func (w *wireError) unwire(path string) error {
	switch w.Kind {
	case "absent":
		return &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	case "exit":
		return &step.ExitError{Argv: w.Argv, Code: w.Code, Stderr: w.Stderr}
	case "command":
		return fmt.Errorf("%s: %w", w.Text, step.ErrNoCommand)
	case "locked":
		if w.Holder != nil {
			return &LockedError{Path: path, Holder: *w.Holder}
		}
	}
	return errors.New(w.Text)
}
