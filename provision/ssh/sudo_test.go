package ssh

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"

	"rmqctl/provision/ssh/sshtest"
	"rmqctl/provision/step"
)

func hashHost(name string) string { return xknownhosts.HashHostname(name) }

const secret = "s3cr3t'pass word"

func sudoHost(t *testing.T, mode sshtest.Sudo, given string, change ...func(*sshtest.Server)) (*Client, *sshtest.Server) {
	t.Helper()
	h := newHome(t)
	s := &sshtest.Server{Keys: []ssh.PublicKey{h.pub}, Sudo: mode, SudoWants: secret}
	for _, f := range change {
		f(s)
	}
	s.Start(t)
	to := target(s)
	if given != "" {
		to.BecomePassword = func() (string, error) { return given, nil }
	}
	return in(t, h.dialer(t), to), s
}

func TestRootIsReached(t *testing.T) {
	for _, mode := range []sshtest.Sudo{sshtest.SudoNone, sshtest.SudoFree, sshtest.SudoAsks} {
		t.Run(string(mode), func(t *testing.T) {
			c, _ := sudoHost(t, mode, secret)
			for range 2 {
				out, err := c.script(t.Context(), true, "id -u")
				if err != nil || out != "0\n" {
					t.Fatalf("id -u: %q, %v", out, err)
				}
			}
		})
	}
}

func TestSudoPasswordIsInNoArgumentAndNoEnvironment(t *testing.T) {
	c, s := sudoHost(t, sshtest.SudoAsks, secret)
	if _, err := c.script(t.Context(), true, "id -u"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.script(t.Context(), true, "echo wrong >&2; exit 3"); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("error: %v", err)
	}
	if log := s.SudoLog(); log == "" || strings.Contains(log, "s3cr3t") {
		t.Errorf("sudo saw the password in its arguments or environment, or was not called:\n%s", log)
	}
	if cmds := strings.Join(s.Commands(), "\n"); strings.Contains(cmds, "s3cr3t") {
		t.Errorf("a command line holds the password:\n%s", cmds)
	}
}

func TestSudoRefusalsSayWhy(t *testing.T) {
	for _, c := range []struct {
		mode  sshtest.Sudo
		given string
		want  string
	}{
		{sshtest.SudoAsks, "", "wants a password"},
		{sshtest.SudoAsks, "wrong one", "not accepted"},
		{sshtest.SudoRefuses, secret, "may not use sudo"},
		{sshtest.SudoMissing, secret, "no sudo"},
	} {
		t.Run(string(c.mode)+" "+c.given, func(t *testing.T) {
			cl, _ := sudoHost(t, c.mode, c.given)
			_, err := cl.script(t.Context(), true, "true")
			if !errors.Is(err, SudoRefused) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
			if strings.Contains(err.Error(), "wrong one") {
				t.Errorf("the error shows the password: %v", err)
			}
		})
	}
}

func TestReaderLooksWithoutAgent(t *testing.T) {
	c, _ := sudoHost(t, sshtest.SudoAsks, secret)
	r := c.Reader(t.Context())
	dir := t.TempDir()
	odd := filepath.Join(dir, "it's a $file")
	if err := os.WriteFile(odd, []byte("text\n\nend"), 0o640); err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadFile(odd); err != nil || string(b) != "text\n\nend" {
		t.Errorf("ReadFile: %q, %v", b, err)
	}
	if _, err := r.ReadFile(odd + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if st, err := r.Stat(odd); err != nil || st.Mode != 0o640 || st.Size != 9 {
		t.Errorf("Stat: %+v, %v", st, err)
	}
	if st, err := r.Stat(dir); err != nil || !st.Mode.IsDir() {
		t.Errorf("Stat of a directory: %+v, %v", st, err)
	}
	if _, err := r.Stat(odd + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat of nothing: %v", err)
	}
	os.Symlink("somewhere", filepath.Join(dir, "link"))
	if st, err := r.Stat(filepath.Join(dir, "link")); err != nil || st.Link != "somewhere" || st.Mode&fs.ModeSymlink == 0 {
		t.Errorf("Stat of a link: %+v, %v", st, err)
	}
	sum := sha256.Sum256([]byte("text\n\nend"))
	if out, err := r.Query(step.AskSHA256(odd)); err != nil || out != hex.EncodeToString(sum[:]) {
		t.Errorf("sha256: %q, %v", out, err)
	}
	if out, err := r.Query(step.AskSHA256(odd + "x")); err != nil || out != "" {
		t.Errorf("sha256 of nothing: %q, %v", out, err)
	}
	if out, err := r.Query(step.AskDiskFree(odd + "/x/y")); err != nil || len(strings.Fields(out)) != 2 {
		t.Errorf("disk: %q, %v", out, err)
	}
	if out, err := r.Query(step.AskListeners()); err != nil || !strings.Contains(out, "127.0.0.1:") {
		t.Errorf("listeners: %q, %v", out, err)
	}
	if _, err := r.Query(step.AskDial("127.0.0.1:1", 0)); !errors.Is(err, step.ErrNoAgent) {
		t.Errorf("dial without agent: %v", err)
	}
	if _, err := r.Query(step.AskWhich("no-such-program-here")); err == nil {
		t.Error("which found a program that is not there")
	}
	var exit *step.ExitError
	if _, err := r.Query(step.AskPasswd("no-such-user-here")); !errors.As(err, &exit) || exit.Code != 2 {
		t.Errorf("passwd of nobody: %v", err)
	}
}

func bigFile(t *testing.T, size int) (path, sum string, data []byte) {
	t.Helper()
	data = make([]byte, size)
	rand.Read(data)
	path = filepath.Join(t.TempDir(), "rmqctl")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	h := sha256.Sum256(data)
	return path, hex.EncodeToString(h[:]), data
}

func TestUploadArrivesWhole(t *testing.T) {
	for _, c := range []struct {
		mode   sshtest.Sudo
		noSFTP bool
	}{{sshtest.SudoNone, false}, {sshtest.SudoFree, false}, {sshtest.SudoAsks, false}, {sshtest.SudoAsks, true}} {
		t.Run(string(c.mode), func(t *testing.T) {
			from, sum, data := bigFile(t, 1<<20+17)
			cl, s := sudoHost(t, c.mode, secret, func(s *sshtest.Server) { s.NoSFTP = c.noSFTP })
			to := filepath.Join(t.TempDir(), "releases", sum[:12], "rmqctl")
			var last int64
			up := Upload{From: from, To: to, Sum: sum, Mode: 0o755, Progress: func(done, _ int64) { last = done }}
			if err := cl.Upload(t.Context(), up); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(to)
			if err != nil || !bytes.Equal(got, data) {
				t.Fatalf("the file on the host differs: %v", err)
			}
			if st, _ := os.Stat(to); st.Mode().Perm() != 0o755 {
				t.Errorf("mode %v", st.Mode())
			}
			if last != int64(len(data)) {
				t.Errorf("progress ended at %d of %d", last, len(data))
			}
			before := len(s.Commands())
			if err := cl.Upload(t.Context(), up); err != nil {
				t.Fatal(err)
			}
			if n := len(s.Commands()) - before; n != 1 {
				t.Errorf("a file that is there took %d commands", n)
			}
			s.Stop() // lets the guard run out
			onlyFile(t, filepath.Dir(to), "rmqctl")
			onlyFile(t, s.Home, "")
		})
	}
}

func onlyFile(t *testing.T, dir, want string) {
	t.Helper()
	ents, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range ents {
		if e.Name() != want {
			t.Errorf("%s is left in %s", e.Name(), dir)
		}
	}
	if want != "" && len(ents) == 0 {
		t.Errorf("%s is not in %s", want, dir)
	}
}

func TestUploadCutMidwayLeavesNothing(t *testing.T) {
	for _, mode := range []sshtest.Sudo{sshtest.SudoNone, sshtest.SudoAsks} {
		t.Run(string(mode), func(t *testing.T) {
			from, sum, _ := bigFile(t, 4<<20)
			cl, s := sudoHost(t, mode, secret, func(s *sshtest.Server) { s.CutAfter = 2 << 20 })
			dir := filepath.Join(t.TempDir(), "releases")
			err := cl.Upload(t.Context(), Upload{From: from, To: filepath.Join(dir, "rmqctl"), Sum: sum, Mode: 0o755})
			if !errors.Is(err, LinkLost) {
				t.Errorf("error is %v", err)
			}
			s.Stop()
			onlyFile(t, dir, "")
			onlyFile(t, s.Home, "")
		})
	}
}

func TestUploadOfAFileThatChangedIsRefused(t *testing.T) {
	from, _, _ := bigFile(t, 1<<16)
	cl, s := sudoHost(t, sshtest.SudoFree, "")
	dir := filepath.Join(t.TempDir(), "releases")
	err := cl.Upload(t.Context(), Upload{From: from, To: filepath.Join(dir, "rmqctl"), Sum: strings.Repeat("0", 64), Mode: 0o755})
	if !errors.Is(err, UploadFailed) {
		t.Errorf("error is %v", err)
	}
	s.Stop()
	onlyFile(t, dir, "")
}

func TestCancelledUploadStops(t *testing.T) {
	from, sum, _ := bigFile(t, 4<<20)
	cl, s := sudoHost(t, sshtest.SudoFree, "")
	ctx, cancel := context.WithCancel(t.Context())
	dir := filepath.Join(t.TempDir(), "releases")
	err := cl.Upload(ctx, Upload{From: from, To: filepath.Join(dir, "rmqctl"), Sum: sum, Mode: 0o755, Progress: func(done, _ int64) {
		if done > 1<<20 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
	s.Stop()
	onlyFile(t, dir, "")
}
