//go:build linux

// The image all nodes boot from: a small Debian of the machine's own release, built once from the package sources that the
// machine's apt is configured with, and kept in the cache folder.
package bed

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// packages of a node. netbase is easily forgotten: without /etc/protocols firewalld reports success and dies. sftp-server is
// only a recommendation of openssh-server.
var packages = []string{
	"systemd", "systemd-sysv", "dbus", "libpam-systemd", "netbase", "openssh-server", "openssh-sftp-server",
	"firewalld", "nftables", "iproute2", "procps", "sudo",
}

//go:embed furnish.sh
var furnish string

// CacheDir is where the image and the running beds live: RMQ_TESTHOSTS_CACHE, else /var/cache/rmqctl-testhosts.
func CacheDir() string {
	if dir := os.Getenv("RMQ_TESTHOSTS_CACHE"); dir != "" {
		return dir
	}
	return "/var/cache/rmqctl-testhosts"
}

// image returns the folder of the image, building it first if need be. Only one process builds; the others wait for it.
func image(ctx context.Context, cache string, log func(string, ...any)) (string, error) {
	release, err := releaseName()
	if err != nil {
		return "", err
	}
	recipe := sha256.Sum256([]byte(strings.Join(packages, " ") + furnish + Password))
	dir := filepath.Join(cache, fmt.Sprintf("image-%s-%x", release, recipe[:5]))
	unlock, err := lock(ctx, filepath.Join(cache, "image.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	log("building the image of the hosts (once, about a minute) in %s", dir)
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", err
	}
	if err := bootstrap(ctx, release, part); err != nil {
		return "", err
	}
	if _, err := runIn(ctx, furnish, "chroot", part, "/usr/bin/env", "PASSWORD="+Password, "/bin/sh", "-eu"); err != nil {
		return "", fmt.Errorf("furnish the image: %w", err)
	}
	return dir, os.Rename(part, dir)
}

// bootstrap runs mmdebstrap in process and mount namespaces of its own: whatever it mounts or starts ends with it.
func bootstrap(ctx context.Context, release, dir string) error {
	sources, err := aptSources(ctx, release)
	if err != nil {
		return err
	}
	_, err = runIn(ctx, sources, "unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private", "--",
		"mmdebstrap", "--variant=minbase", "--include="+strings.Join(packages, ","),
		"--aptopt=APT::Install-Recommends \"false\"", release, dir, "-")
	if err != nil {
		return fmt.Errorf("build the image: %w", err)
	}
	return nil
}

// aptSources asks the machine's apt where it gets the packages of its own release from.
func aptSources(ctx context.Context, release string) (string, error) {
	targets, err := run(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return "", err
	}
	var lines []string
	seen := map[string]bool{}
	for line := range strings.Lines(targets) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if len(f) != 3 || seen[line] || !strings.HasPrefix(f[1]+"-", release+"-") {
			continue
		}
		seen[line] = true
		lines = append(lines, "deb "+line)
	}
	if len(lines) == 0 {
		return "", fmt.Errorf("apt knows no source of packages for %s: run apt-get update", release)
	}
	return strings.Join(lines, "\n") + "\n", nil
}

func releaseName() (string, error) {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(name, `"`), nil
		}
	}
	return "", errors.New("/etc/os-release names no release: the bed needs a Debian or a relative of it")
}

// lock waits for the lock file. The descriptor is closed on exec, so no child can keep the lock alive.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	err = until(ctx, func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("wait for %s: %w", path, err)
	}
	return func() { f.Close() }, nil
}

// inRoot runs a shell script inside a root folder that is not booted.
func inRoot(ctx context.Context, root, script string) error {
	_, err := output(exec.CommandContext(ctx, "chroot", root, "/bin/sh", "-eu"), script)
	return err
}
