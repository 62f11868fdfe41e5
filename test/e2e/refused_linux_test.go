// What goes wrong on an operator's first day: each gets an exit code and a message that says what and where, and no host is
// changed by a run that cannot succeed.
package e2e

import (
	"bufio"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"rmqctl/test/hosts/bed"
)

func TestRefused(t *testing.T) {
	bed.Require(t)
	t.Parallel()
	b := bed.New(t, bed.Options{Nodes: 2})
	for _, c := range []struct {
		fact  string
		spoil func(*site) // after the inventory is written
		down  bool        // node2 is off then
		code  int
		says  []string // regular expressions, all of which the output must match
	}{
		{fact: "a misspelt broker key", spoil: replace(`(?m)^\[broker\]$`, "[broker]\nflushDiskTyp = \"SYNC_FLUSH\""), code: 2,
			says: []string{`inventory\.toml:\d+:\d+`, "flushDiskTyp", "flushDiskType"}},
		{fact: "a misspelt table", spoil: replace(`(?m)^\[cluster\]$`, "[clutser]"), code: 2,
			says: []string{`inventory\.toml:\d+`, "clutser", "cluster"}},
		{fact: "a master that is no node", spoil: replace(`master = "[^"]*"`, `master = "node9"`), code: 2,
			says: []string{`inventory\.toml:\d+`, "node9"}},
		{fact: "a closed ssh port", spoil: onNode2("systemctl stop ssh.socket ssh.service"), code: 6,
			says: []string{"192.168.31.102:22", "refused"}},
		{fact: "a host that is down", spoil: func(s *site) { must(s.t, s.Node("node2").Cut(ctxOf(s.t))) }, down: true, code: 6,
			says: []string{"192.168.31.102", "no route|timed out|timeout|no answer|unreachable"}},
		{fact: "a host key that has changed", spoil: otherHostKey, code: 6,
			says: []string{"192.168.31.102|host2|node2", "host key", "SHA256:"}},
		{fact: "a key that opens nothing", spoil: ssh(func(b *bed.Bed) table {
			return table{"user": "root", "identity": []string{b.StrangerKeyFile()}}
		}), code: 6, says: []string{"192.168.31.10[12]", "root", "authentication failed"}},
		{fact: "a wrong sudo password", spoil: ssh(func(b *bed.Bed) table {
			return table{"user": "dev", "identity": []string{b.KeyFile()}, "become": "sudo", "become_password": "cmd:echo not-the-password"}
		}), code: 6, says: []string{"sudo", "password"}},
		{fact: "a full disk", spoil: onNode2("mkdir -p /opt && mount -t tmpfs -o size=4m tmpfs /opt"), code: 3,
			says: []string{"node2|host2", "/opt", "space|free"}},
		{fact: "a port that somebody else holds", spoil: onNode2(`systemd-run -q --unit=squatter --property=Restart=no --socket-property=ListenStream=10911 --socket-property=Accept=yes /bin/cat`), code: 3,
			says: []string{"node2|host2", "10911"}},
		{fact: "a name of a node that /etc/hosts gives to another address", spoil: onNode2("echo '10.9.8.7 rocketmq-master1' >>/etc/hosts"), code: 3,
			says: []string{"node2|host2", "/etc/hosts", "10.9.8.7"}},
	} {
		ok := t.Run(c.fact, func(t *testing.T) {
			s := layout(t, b, "d6", rootByKey(b))
			must(t, b.Reset(ctxOf(t)))
			os.Remove(b.KnownHosts())
			c.spoil(s)
			watched := s.Nodes
			if c.down {
				watched = watched[:1] // a host that is off cannot be asked
			}
			before := s.disksOf(watched...)
			r := s.rmqctl("", "deploy", s.file, "-y")
			t.Log(r)
			if r.code != c.code {
				t.Errorf("exit code %d, want %d", r.code, c.code)
			}
			for _, want := range c.says {
				if !regexp.MustCompile("(?i)" + want).MatchString(r.out) {
					t.Errorf("says nothing of %q", want)
				}
			}
			if strings.Contains(r.out, "goroutine ") {
				t.Error("a stack trace is no message")
			}
			same(t, "a host was changed", before, s.disksOf(watched...))
		})
		if !ok {
			consoles(t, b)
		}
	}
	t.Run("a store of another broker", func(t *testing.T) { anothersStore(t, b) })
	t.Run("two deployments at once", func(t *testing.T) { twoAtOnce(t, b) })
	t.Run("a deployment that was killed half-way is finished by the next", func(t *testing.T) { killedHalfWay(t, b) })
}

// anothersStore deploys broker-a, then claims its store for a broker of another name.
func anothersStore(t *testing.T, b *bed.Bed) {
	must(t, b.Reset(ctxOf(t)))
	s := layout(t, b, "d1", rootByKey(b))
	s.deploy()
	s.must("", "stop", s.file, "-y")
	was := s.inv.Groups[0].Name
	replace(`name = "`+was+`"`, `name = "broker-other"`)(s)
	r := s.rmqctl("", "deploy", s.file, "-y")
	t.Log(r)
	if r.code != 3 {
		t.Errorf("exit code %d, want 3", r.code)
	}
	for _, want := range []string{was, "broker-other", "store"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("says nothing of %q", want)
		}
	}
}

// twoAtOnce: the second run finds the lock of the first and says who holds it.
func twoAtOnce(t *testing.T, b *bed.Bed) {
	must(t, b.Reset(ctxOf(t)))
	s := layout(t, b, "d6", rootByKey(b))
	var runs [2]result
	var wg sync.WaitGroup
	for i := range runs {
		wg.Go(func() { runs[i] = s.rmqctl("", "deploy", s.file, "-y") })
	}
	wg.Wait()
	if codes := runs[0].code + runs[1].code; codes != 5 || runs[0].code*runs[1].code != 0 {
		t.Errorf("one run should succeed and one find the lock (5):\n%v\n%v", runs[0], runs[1])
	}
	s.secondDeployChangesNothing()
}

// killedHalfWay kills the operator's program with SIGKILL further and further into a deployment.
func killedHalfWay(t *testing.T, b *bed.Bed) {
	must(t, b.Reset(ctxOf(t)))
	s := layout(t, b, "d6", rootByKey(b))
	for _, lines := range []int{6, 12, 12} {
		s.killedAfter(lines)
	}
	t.Log(s.deploy())
	s.secondDeployChangesNothing()
}

func (s *site) killedAfter(lines int) {
	s.t.Helper()
	cmd := s.command(ctxOf(s.t), "deploy", s.file, "-y")
	out, err := cmd.StdoutPipe()
	must(s.t, err)
	must(s.t, cmd.Start())
	seen := 0
	for in := bufio.NewScanner(out); seen < lines && in.Scan(); {
		seen++
	}
	must(s.t, cmd.Process.Kill())
	if err := cmd.Wait(); err == nil {
		s.t.Logf("it was done after %d lines, before it could be killed", seen)
	}
}

// replace edits the inventory's text, which rmqctl then reads for the first time.
func replace(pattern, with string) func(*site) {
	return func(s *site) {
		s.t.Helper()
		text, err := os.ReadFile(s.file)
		must(s.t, err)
		edited := regexp.MustCompile(pattern).ReplaceAllLiteralString(string(text), with)
		if edited == string(text) {
			s.t.Fatalf("nothing matches %s in\n%s", pattern, text)
		}
		must(s.t, os.WriteFile(s.file, []byte(edited), 0o600))
	}
}

func onNode2(script string) func(*site) {
	return func(s *site) { s.exec(s.Node("node2"), script) }
}

func ssh(login func(*bed.Bed) table) func(*site) {
	return func(s *site) { s.with(func(inv table) { inv["ssh"] = login(s.Bed) }) }
}

// otherHostKey lets the operator know node2, and then reinstalls its keys.
func otherHostKey(s *site) {
	n := s.Node("node2")
	must(s.t, os.WriteFile(s.KnownHosts(), []byte(s.Node("node1").HostKeyLine()+n.HostKeyLine()), 0o600))
	must(s.t, n.NewHostKeys())
	s.exec(n, "systemctl restart ssh")
}
