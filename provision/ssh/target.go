// Where a host is and how to get in: the inventory's word first, then ~/.ssh/config, then the usual defaults.

package ssh

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	sshconfig "github.com/kevinburke/ssh_config"
)

// Policy is what is done about a host key that is not known yet. A key that has changed always stops.
type Policy string

// The policies, by their names in an inventory.
const (
	AcceptNew Policy = "accept-new" // written to known_hosts and shown; the default
	Strict    Policy = "strict"     // refused
	Off       Policy = "off"        // not looked at
)

// Become is how root is reached on the host.
type Become string

// The ways. A login that is root already needs none of them.
const (
	Sudo Become = "sudo" // the default
	Doas Become = "doas" // only where it asks no password
	None Become = "none"
)

// Secret gives a secret when it is needed, and not before.
type Secret func() (string, error)

// Target is one host. Zero fields are filled from the SSH configuration and the defaults.
type Target struct {
	Name           string // for messages
	Address        string // also the alias that is looked up in ~/.ssh/config
	Port           int
	User           string
	Identities     []string
	IdentitiesOnly bool
	Jump           []string // [user@]host[:port], the first is reached from here
	Password       Secret   // nil: not tried
	Policy         Policy
	Fingerprint    string // "SHA256:…": this key and no other
	KnownHosts     []string
	Become         Become
	BecomePassword Secret // asked for when sudo wants one
	Passphrase     Secret // of Identities; nil: the operator is asked
}

func (t Target) hostPort() string { return net.JoinHostPort(t.Address, strconv.Itoa(t.Port)) }

func (t Target) addr() string {
	if t.User == "" {
		return t.hostPort()
	}
	return t.User + "@" + t.hostPort()
}

// config is the part of ~/.ssh/config that is understood.
type config struct {
	file *sshconfig.Config
	home string
}

// loadConfig reads an OpenSSH client configuration. A missing file is an empty one. Match blocks are left out: the
// library does not know them; skipped tells how many.
func loadConfig(path, home string) (c config, skipped int, err error) {
	c.home = home
	b, err := os.ReadFile(path)
	if err != nil {
		if os.IsNotExist(err) {
			return c, 0, nil
		}
		return c, 0, err
	}
	text, skipped := withoutMatch(string(b))
	c.file, err = sshconfig.Decode(strings.NewReader(text))
	if err != nil {
		return c, skipped, fmt.Errorf("read %s: %w", path, err)
	}
	return c, skipped, nil
}

func withoutMatch(text string) (string, int) {
	var out bytes.Buffer
	in, n := false, 0
	for line := range strings.Lines(text) {
		word, _, _ := strings.Cut(strings.TrimSpace(strings.ToLower(line)), " ")
		switch word {
		case "match":
			in, n = true, n+1
		case "host":
			in = false
		}
		if in {
			line = "\n"
		}
		out.WriteString(line)
	}
	return out.String(), n
}

func (c config) get(alias, key string) string {
	if c.file == nil {
		return ""
	}
	v, _ := c.file.Get(alias, key)
	return v
}

func (c config) all(alias, key string) []string {
	if c.file == nil {
		return nil
	}
	v, _ := c.file.GetAll(alias, key)
	return v
}

// fill completes a target. What the inventory says is never overruled.
func (c config) fill(t Target) (Target, error) {
	alias := t.Address
	if t.Name == "" {
		t.Name = alias
	}
	if t.User == "" {
		t.User = c.get(alias, "User")
	}
	if t.User == "" {
		t.User = loginName()
	}
	if t.Port == 0 {
		if p := c.get(alias, "Port"); p != "" {
			n, err := strconv.Atoi(p)
			if err != nil {
				return t, &Error{Kind: BadConfig, Host: t.Name, Addr: alias, Cause: fmt.Errorf("port %q of host %s is not a number", p, alias)}
			}
			t.Port = n
		}
	}
	if t.Port == 0 {
		t.Port = 22
	}
	if len(t.Jump) == 0 {
		if j := c.get(alias, "ProxyJump"); j != "" && !strings.EqualFold(j, "none") {
			t.Jump = strings.Split(j, ",")
		}
	}
	if len(t.Identities) == 0 {
		t.Identities = c.all(alias, "IdentityFile")
		t.IdentitiesOnly = t.IdentitiesOnly || strings.EqualFold(c.get(alias, "IdentitiesOnly"), "yes")
	}
	if len(t.KnownHosts) == 0 {
		for _, f := range c.all(alias, "UserKnownHostsFile") {
			t.KnownHosts = append(t.KnownHosts, strings.Fields(f)...)
		}
	}
	if t.Policy == "" {
		t.Policy = configPolicy(c.get(alias, "StrictHostKeyChecking"))
	}
	if h := c.get(alias, "HostName"); h != "" {
		t.Address = strings.ReplaceAll(h, "%h", alias)
	}
	if t.Become == "" {
		t.Become = Sudo
	}
	for i, f := range t.Identities {
		t.Identities[i] = c.expand(f, t)
	}
	for i, f := range t.KnownHosts {
		t.KnownHosts[i] = c.expand(f, t)
	}
	return t, nil
}

func configPolicy(word string) Policy {
	switch strings.ToLower(word) {
	case "yes":
		return Strict
	case "no", "off":
		return Off
	}
	return AcceptNew
}

func (c config) expand(f string, t Target) string {
	f = strings.Trim(f, `"`)
	if f == "~" || strings.HasPrefix(f, "~/") {
		f = filepath.Join(c.home, strings.TrimPrefix(f, "~"))
	}
	return strings.NewReplacer("%d", c.home, "%h", t.Address, "%r", t.User, "%u", loginName(), "%%", "%").Replace(f)
}

func loginName() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

// parseHop reads one word of a jump list.
func parseHop(word string) (Target, error) {
	word = strings.TrimPrefix(strings.TrimSpace(word), "ssh://")
	var t Target
	if i := strings.LastIndexByte(word, '@'); i >= 0 {
		t.User, word = word[:i], word[i+1:]
	}
	t.Address = word
	if host, port, err := net.SplitHostPort(word); err == nil {
		n, err := strconv.Atoi(port)
		if err != nil {
			return t, fmt.Errorf("jump host %q: port is not a number", word)
		}
		t.Address, t.Port = host, n
	}
	t.Address = strings.Trim(t.Address, "[]")
	if t.Address == "" {
		return t, fmt.Errorf("jump host %q has no address", word)
	}
	return t, nil
}
