// Servers as commands, for a test that runs them its own way.

package peers

import (
	"os/exec"
	"testing"
)

// The kinds of servers.
const (
	Namesrv = "namesrv"
	Broker  = "broker"
)

// Command is a name server or broker of a version with a home and a properties file, not started. A Java server ends when its
// stdin closes; its log is home/server.log.
func Command(t testing.TB, version, kind, home, conf string) *exec.Cmd {
	t.Helper()
	if version == Ours {
		return OurCommand(rmqctl(t), kind, home, conf)
	}
	class := brokerClass
	if kind == Namesrv {
		class = namesrvClass
	}
	return java(t, version, home, "Serve", class, "-c", conf)
}

// OurCommand is Command for a given build of our program.
func OurCommand(program, kind, home, conf string) *exec.Cmd {
	cmd := exec.Command(program, kind, "-c", conf)
	cmd.Dir = home
	cmd.Env = environ("NAMESRV_ADDR", "NOTIFY_SOCKET")
	return cmd
}

// Properties writes a .properties file.
func Properties(t testing.TB, path string, props map[string]string) {
	t.Helper()
	properties(t, path, props)
}
