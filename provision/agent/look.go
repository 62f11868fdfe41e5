// Questions that the agent answers itself, without starting a program.

package agent

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"rmqctl/provision/step"
)

// query answers a question: its own, or a program that only looks.
func query(ctx context.Context, argv []string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("a question without words")
	}
	if !strings.HasPrefix(argv[0], "@") {
		ctx, cancel := context.WithTimeout(ctx, defaultLimit)
		defer cancel()
		return command(ctx, argv, nil)
	}
	a := append(append([]string(nil), argv[1:]...), "", "", "", "")
	switch argv[0] {
	case "@sha256":
		return hash(a[0])
	case "@list":
		return list(a[0])
	case "@disk":
		return disk(a[0])
	case "@listeners":
		return listeners()
	case "@which":
		if p, ok := which(a[0]); ok {
			return p, nil
		}
		return "", &step.ExitError{Argv: argv, Code: 1}
	case "@addresses":
		return addresses()
	case "@enabled":
		out, err := command(ctx, []string{"systemctl", "is-enabled", "--", a[0]}, nil)
		var exit *step.ExitError
		if errors.As(err, &exit) {
			err = nil
		}
		return out, err
	case "@dial":
		return dial(ctx, a[0], a[1])
	case "@frame-body":
		frame, err := base64.StdEncoding.DecodeString(a[1])
		if err != nil {
			return "", err
		}
		b, err := exchange(ctx, a[0], frame, 0)
		return frameBody(b), err
	case "@unit-state":
		return unitState(ctx, a[0], a[1])
	case "@unit-env":
		return unitEnv(ctx, a[0], a[1], a[2])
	case "@unit-log":
		return unitLog(a[1], a[2])
	}
	return "", fmt.Errorf("agent does not know the question %q", argv[0])
}

// own is a change that the agent makes itself.
func own(session context.Context, argv []string, limit time.Duration) (string, error) {
	a := append(append([]string(nil), argv[1:]...), "", "")
	switch argv[0] {
	case "@nothing":
		return "", nil
	case "@unit-start":
		return "", startService(session, a[1], limit)
	case "@unit-stop":
		return "", stopService(a[1], limit, syscall.SIGTERM)
	case "@unit-kill":
		return "", stopService(a[1], limit, syscall.SIGKILL)
	}
	return "", fmt.Errorf("agent does not know the command %q", argv[0])
}

func hash(path string) (string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func list(dir string) (string, error) {
	ents, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return "", nil
	}
	var b strings.Builder
	for _, e := range ents {
		b.WriteString(e.Name() + "\n")
	}
	return strings.TrimSpace(b.String()), err
}

func disk(path string) (string, error) {
	for {
		var st syscall.Statfs_t
		err := syscall.Statfs(path, &st)
		if err == nil {
			return fmt.Sprintf("%d %d", int64(st.Bavail)*int64(st.Bsize), int64(st.Blocks)*int64(st.Bsize)), nil
		}
		up := filepath.Dir(path)
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) || up == path {
			return "", err
		}
		path = up
	}
}

func addresses() (string, error) {
	addrs, err := net.InterfaceAddrs()
	var out []string
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			out = append(out, n.IP.String())
		}
	}
	return strings.Join(out, "\n"), err
}

// listeners reads the kernel's table; where there is none (not Linux) the answer is empty.
func listeners() (string, error) {
	byInode := map[string]string{}
	var order []string
	for _, f := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		sc := bufio.NewScanner(strings.NewReader(string(b)))
		for sc.Scan() {
			if addr, inode, ok := listenLine(sc.Text()); ok {
				byInode[inode] = addr
				order = append(order, inode)
			}
		}
	}
	owners := socketOwners(byInode)
	var b strings.Builder
	for _, inode := range order {
		who := owners[inode]
		if who == "" {
			who = "- -"
		}
		fmt.Fprintf(&b, "%s %s\n", byInode[inode], who)
	}
	return strings.TrimSpace(b.String()), nil
}

// listenLine reads one line of /proc/net/tcp:
//
//	sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
func listenLine(line string) (addr, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 || f[3] != "0A" {
		return "", "", false
	}
	hexIP, hexPort, ok := strings.Cut(f[1], ":")
	if !ok {
		return "", "", false
	}
	port, err := strconv.ParseUint(hexPort, 16, 16)
	raw, err2 := hex.DecodeString(hexIP)
	if err != nil || err2 != nil || len(raw)%4 != 0 || len(raw) == 0 {
		return "", "", false
	}
	for i := 0; i < len(raw); i += 4 { // each word is in the machine's order
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	ip := net.IP(raw)
	host := ip.String()
	if ip.IsUnspecified() {
		host = "*"
	}
	return net.JoinHostPort(host, strconv.FormatUint(port, 10)), f[9], true
}

// socketOwners finds "pid command" for the sockets, by walking /proc.
func socketOwners(inodes map[string]string) map[string]string {
	out := map[string]string{}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return out
	}
	for _, p := range procs {
		fds, err := os.ReadDir(p + "/fd")
		if err != nil {
			continue
		}
		for _, fd := range fds {
			link, err := os.Readlink(p + "/fd/" + fd.Name())
			inode, ok := strings.CutPrefix(link, "socket:[")
			if err != nil || !ok {
				continue
			}
			inode = strings.TrimSuffix(inode, "]")
			if _, want := inodes[inode]; want && out[inode] == "" {
				out[inode] = filepath.Base(p) + " " + commandLine(p)
			}
		}
	}
	return out
}

func commandLine(proc string) string {
	b, err := os.ReadFile(proc + "/cmdline")
	if err != nil || len(b) == 0 {
		return "-"
	}
	s := strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
	return strings.ReplaceAll(s[:min(len(s), 200)], "\n", " ")
}
