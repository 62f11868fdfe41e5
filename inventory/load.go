// From the text of a file to a whole inventory.

package inventory

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Load reads an inventory file. The error is Problems when the file could be read and is not right.
func Load(name string) (*Inventory, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read inventory: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(name))
	if err != nil {
		return nil, fmt.Errorf("directory of %s: %w", name, err)
	}
	return Parse(name, dir, string(text))
}

// Parse reads the text of an inventory. Name is for messages; relative paths in the text start at dir.
func Parse(name, dir, text string) (*Inventory, error) {
	f, d := decode(name, text)
	if f == nil {
		return nil, d.problems
	}
	b := &builder{decoder: d, file: f, keys: newKeyTables(),
		inv: &Inventory{File: name, Dir: dir, source: d.src}, nodes: map[string]*Node{}}
	b.build()
	if len(b.problems) > 0 {
		sortProblems(b.problems)
		return nil, b.problems
	}
	sortProblems(b.inv.Warnings)
	return b.inv, nil
}

// builder fills an inventory from a decoded file and collects what is wrong.
type builder struct {
	*decoder
	file  *file
	keys  keyTables
	inv   *Inventory
	nodes map[string]*Node
}

func (b *builder) build() {
	b.cluster()
	b.hostTables()
	b.allNodes()
	b.nameServers()
	b.groups()
	b.placeBrokers()
	b.settings()
	b.collisions()
	b.advice()
}

// wrongKey and wrongValue add a problem at a path's key or value. One complaint per place is enough: a table may be laid
// over many brokers, and what could not be decoded is empty for the checks that follow.
func (b *builder) wrongKey(path, hint, format string, args ...any) {
	b.problems = addOnce(b.problems, b.src.atKey(path, fmt.Sprintf(format, args...), hint))
}

func (b *builder) wrongValue(path, hint, format string, args ...any) {
	b.problems = addOnce(b.problems, b.src.atValue(path, fmt.Sprintf(format, args...), hint))
}

func (b *builder) warn(path, hint, format string, args ...any) {
	b.inv.Warnings = addOnce(b.inv.Warnings, b.src.atKey(path, fmt.Sprintf(format, args...), hint))
}

func addOnce(list []Problem, p Problem) []Problem {
	for _, old := range list {
		if old.Line == p.Line && old.Col == p.Col && (p.Line > 0 && p.text != "" && !strings.HasPrefix(p.text, "[[") || old.Message == p.Message) {
			return list
		}
	}
	return append(list, p)
}

// oneOf checks a word; the zero value has been replaced by a default before.
func (b *builder) oneOf(path, word string, words ...string) bool {
	for _, w := range words {
		if w == word {
			return true
		}
	}
	b.wrongValue(path, didYouMean(word, words), "%q is none of %s", word, strings.Join(words, ", "))
	return false
}

var secretCommand = regexp.MustCompile(`((?:password|passphrase)["']?\s*=\s*)("cmd:[^"\n]*"|'cmd:[^'\n]*')`)

// Redacted is the inventory's text as it may be kept on hosts and in bundles. A secret stands in it by reference only;
// the words of a command that prints one are taken out, since they may say too much.
func (inv *Inventory) Redacted() string {
	return secretCommand.ReplaceAllString(strings.Join(inv.source.lines, "\n"), `${1}"prompt"`)
}

// Hash tells two inventories apart by what they mean: comments and layout of the file do not count.
func (inv *Inventory) Hash() string {
	type process struct{ Node, Name, Properties string }
	view := struct {
		Inv       *Inventory
		Processes []process
	}{Inv: &Inventory{Name: inv.Name, Mode: inv.Mode, AskOutage: inv.AskOutage, HostsFile: inv.HostsFile,
		Firewall: inv.Firewall, Service: inv.Service, Rollout: inv.Rollout, Sysctl: inv.Sysctl}}
	for _, n := range inv.Nodes {
		bare := *n
		bare.NameServer, bare.Brokers = nil, nil
		view.Inv.Nodes = append(view.Inv.Nodes, &bare)
	}
	for _, s := range inv.NameServers {
		view.Processes = append(view.Processes, process{s.Node.Name, "namesrv", string(s.Properties())})
	}
	for _, b := range inv.Brokers() {
		view.Processes = append(view.Processes, process{b.Node.Name, b.Member, string(b.Properties())})
	}
	text, err := json.Marshal(view)
	if err != nil {
		panic("inventory: " + err.Error()) // plain values only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// IsInvalid says whether err is about what an inventory says, not about reading it.
func IsInvalid(err error) bool {
	var ps Problems
	return errors.As(err, &ps)
}
