// Package templates holds the texts that rmqctl puts on hosts, one plain struct with Text() for each.
package templates

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
	"text/template"
	"time"
)

//go:embed systemd/daemon.service.tmpl
var daemonText string

var daemon = template.Must(template.New("daemon.service").Parse(daemonText))

// Unit is the systemd unit of a name server or a broker.
type Unit struct {
	Description  string
	Exec         string
	Environment  []string // KEY=value
	User, Group  string
	Writes       []string // directories it writes to; everything else is read-only for it
	MemoryMax    int64    // bytes; 0 = no limit
	LimitNoFile  int
	StartTimeout time.Duration
	StopTimeout  time.Duration
}

// Text is the unit file.
func (u Unit) Text() string {
	var b bytes.Buffer
	if err := daemon.Execute(&b, u); err != nil {
		panic("templates: " + err.Error()) // the template and its struct are compiled in together
	}
	return b.String()
}

// StartSeconds and StopSeconds are the limits as systemd reads them everywhere.
func (u Unit) StartSeconds() int64 { return int64(u.StartTimeout / time.Second) }
func (u Unit) StopSeconds() int64  { return int64(u.StopTimeout / time.Second) }

// ProtectHome hides the home directories, unless the process works there.
func (u Unit) ProtectHome() bool { return !u.writesBelow("/home", "/root", "/run/user") }

// PrivateTmp gives the process a /tmp of its own, unless it works in the common one.
func (u Unit) PrivateTmp() bool { return !u.writesBelow("/tmp", "/var/tmp") }

func (u Unit) writesBelow(bases ...string) bool {
	for _, w := range append([]string{u.program()}, u.Writes...) {
		for _, b := range bases {
			if w == b || strings.HasPrefix(w, b+"/") {
				return true
			}
		}
	}
	return false
}

func (u Unit) program() string {
	p, _, _ := strings.Cut(u.Exec, " ")
	return p
}

// Mark opens or closes the part of a file that belongs to a cluster.
type Mark struct {
	Cluster string
	End     bool
	Note    string // what taking the block out again has to know
}

// Text is the line, without its end.
func (m Mark) Text() string {
	word := "begin"
	if m.End {
		word = "end"
	}
	if m.Note != "" {
		word += " (" + m.Note + ")"
	}
	return fmt.Sprintf("# rmqctl:%s %s", m.Cluster, word)
}
