// A process that a test started: its lines, its end.

package peers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is one started program. Its stdout is kept line by line; its stderr goes to a file that a failing test shows.
type Process struct {
	Name string
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	log  string
	done chan struct{} // closed when the process has ended and its output is read
	err  error         // of the process; readable after done

	mu    sync.Mutex // guards lines, more
	lines []string
	more  chan struct{} // closed and replaced when a line comes
}

// start runs a command and ends it with the test.
func start(t testing.TB, name string, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{Name: name, t: t, cmd: cmd, done: make(chan struct{}), more: make(chan struct{})}
	p.log = filepath.Join(t.TempDir(), "stderr")
	stderr, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan error)
	go func() {
		// The signal that ends a child with its parent is tied to the thread that started it: this one stays.
		runtime.LockOSThread()
		dieWithParent(cmd)
		err := cmd.Start()
		started <- err
		if err == nil {
			p.read(out)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s\n%s", name, p.tail())
		}
	})
	return p
}

func (p *Process) read(out io.Reader) {
	sc := bufio.NewScanner(out)
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, sc.Text())
		close(p.more)
		p.more = make(chan struct{})
		p.mu.Unlock()
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// tail is the end of what the process said, for a failing test.
func (p *Process) tail() string {
	b, _ := os.ReadFile(p.log)
	text := last(strings.Join(p.Lines(), "\n"), 3000) + "\n--- stderr\n" + last(string(b), 2000)
	if own, err := os.ReadFile(filepath.Join(p.cmd.Dir, "rocketmq_client.log")); err == nil {
		text += "\n--- the client's own log\n" + last(string(own), 12000)
	}
	return text
}

func last(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}

// Lines are the lines of stdout so far.
func (p *Process) Lines() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lines[:len(p.lines):len(p.lines)]
}

// Await waits for a line of stdout that has text in it and returns it; the test fails when the process ends or time is up first.
func (p *Process) Await(text string, within time.Duration) string {
	p.t.Helper()
	late := time.After(within)
	for seen := 0; ; {
		p.mu.Lock()
		lines, more := p.lines, p.more
		p.mu.Unlock()
		for ; seen < len(lines); seen++ {
			if strings.Contains(lines[seen], text) {
				return lines[seen]
			}
		}
		select {
		case <-more:
		case <-p.done:
			if len(p.Lines()) == seen {
				p.t.Fatalf("%s ended (%v) before it said %q\n%s", p.Name, p.err, text, p.tail())
			}
		case <-late:
			p.t.Fatalf("%s did not say %q within %v\n%s", p.Name, text, within, p.tail())
		}
	}
}

// Kill ends the process at once, as kill -9 does, and waits for its end.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the process to end (SIGTERM) and waits for it.
func (p *Process) Stop() {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	p.Wait(30 * time.Second)
}

// Tell writes a line to the program's stdin.
func (p *Process) Tell(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatalf("%s: tell it %q: %v\n%s", p.Name, line, err, p.tail())
	}
}

// Ended says whether the process is no more.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// CloseInput tells a program that runs until its stdin closes to finish, and waits for it.
func (p *Process) CloseInput() {
	p.t.Helper()
	_ = p.in.Close()
	p.Wait(30 * time.Second)
}

// Wait waits for the end of a process that ends by itself.
func (p *Process) Wait(within time.Duration) error {
	p.t.Helper()
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.t.Errorf("%s did not end within %v\n%s", p.Name, within, p.tail())
		p.Kill()
		return context.DeadlineExceeded
	}
}

// Pid is the process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// javaFlags keep a JVM small and quick to start. The exports are what RocketMQ's own runbroker.sh gives Java 9 and later.
var javaFlags = []string{
	"-Xms256m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
	"--add-exports=java.base/jdk.internal.ref=ALL-UNNAMED",
	"--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
	"--add-opens=java.base/java.nio=ALL-UNNAMED",
	"--add-opens=java.base/java.lang=ALL-UNNAMED",
	"--add-opens=java.base/java.util=ALL-UNNAMED",
}

// java is a command of one version in a home of its own: conf with a quiet logback, logs, and nothing in the user's home.
func java(t testing.TB, version, home string, args ...string) *exec.Cmd {
	t.Helper()
	version, v6 := strings.CutSuffix(version, OverIPv6)
	logback := strings.ReplaceAll(logbackXML, "HOME", home)
	for _, name := range []string{"logback_namesrv.xml", "logback_broker.xml", "logback_tools.xml"} {
		write(t, filepath.Join(home, "conf", name), logback)
	}
	argv := append([]string{}, javaFlags...)
	argv = append(argv, fmt.Sprintf("-Djava.net.preferIPv4Stack=%v", !v6),
		"-Duser.home="+home, "-Drocketmq.client.logRoot="+home, "-Drocketmq.log.root="+home,
		"-Drmq.logback.configurationFile="+filepath.Join(home, "conf", "logback_broker.xml"),
		"-cp", classes(t, version)+":"+jars(version))
	cmd := exec.Command("java", append(argv, args...)...)
	cmd.Env = append(environ("JAVA_TOOL_OPTIONS", "NAMESRV_ADDR"), "ROCKETMQ_HOME="+home)
	cmd.Dir = home
	return cmd
}

const logbackXML = `<configuration>
  <appender name="FILE" class="ch.qos.logback.core.FileAppender">
    <file>HOME/server.log</file>
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5p %c{0} %m%n</pattern></encoder>
  </appender>
  <root level="INFO"><appender-ref ref="FILE"/></root>
</configuration>
`

// environ is the environment without some variables.
func environ(without ...string) []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains(without, name)
	})
}
