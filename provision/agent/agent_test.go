package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rmqctl/provision/step"
)

// The test binary is also the agent and the service that tests start.
func TestMain(m *testing.M) {
	switch os.Getenv("AGENT_TEST_AS") {
	case "agent":
		if err := Serve(os.Stdin, os.Stdout, Options{Version: "test"}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "service":
		service()
	case "broken":
		fmt.Println("bind 127.0.0.1:1: permission denied")
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// service says that it is ready, and ends at SIGTERM.
func service() {
	sig := make(chan os.Signal, 1)
	signal.Notify(sig, syscall.SIGTERM)
	fmt.Println("up")
	if sock := os.Getenv("NOTIFY_SOCKET"); sock != "" {
		c, err := net.Dial("unixgram", sock)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		io.WriteString(c, "STATUS=recovering 50%\nEXTEND_TIMEOUT_USEC=60000000")
		io.WriteString(c, "READY=1\nSTATUS=serving")
	}
	<-sig
	fmt.Println("down")
	os.Exit(0)
}

type duplex struct {
	io.ReadCloser
	io.WriteCloser
}

func (d duplex) Close() error { return errors.Join(d.WriteCloser.Close(), d.ReadCloser.Close()) }

// pair is a client and its agent in this process; ended is closed when Serve has returned.
func pair(t *testing.T) (c *Client, hangUp func(), ended <-chan struct{}) {
	t.Helper()
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Serve(inR, outW, Options{Version: "test"}); err != nil {
			t.Errorf("Serve: %v", err)
		}
		outW.Close()
	}()
	c, err := Dial(t.Context(), duplex{outR, inW})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inW.Close(); <-done })
	return c, func() { inW.Close() }, done
}

func TestHostIsAStepWriter(t *testing.T) {
	c, _, _ := pair(t)
	var h step.Writer = c.Host(t.Context())
	dir := t.TempDir()
	file := filepath.Join(dir, "a", "b", "conf")
	if _, err := h.ReadFile(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
	if _, err := h.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("stat of nothing: %v", err)
	}
	if err := h.Mkdir(filepath.Dir(file), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := h.WriteFile(file, []byte("x=1\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	if b, err := h.ReadFile(file); err != nil || string(b) != "x=1\n" {
		t.Errorf("read: %q, %v", b, err)
	}
	if st, err := h.Stat(file); err != nil || st.Mode != 0o640 || st.Owner == "" {
		t.Errorf("stat: %+v, %v", st, err)
	}
	if ents, _ := os.ReadDir(filepath.Dir(file)); len(ents) != 1 {
		t.Errorf("temporary files are left: %v", ents)
	}
	if err := h.Remove(file); err != nil {
		t.Error(err)
	}
	if err := h.Remove(file); err != nil {
		t.Errorf("removing what is gone: %v", err)
	}
	var exit *step.ExitError
	if err := h.Run(step.Cmd("sh", "-c", "echo no >&2; exit 7")); !errors.As(err, &exit) || exit.Code != 7 || exit.Stderr != "no" {
		t.Errorf("run: %v", err)
	}
	if err := h.Run(step.Cmd("no-such-program")); !errors.Is(err, step.ErrNoCommand) {
		t.Errorf("run of nothing: %v", err)
	}
	if err := h.Run(step.Command{Argv: []string{"tee", file}, Stdin: []byte("it's $HOME")}); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "it's $HOME" {
		t.Errorf("standard input arrived as %q", b)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	c, _, _ := pair(t)
	h := c.Host(t.Context())
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "f"), nil, 0o644)
	for _, q := range []struct {
		q    step.Query
		want string
	}{
		{step.AskDial(addr, time.Second), "ok"},
		{step.AskList(dir), "f"},
		{step.AskList(dir + "/none"), ""},
		{step.AskSHA256(dir + "/f"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		{step.AskSHA256(dir + "/none"), ""},
	} {
		if out, err := h.Query(q.q); err != nil || out != q.want {
			t.Errorf("%s: %q, %v", q.q, out, err)
		}
	}
	if out, err := h.Query(step.AskListeners()); err != nil || !strings.Contains(out, fmt.Sprintf("%s %d ", addr, os.Getpid())) {
		t.Errorf("listeners lack %s of process %d: %q, %v", addr, os.Getpid(), out, err)
	}
	ln.Close()
	if out, err := h.Query(step.AskDial(addr, time.Second)); err != nil || out != "refused" {
		t.Errorf("dial of a closed port: %q, %v", out, err)
	}
	if out, err := h.Query(step.AskDiskFree(dir + "/x/y")); err != nil || len(strings.Fields(out)) != 2 {
		t.Errorf("disk: %q, %v", out, err)
	}
	if out, err := h.Query(step.AskAddresses()); err != nil || !strings.Contains(out, "127.0.0.1") {
		t.Errorf("addresses: %q, %v", out, err)
	}
}

func TestSecondLockIsRefusedAndNamesTheHolder(t *testing.T) {
	a, hangUp, ended := pair(t)
	b, _, _ := pair(t)
	path := filepath.Join(t.TempDir(), "run", "orders.lock")
	holder := Holder{User: "ops", Host: "laptop", PID: 42, Command: "rmqctl deploy", Since: 1}
	if err := a.Lock(t.Context(), path, holder); err != nil {
		t.Fatal(err)
	}
	if err := a.Lock(t.Context(), path, holder); err != nil {
		t.Errorf("the holder asks again: %v", err)
	}
	var locked *LockedError
	if err := b.Lock(t.Context(), path, Holder{User: "other"}); !errors.As(err, &locked) || locked.Holder != holder {
		t.Fatalf("second lock: %v", err)
	}
	hangUp() // the first run dies
	<-ended
	if err := b.Lock(t.Context(), path, Holder{User: "other"}); err != nil {
		t.Errorf("lock of a dead run: %v", err)
	}
}

// serviceFile writes a builtin unit that runs this test binary.
func serviceFile(t *testing.T, as string, notify bool) (step.Supervisor, step.Service) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sup := step.Supervisor{Builtin: true, Dir: dir}
	s := step.Service{Unit: "svc.service", Exec: []string{self}, Env: []string{"AGENT_TEST_AS=" + as, "RMQ_SPEC=abc"}, Dir: dir,
		Log: filepath.Join(dir, "log"), Notify: notify}
	b, _ := json.Marshal(s)
	if err := os.WriteFile(sup.UnitPath(s.Unit), b, 0o644); err != nil {
		t.Fatal(err)
	}
	return sup, s
}

func TestBuiltinServiceOutlivesItsAgent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sup, s := serviceFile(t, "service", true)
	t.Setenv("AGENT_TEST_AS", "agent")
	state := func(c *Client) step.UnitState {
		t.Helper()
		out, err := c.Host(t.Context()).Query(sup.State(s.Unit))
		if err != nil {
			t.Fatal(err)
		}
		return step.ParseUnitState(out)
	}
	one, err := Child(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	if u := state(one); u.Active != "inactive" || u.Runs() {
		t.Errorf("before: %+v", u)
	}
	h := one.Host(t.Context())
	if err := h.Run(sup.Start(s.Unit, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	u := state(one)
	if u.Active != "active" || !u.Runs() {
		t.Errorf("started: %+v", u)
	}
	if err := h.Run(sup.Start(s.Unit, 20*time.Second)); err != nil {
		t.Errorf("started twice: %v", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	two, err := Child(t.Context(), self)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if v := state(two); v.PID != u.PID {
		t.Errorf("after the agent's end: %+v, was %+v", v, u)
	}
	h = two.Host(t.Context())
	if out, err := h.Query(sup.Environ(s.Unit, "RMQ_SPEC")); err != nil || out != "abc" {
		t.Errorf("environment: %q, %v", out, err)
	}
	if err := h.Run(sup.Stop(s.Unit, 20*time.Second)); err != nil {
		t.Fatal(err)
	}
	if v := state(two); v.Active != "inactive" || v.Runs() {
		t.Errorf("stopped: %+v", v)
	}
	if out, err := h.Query(sup.Log(s.Unit, 10)); err != nil || out != "up\ndown" {
		t.Errorf("log: %q, %v", out, err)
	}
	if err := h.Run(sup.Stop(s.Unit, time.Second)); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
}

func TestServiceThatDiesSaysItsLastWords(t *testing.T) {
	for _, notify := range []bool{true, false} {
		sup, s := serviceFile(t, "broken", notify)
		c, _, _ := pair(t)
		err := c.Host(t.Context()).Run(sup.Start(s.Unit, 20*time.Second))
		if err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("start (notify %v): %v", notify, err)
		}
	}
}

func TestOneFrameThereAndBack(t *testing.T) {
	frame := func(head, body string) []byte {
		b := []byte{0, 0, 0, byte(4 + len(head) + len(body)), 0, 0, 0, byte(len(head))}
		return append(append(b, head...), body...)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			readRemoting(c)
			c.Write(frame(`{"code":40,"flag":0}`, "")) // a question of the broker's own
			c.Write(frame(`{"code":0,"flag":1}`, "answer"))
			c.Close()
		}
	}()
	c, _, _ := pair(t)
	if out, err := c.Host(t.Context()).Query(step.AskClusterInfo(ln.Addr().String())); err != nil || out != "answer" {
		t.Errorf("body %q, %v", out, err)
	}
}

func TestStreamCarriesAConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()
	c, _, _ := pair(t)
	conn, err := c.DialHost(t.Context(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789"), 300_000)
	go conn.Write(want)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("echo differs: %v", err)
	}
	conn.SetReadDeadline(time.Now())
	if _, err := conn.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("read past the deadline: %v", err)
	}
	conn.Close()
	if _, err := conn.Read(got); !errors.Is(err, net.ErrClosed) {
		t.Errorf("read of a closed stream: %v", err)
	}
	ln.Close()
	if _, err := c.DialHost(t.Context(), ln.Addr().String()); err == nil {
		t.Error("a closed port was reached")
	}
}

func TestFollowShowsWhatIsAppended(t *testing.T) {
	c, _, _ := pair(t)
	path := filepath.Join(t.TempDir(), "log")
	os.WriteFile(path, []byte("old\n"), 0o644)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan []byte, 10)
	ended := make(chan error, 1)
	go func() { ended <- c.Follow(ctx, path, nil, func(b []byte) { got <- b }) }()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for stop := false; !stop; { // the follower starts at an end we cannot see
		f.WriteString("new\n")
		select {
		case b := <-got:
			if bytes.Contains(b, []byte("old")) || !bytes.Contains(b, []byte("new")) {
				t.Errorf("followed %q", b)
			}
			stop = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestDeadAgentIsAnError(t *testing.T) {
	c, hangUp, ended := pair(t)
	hangUp()
	<-ended
	if _, err := c.Host(t.Context()).ReadFile("/etc/hosts"); !errors.Is(err, ErrGone) {
		t.Errorf("error is %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	var b bytes.Buffer
	writeFrame(&b, &request{ID: 1, Op: "read", Path: "/x"})
	f.Add(b.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, '{'})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var q request
		_ = readFrame(bytes.NewReader(b), &q)
		isAnswer(b)
		frameBody(b)
		listenLine(string(b))
	})
}
