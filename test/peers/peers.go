// Package peers runs the programs of other people that our servers are proved with: Java RocketMQ's name server,
// broker, client and mqadmin, and a Go client built on rocketmq-client-go. It is imported by tests only.
//
// Jars are brought by test/java/fetch.sh and looked for in RMQ_JAVA_LIBS, or in the user's cache folder. A test that
// needs one calls Need first: on a laptop without them it skips, in CI (CI=true) it fails, so that a proof that
// was not made cannot be taken for one.
//
// Every process has a pipe as its stdin and ends when that closes; none outlives the test binary, however that ends.
package peers

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
)

// The versions that exist on Maven Central. 4.9.8 has no published servers: 4.9.7 is the last 4.9 broker and name server.
const (
	Servers49 = "4.9.7" // name server, broker
	Clients49 = "4.9.8" // client, mqadmin
	All53     = "5.3.3" // name server, broker, client, mqadmin
)

// OverIPv6 behind the version of a Java program lets it use IPv6: by default it knows IPv4 only.
const OverIPv6 = " over IPv6"

// Ours is the version name of this repository's own program: RMQCTL, or built from the tree.
const Ours = "rmqctl"

// GoClient is the version name under which Start starts the rocketmq-client-go program.
const GoClient = "client-go"

// Need skips the test when what it needs is not on this machine, and fails it in CI.
func Need(t testing.TB, versions ...string) {
	t.Helper()
	for _, v := range versions {
		if err := missing(v); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("CI must have the peers: %v", err)
			}
			t.Skipf("%v; run make peers", err)
		}
	}
}

func missing(version string) error {
	if version == GoClient || version == Ours {
		_, err := exec.LookPath("go")
		return err
	}
	for _, tool := range []string{"java", "javac"} {
		if _, err := exec.LookPath(tool); err != nil {
			return err
		}
	}
	_, err := os.Stat(filepath.Join(libs(), version))
	return err
}

// libs is the folder that holds one folder of jars for each version.
func libs() string {
	if dir := os.Getenv("RMQ_JAVA_LIBS"); dir != "" {
		return dir
	}
	return filepath.Join(cacheDir(), "rmqctl-java")
}

func cacheDir() string {
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return dir
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".cache")
}

// root is the top of the source tree, found upwards from the folder in which go test runs a package.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "test", "java", "pom.xml")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no test/java above the working directory")
		}
		dir = filepath.Dir(dir)
	}
}

var building sync.Mutex // one build at a time in this process; across processes the rename at the end decides

// classes compiles test/java/src against a version's jars, once for each state of the sources.
func classes(t testing.TB, version string) string {
	t.Helper()
	src, err := filepath.Glob(filepath.Join(root(t), "test", "java", "src", "*.java"))
	if err != nil || len(src) == 0 {
		t.Fatalf("no Java sources: %v", err)
	}
	sort.Strings(src)
	return built(t, "classes-"+version, src, func(out string) *exec.Cmd {
		args := []string{"-nowarn", "-Xlint:-options", "-d", out, "-cp", jars(version)}
		return exec.Command("javac", append(args, src...)...)
	})
}

// goClient builds test/goclient, a module of its own so that the product does not depend on another client.
func goClient(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(root(t), "test", "goclient")
	src, _ := filepath.Glob(filepath.Join(dir, "*.go"))
	src = append(src, filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum"))
	out := built(t, "goclient", src, func(out string) *exec.Cmd {
		cmd := exec.Command("go", "build", "-o", filepath.Join(out, "goclient"), ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "CGO_ENABLED=0")
		return cmd
	})
	return filepath.Join(out, "goclient")
}

var ours struct {
	sync.Once
	path string
	err  error
}

// rmqctl is our program: RMQCTL, as make has built it, or built once for this test binary.
func rmqctl(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("RMQCTL"); path != "" {
		return path
	}
	ours.Do(func() {
		ours.path = filepath.Join(cacheDir(), "rmqctl-peers", "rmqctl")
		cmd := exec.Command("go", "build", "-o", ours.path, "./cmd/rmqctl")
		cmd.Dir = root(t)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			ours.err = fmt.Errorf("build rmqctl: %w\n%s", err, out)
		}
	})
	if ours.err != nil {
		t.Fatal(ours.err)
	}
	return ours.path
}

// Program is the path of our own program, for a test that runs one of its commands.
func Program(t testing.TB) string { return rmqctl(t) }

// built returns the folder that holds what make produced from exactly these sources.
func built(t testing.TB, name string, src []string, command func(out string) *exec.Cmd) string {
	t.Helper()
	building.Lock()
	defer building.Unlock()
	sum := sha256.New()
	for _, f := range src {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(f), len(b), b)
	}
	base := filepath.Join(cacheDir(), "rmqctl-peers")
	dir := filepath.Join(base, name+"-"+hex.EncodeToString(sum.Sum(nil)[:6]))
	if _, err := os.Stat(dir); err == nil {
		return dir
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		t.Fatal(err)
	}
	tmp, err := os.MkdirTemp(base, "building-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(tmp)
	if out, err := command(tmp).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	if err := os.Rename(tmp, dir); err != nil && !isDir(dir) {
		t.Fatal(err)
	}
	return dir
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func jars(version string) string { return filepath.Join(libs(), version, "*") }

// Ports finds n consecutive loopback-free ports. A broker takes three: listenPort-2, listenPort and, for the
// replication stream, listenPort+1; Java servers bind every address, hence the look at 0.0.0.0.
func Ports(t testing.TB, n int) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for range 200 {
		base := ports.next
		if ports.next += n; ports.next > 31000 {
			ports.next = 15000
		}
		if free(base, n) {
			return base
		}
	}
	t.Fatal("no free ports")
	return 0
}

// ports hands each process its own stretch first, so that packages tested at the same time rarely meet.
var ports = struct {
	sync.Mutex
	next int
}{next: 15000 + os.Getpid()%400*40}

func free(base, n int) bool {
	for p := base; p < base+n; p++ {
		ln, err := net.Listen("tcp", fmt.Sprintf("0.0.0.0:%d", p))
		if err != nil {
			return false
		}
		ln.Close()
	}
	return true
}

// properties writes a .properties file with sorted keys.
func properties(t testing.TB, path string, props map[string]string) {
	t.Helper()
	var lines []string
	for k, v := range props {
		lines = append(lines, k+"="+v)
	}
	sort.Strings(lines)
	write(t, path, strings.Join(lines, "\n")+"\n")
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), fs.FileMode(0o755)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
