// The questions that may be put to a host. A Query can be made only here, so that each can be seen to be a pure look.
//
// A question whose first word starts with "@" is answered by the agent itself, without a process; Shell is the same
// question for a host where the agent is not installed yet ("" = it cannot be asked there: ErrNoAgent).

package step

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Query is a question to a host.
type Query struct {
	argv  []string
	shell string
}

// Argv is the question's words.
func (q Query) Argv() []string { return q.argv }

// Shell is the question as a POSIX shell command, for a host without the agent.
func (q Query) Shell() string {
	if q.shell == "" && len(q.argv) > 0 && !strings.HasPrefix(q.argv[0], "@") {
		return Quote(q.argv...)
	}
	return q.shell
}

func (q Query) String() string { return strings.Join(q.argv, " ") }

// Quote makes one POSIX shell command of words.
func Quote(argv ...string) string {
	var b strings.Builder
	for i, a := range argv {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("'" + strings.ReplaceAll(a, "'", `'\''`) + "'")
	}
	return b.String()
}

// AskSHA256 is the file's hash in hex; "" when the file is absent.
func AskSHA256(path string) Query {
	p := Quote(path)
	return Query{argv: []string{"@sha256", path}, shell: "if [ -e " + p + " ]; then sha256sum -- " + p + " | cut -d' ' -f1; fi"}
}

// AskPasswd is the user's line of the user database; an *ExitError when there is no such user.
func AskPasswd(user string) Query { return Query{argv: []string{"getent", "passwd", user}} }

// AskGroup is the group's line of the group database.
func AskGroup(name string) Query { return Query{argv: []string{"getent", "group", name}} }

// AskList is the names in a directory, one a line, sorted; "" when it is empty or absent.
func AskList(dir string) Query {
	d := Quote(dir)
	return Query{argv: []string{"@list", dir}, shell: "if [ -d " + d + " ]; then ls -A -- " + d + "; fi"}
}

// AskDiskFree is "free total" in bytes of the file system that holds path, or its nearest existing parent.
func AskDiskFree(path string) Query {
	return Query{argv: []string{"@disk", path}, shell: "p=" + Quote(path) + `; while [ ! -e "$p" ]; do p=$(dirname -- "$p"); done; df -Pk -- "$p" | awk 'NR==2{printf "%.0f %.0f\n", $4*1024, $2*1024}'`}
}

// AskListeners is one line per listening TCP socket: "address:port pid command". Pid and command are "-" where they are
// not known (a plain SSH look without root).
func AskListeners() Query {
	return Query{argv: []string{"@listeners"}, shell: `cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk 'function h(s, i,n){n=0;for(i=1;i<=length(s);i++)n=n*16+index("0123456789ABCDEF",substr(s,i,1))-1;return n}
$4=="0A"{split($2,a,":");ip="*"; if(length(a[1])==8 && a[1]!="00000000") ip=h(substr(a[1],7,2)) "." h(substr(a[1],5,2)) "." h(substr(a[1],3,2)) "." h(substr(a[1],1,2)); print ip ":" h(a[2]) " - -"}'`}
}

// AskWhich is the path of a program, or an *ExitError.
func AskWhich(name string) Query {
	return Query{argv: []string{"@which", name}, shell: "PATH=$PATH:/usr/sbin:/sbin command -v " + Quote(name)}
}

// AskUname is the operating system and the machine: "Linux x86_64".
func AskUname() Query { return Query{argv: []string{"uname", "-sm"}} }

// AskHostname is the kernel's host name.
func AskHostname() Query { return Query{argv: []string{"uname", "-n"}} }

// AskNow is the host's clock in seconds since 1970.
func AskNow() Query { return Query{argv: []string{"date", "+%s"}} }

// AskAddresses is the host's own IP addresses, one a line.
func AskAddresses() Query {
	return Query{argv: []string{"@addresses"}, shell: "ip -o addr show | awk '{sub(/\\/.*/,\"\",$4); print $4}'"}
}

// AskFirewallCmd asks firewalld; the words must be ones that only look.
func AskFirewallCmd(args ...string) Query {
	for _, a := range args {
		if !firewallLook(a) {
			panic(fmt.Sprintf("step: %q is not a look at firewalld", a))
		}
	}
	return Query{argv: append([]string{"firewall-cmd"}, args...)}
}

func firewallLook(arg string) bool {
	for _, p := range []string{"--state", "--permanent", "--zone=", "--list-", "--query-", "--get-", "--info-", "--direct"} {
		if strings.HasPrefix(arg, p) {
			return true
		}
	}
	return false
}

// AskNftRuleset is the whole nftables rule set as JSON.
func AskNftRuleset() Query { return Query{argv: []string{"nft", "-j", "list", "ruleset"}} }

// AskNeedsReload is "yes" when a unit's definition is newer than what systemd has read.
func AskNeedsReload(unit string) Query {
	return Query{argv: []string{"systemctl", "show", "-p", "NeedDaemonReload", "--value", "--", unit}}
}

// AskInterfaces is the host's addresses with their interfaces, one a line: "2: eth0    inet 192.168.31.101/24 brd …".
func AskInterfaces() Query { return Query{argv: []string{"ip", "-o", "addr", "show"}} }

// AskSystemdVersion is the first line of systemctl --version.
func AskSystemdVersion() Query {
	return Query{argv: []string{"systemctl", "--version"}, shell: "[ -d /run/systemd/system ] && systemctl --version | head -n1"}
}

// AskEnabled is systemctl's word about whether the unit starts at boot: "enabled", "disabled", "" when there is none.
func AskEnabled(unit string) Query {
	return Query{argv: []string{"@enabled", unit}, shell: "systemctl is-enabled -- " + Quote(unit) + " 2>/dev/null || true"}
}

// AskDial is "ok", or why the host cannot open a connection to addr: "refused", "timeout", "no-route: …".
func AskDial(addr string, within time.Duration) Query {
	return Query{argv: []string{"@dial", addr, strconv.FormatInt(within.Milliseconds(), 10)}}
}

// AskClusterInfo asks the name server at addr, from the host, for its table of brokers (request 106): the JSON body
// {"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"ip:port"},…}},…}.
func AskClusterInfo(addr string) Query {
	const head = `{"code":106,"language":"GO","version":401,"opaque":1,"flag":0,"serializeTypeCurrentRPC":"JSON"}`
	frame := make([]byte, 8, 8+len(head))
	frame[3] = byte(4 + len(head))
	frame[7] = byte(len(head))
	return Query{argv: []string{"@frame-body", addr, base64.StdEncoding.EncodeToString(append(frame, head...))}}
}

func itoa(n int) string { return strconv.Itoa(n) }
