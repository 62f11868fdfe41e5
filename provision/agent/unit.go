// Services on the host. Under systemd the agent only asks; where there is none (local nodes, containers) it starts
// detached processes itself.
//
// A builtin service is three files: <unit>.json says what to run (written by a step), <unit>.pid is JSON about the
// process and is locked (flock) by that very process through an inherited descriptor. So the lock is the truth: it is
// held exactly as long as the process lives, whatever number stands in the file.

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
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rmqctl/provision/step"
)

// pidFile is what stands in <unit>.pid.
type pidFile struct {
	PID   int      `json:"pid"`
	Since int64    `json:"since"`
	Env   []string `json:"env"`
	Log   string   `json:"log"`
}

func pidPath(unitFile string) string { return strings.TrimSuffix(unitFile, ".json") + ".pid" }

// alive reads the process of a builtin unit; ok only while it lives.
func alive(unitFile string) (p pidFile, ok bool, err error) {
	f, err := os.Open(pidPath(unitFile))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false, nil
	}
	if err != nil {
		return p, false, err
	}
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); err == nil {
		return p, false, nil
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return p, false, err
	}
	if len(b) == 0 { // between lock and write: it is being started
		return p, true, nil
	}
	return p, true, json.Unmarshal(b, &p)
}

func unitState(ctx context.Context, unit, unitFile string) (string, error) {
	if unitFile != "" {
		p, ok, err := alive(unitFile)
		if err != nil || ok {
			return fmt.Sprintf("active %d %d", p.PID, p.Since), err
		}
		if _, err := os.Stat(unitFile); errors.Is(err, fs.ErrNotExist) {
			return "absent 0 0", nil
		}
		return "inactive 0 0", nil
	}
	v, err := systemdShow(ctx, unit)
	if err != nil {
		return "", err
	}
	state := v["ActiveState"]
	if v["LoadState"] == "not-found" && state == "inactive" {
		state = "absent"
	}
	since := int64(0)
	if st, err := os.Stat("/proc/" + v["MainPID"]); err == nil && v["MainPID"] != "0" {
		since = st.ModTime().Unix()
	}
	return fmt.Sprintf("%s %s %d", state, v["MainPID"], since), nil
}

func systemdShow(ctx context.Context, unit string) (map[string]string, error) {
	out, err := command(ctx, []string{"systemctl", "show", "-p", "LoadState,ActiveState,MainPID", "--", unit}, nil)
	v := map[string]string{"ActiveState": "absent", "MainPID": "0"}
	for line := range strings.Lines(out) {
		if k, val, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			v[k] = val
		}
	}
	return v, err
}

func unitEnv(ctx context.Context, unit, unitFile, key string) (string, error) {
	var env []string
	if unitFile != "" {
		p, ok, err := alive(unitFile)
		if err != nil || !ok {
			return "", err
		}
		env = p.Env
	} else {
		v, err := systemdShow(ctx, unit)
		if err != nil || v["MainPID"] == "0" {
			return "", err
		}
		b, err := os.ReadFile("/proc/" + v["MainPID"] + "/environ")
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			return "", nil // it ended between the two looks
		}
		if err != nil {
			return "", err
		}
		env = strings.Split(string(b), "\x00")
	}
	for _, e := range env {
		if val, ok := strings.CutPrefix(e, key+"="); ok {
			return val, nil
		}
	}
	return "", nil
}

func readService(unitFile string) (step.Service, error) {
	var s step.Service
	b, err := os.ReadFile(unitFile)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s: %w", unitFile, err)
	}
	if len(s.Exec) == 0 {
		return s, fmt.Errorf("%s says nothing to run", unitFile)
	}
	return s, nil
}

// startService starts the process and waits until it says READY=1, ends, or the time is up.
func startService(session context.Context, unitFile string, limit time.Duration) error {
	s, err := readService(unitFile)
	if err != nil {
		return err
	}
	pf, err := os.OpenFile(pidPath(unitFile), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer pf.Close()
	if err := syscall.Flock(int(pf.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil // it runs
		}
		return fmt.Errorf("lock %s: %w", pf.Name(), err)
	}
	if err := pf.Truncate(0); err != nil {
		return err
	}
	notify, env, err := notifySocket(s)
	if err != nil {
		return err
	}
	if notify != nil {
		defer os.Remove(notify.LocalAddr().String())
		defer notify.Close()
	}
	cmd, logAt, err := spawn(s, env, pf)
	if err != nil {
		return err
	}
	p := pidFile{PID: cmd.Process.Pid, Since: time.Now().Unix(), Env: s.Env, Log: s.Log}
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if _, err := pf.WriteAt(b, 0); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // reaps it too, should it end while the agent lives
	return awaitReady(session, s, notify, ended, limit, logAt)
}

// spawn starts the process in a session of its own. logAt is where its output begins in the log.
func spawn(s step.Service, env []string, lock *os.File) (*exec.Cmd, int64, error) {
	if err := os.MkdirAll(filepath.Dir(s.Log), 0o755); err != nil {
		return nil, 0, err
	}
	log, err := os.OpenFile(s.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, 0, err
	}
	defer log.Close()
	at, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	cmd := exec.Command(s.Exec[0], s.Exec[1:]...)
	cmd.Env, cmd.Dir = append(append(environ(), s.Env...), env...), s.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock} // descriptor 3: the lock lives as long as the process
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if s.User != "" && os.Getuid() == 0 {
		cred, err := credential(s.User)
		if err != nil {
			return nil, 0, err
		}
		cmd.SysProcAttr.Credential = cred
		if err := log.Chown(int(cred.Uid), int(cred.Gid)); err != nil {
			return nil, 0, err
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start %s: %w", s.Unit, err)
	}
	return cmd, at, nil
}

func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// notifySocket listens as systemd would. The path is short: a socket's name has 108 bytes.
func notifySocket(s step.Service) (*net.UnixConn, []string, error) {
	if !s.Notify {
		return nil, nil, nil
	}
	f, err := os.CreateTemp("", "rmq-n*")
	if err != nil {
		return nil, nil, err
	}
	f.Close()
	os.Remove(f.Name())
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: f.Name(), Net: "unixgram"})
	if err != nil {
		return nil, nil, err
	}
	if err := os.Chmod(f.Name(), 0o666); err != nil {
		c.Close()
		return nil, nil, err
	}
	return c, []string{"NOTIFY_SOCKET=" + f.Name()}, nil
}

func awaitReady(session context.Context, s step.Service, notify *net.UnixConn, ended <-chan error, limit time.Duration, logAt int64) error {
	if notify == nil {
		select {
		case err := <-ended:
			return died(s, err, logAt)
		case <-time.After(200 * time.Millisecond):
			return nil
		}
	}
	words := make(chan string)
	quit := make(chan struct{})
	defer close(quit)
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := notify.Read(buf)
			if err != nil {
				return
			}
			select {
			case words <- string(buf[:n]):
			case <-quit:
				return
			}
		}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	status := ""
	for {
		select {
		case w := <-words:
			for line := range strings.Lines(w) {
				k, v, _ := strings.Cut(strings.TrimSpace(line), "=")
				switch {
				case k == "READY" && v == "1":
					return nil
				case k == "STATUS":
					status = v
				case k == "EXTEND_TIMEOUT_USEC":
					if us, err := strconv.ParseInt(v, 10, 64); err == nil {
						timer.Reset(max(time.Duration(us)*time.Microsecond, time.Second))
					}
				}
			}
		case err := <-ended:
			return died(s, err, logAt)
		case <-session.Done():
			return session.Err()
		case <-timer.C:
			text := fmt.Sprintf("%s is not ready after %s", s.Unit, limit)
			if status != "" {
				text += " (" + status + ")"
			}
			return errors.New(text + "; its log ends:\n" + tail(s.Log, logAt, 10))
		}
	}
}

// died tells why a service that should run does not: the end of what it wrote.
func died(s step.Service, err error, logAt int64) error {
	why := "it ended by itself"
	if err != nil {
		why = err.Error()
	}
	return &step.ExitError{Argv: []string{s.Unit}, Code: 1, Stderr: why + "; its log ends:\n" + tail(s.Log, logAt, 10)}
}

func stopService(unitFile string, limit time.Duration, sig syscall.Signal) error {
	p, ok, err := alive(unitFile)
	if err != nil || !ok {
		return err
	}
	if p.PID <= 1 {
		return fmt.Errorf("%s is being started", filepath.Base(unitFile))
	}
	if err := syscall.Kill(p.PID, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	end := time.Now().Add(limit)
	for {
		if _, ok, err := alive(unitFile); err != nil || !ok {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("process %d of %s is still there %s after the signal", p.PID, filepath.Base(unitFile), limit)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func unitLog(unitFile, lines string) (string, error) {
	s, err := readService(unitFile)
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(lines)
	if err != nil {
		n = 50
	}
	return tail(s.Log, 0, n), nil
}

// tail is the last n lines of a file that begin at or after from.
func tail(path string, from int64, n int) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	const most = 1 << 20
	from = max(from, size-most)
	b := make([]byte, max(size-from, 0))
	k, err := f.ReadAt(b, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return err.Error()
	}
	lines := bytes.Split(bytes.TrimRight(b[:k], "\n"), []byte("\n"))
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return string(bytes.Join(lines, []byte("\n")))
}
