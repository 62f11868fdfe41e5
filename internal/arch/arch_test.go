// Package arch holds the house rules as tests: which folder may import which, and which outside thing has which single door.
package arch

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
}

// floors lists the folders from the ground up. A package may import a lower floor or its own subfolders, never a sibling or a
// higher floor. The longest matching prefix decides.
var floors = map[string]int{
	"internal/arch":  0,
	"internal/clock": 0, "internal/logging": 0, "internal/checker": 0, "internal/conf": 0, "internal/vfs": 0, "internal/sim": 0, "internal/jsonfile": 1, "internal/message": 1, "internal/journal": 2, "templates": 0,
	"internal/protocol": 2, "broker/config": 2, "namesrv/config": 2, "provision/ssh": 3,
	"internal/remoting": 3, "inventory": 3, "provision/step": 2, "provision/agent": 4,
	"broker/store": 3, "broker/topic": 3, "broker/group": 3, "broker/offset": 3, "broker/filter": 3, "broker/stats": 3, "broker/role": 3, "namesrv/route": 3, "namesrv/kv": 3,
	"internal/client": 5, "internal/load": 5, "broker/ha": 5, "broker/raftgroup": 5, "broker/delay": 5, "broker/longpoll": 5, "broker/slavesync": 5, "provision/role": 5,
	"broker/processor": 6, "namesrv/processor": 6,
	"broker": 7, "namesrv": 7, "provision": 7,
	"cmd/rmqctl/admin": 8, "cmd/rmqctl/tui": 8,
	"cmd/rmqctl": 9,
	"examples":   0, "test": 10,
}

// nevers are arrows that the floors alone would allow.
var nevers = []struct{ from, to, why string }{
	{"broker", "namesrv", "broker and name server meet on the wire"},
	{"namesrv", "broker", "broker and name server meet on the wire"},
	{"broker", "provision", "a daemon knows nothing of deployment"},
	{"broker", "inventory", "a daemon knows nothing of deployment"},
	{"broker", "templates", "a daemon knows nothing of deployment"},
	{"namesrv", "provision", "a daemon knows nothing of deployment"},
	{"namesrv", "inventory", "a daemon knows nothing of deployment"},
	{"namesrv", "templates", "a daemon knows nothing of deployment"},
	{"provision", "broker/store", "provisioning knows a daemon by its configuration and the wire only"},
	{"provision", "broker/processor", "provisioning knows a daemon by its configuration and the wire only"},
	{"inventory", "broker/store", "an inventory knows a daemon by its key table only"},
	{"cmd/rmqctl/admin", "broker", "tools reach a cluster through internal/client, so they serve a Java cluster too"},
	{"cmd/rmqctl/tui", "broker", "tools reach a cluster through internal/client, so they serve a Java cluster too"},
}

// doors: an outside thing is touched in the named folders only.
var doors = []struct {
	what  string
	paths []string
	only  []string
}{
	{"golang.org/x/crypto/ssh", []string{"golang.org/x/crypto/ssh"}, []string{"provision/ssh", "test/hosts"}},
	{"github.com/pkg/sftp", []string{"github.com/pkg/sftp"}, []string{"provision/ssh"}},
	{"terminal UI", []string{"github.com/charmbracelet/bubbletea"}, []string{"cmd/rmqctl"}},
	{"command line", []string{"github.com/alecthomas/kong"}, []string{"cmd/rmqctl"}},
}

func TestImportsPointDown(t *testing.T) {
	for _, p := range load(t) {
		from := strings.TrimPrefix(p.ImportPath, "rmqctl/")
		ff, ok := floorOf(from)
		if !ok {
			t.Errorf("%s stands on no floor: add it to floors", from)
			continue
		}
		for _, imp := range p.Imports {
			to, ours := strings.CutPrefix(imp, "rmqctl/")
			if !ours {
				continue
			}
			tf, _ := floorOf(to)
			inside := strings.HasPrefix(to, from+"/") || sameUnit(from, to)
			if tf >= ff && !inside {
				t.Errorf("%s (floor %d) imports %s (floor %d): imports point down", from, ff, to, tf)
			}
			for _, n := range nevers {
				if under(from, n.from) && under(to, n.to) && !under(from, n.to) {
					t.Errorf("%s imports %s: %s", from, to, n.why)
				}
			}
		}
	}
}

func TestOneDoorPerOutsideThing(t *testing.T) {
	for _, p := range load(t) {
		from := strings.TrimPrefix(p.ImportPath, "rmqctl/")
		for _, imp := range p.Imports {
			for _, d := range doors {
				if matchesAny(imp, d.paths) && !matchesAny(from, d.only) {
					t.Errorf("%s imports %s: %s is reached through %v only", from, imp, d.what, d.only)
				}
			}
		}
	}
}

// sameUnit: the parts of one floor entry (broker/store and its subfolders) form one unit with an order of its own.
func sameUnit(from, to string) bool {
	a, b := prefixOf(from), prefixOf(to)
	return a == b && a != "broker" && a != "provision" && a != "namesrv"
}

func prefixOf(path string) string {
	for p := path; p != ""; {
		if _, ok := floors[p]; ok {
			return p
		}
		i := strings.LastIndexByte(p, '/')
		if i < 0 {
			return ""
		}
		p = p[:i]
	}
	return ""
}

func floorOf(path string) (int, bool) {
	p := prefixOf(path)
	f, ok := floors[p]
	return f, ok && p != ""
}

func under(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func matchesAny(path string, folders []string) bool {
	for _, f := range folders {
		if under(path, f) {
			return true
		}
	}
	return false
}

func load(t *testing.T) []pkg {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "rmqctl/...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("decode go list: %v", err)
		}
		pkgs = append(pkgs, p)
	}
	if len(pkgs) == 0 {
		t.Fatal("go list named no package")
	}
	return pkgs
}
