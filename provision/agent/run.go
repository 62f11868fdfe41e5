// Programs on the host: words, no shell.

package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"rmqctl/provision/step"
)

const defaultLimit = time.Minute

// environ is the same on every host: messages are not translated, and the administrator's programs are found.
func environ() []string {
	home := os.Getenv("HOME")
	if home == "" {
		home = "/"
	}
	return []string{"PATH=" + searchPath(), "HOME=" + home, "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"}
}

func searchPath() string {
	p := os.Getenv("PATH")
	for _, d := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if !strings.Contains(":"+p+":", ":"+d+":") {
			p += ":" + d
		}
	}
	return strings.TrimPrefix(p, ":")
}

func which(name string) (string, bool) {
	if strings.Contains(name, "/") {
		_, err := os.Stat(name)
		return name, err == nil
	}
	for dir := range strings.SplitSeq(searchPath(), ":") {
		p := dir + "/" + name
		if st, err := os.Stat(p); err == nil && !st.IsDir() && st.Mode()&0o111 != 0 {
			return p, true
		}
	}
	return "", false
}

// run runs a change. It is not called off when the connection goes: a half-run command is worse than a finished one.
// Only waiting for a builtin service to be ready ends with session: the service goes on without us.
func run(session context.Context, argv []string, stdin []byte, limit time.Duration) (string, error) {
	if limit == 0 {
		limit = defaultLimit
	}
	if len(argv) > 0 && strings.HasPrefix(argv[0], "@") {
		return own(session, argv, limit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	return command(ctx, argv, stdin)
}

func command(ctx context.Context, argv []string, stdin []byte) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("a command without words")
	}
	bin, ok := which(argv[0])
	if !ok {
		return "", fmt.Errorf("%s: %w", argv[0], step.ErrNoCommand)
	}
	cmd := exec.CommandContext(ctx, bin, argv[1:]...)
	cmd.Env = environ()
	cmd.Dir = "/"
	cmd.Stdin = bytes.NewReader(stdin)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: no end in sight: %w", strings.Join(argv, " "), ctx.Err())
	case errors.As(err, &exit):
		text := strings.TrimSpace(errs.String())
		if text == "" {
			text = lastLines(out.String(), 5)
		}
		return strings.TrimSpace(out.String()), &step.ExitError{Argv: argv, Code: exit.ExitCode(), Stderr: text}
	case err != nil:
		return "", err
	}
	return strings.TrimSpace(out.String()), nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
