// Package tui draws: the live view of a cluster and the progress of a run. It decides nothing and reaches a cluster
// only through what it is given.
package tui

import (
	"fmt"
	"strings"
	"time"

	"github.com/charmbracelet/lipgloss"

	"rmqctl/internal/client"
	"rmqctl/internal/protocol"
	"rmqctl/provision"
)

// columns of the broker table, in order.
var columns = []struct {
	title string
	width int
	right bool
}{
	{"group", 16, false}, {"role", 9, false}, {"id", 3, true}, {"address", 22, false}, {"version", 8, false},
	{"in/s", 9, true}, {"out/s", 9, true}, {"lag", 11, true}, {"disk", 6, true}, {"uptime", 9, true}, {"ns", 4, true}, {"state", 0, false},
}

// Table is the cluster as plain text: what `status --output plain` prints and the live view colours.
func Table(s *provision.Status) string {
	var b strings.Builder
	b.WriteString("NAME SERVERS\n")
	for _, n := range s.NameServers {
		state := "ok"
		if n.Err != "" {
			state = "DOWN  " + firstLine(n.Err)
		}
		fmt.Fprintf(&b, "  %-22s %2d brokers  %6s  %s\n", n.Addr, n.Brokers, n.Took.Round(100*time.Microsecond), state)
	}
	b.WriteString("\nBROKERS\n  " + header() + "\n")
	for _, row := range rows(s) {
		b.WriteString("  " + row.text + "\n")
	}
	for _, n := range s.Notes {
		b.WriteString("\nnote: " + n + "\n")
	}
	return b.String()
}

// row is one broker's line and the broker it stands for.
type row struct {
	text   string
	group  string
	member client.MemberStatus
	bad    bool
}

func header() string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = c.title
	}
	return join(cells)
}

func rows(s *provision.Status) []row {
	var out []row
	for _, g := range s.Groups {
		for i, m := range g.Members {
			name := g.Name
			if i > 0 {
				name = ""
			}
			state, bad := "ok", false
			switch {
			case m.Err != "":
				state, bad = "DOWN  "+firstLine(m.Err), true
			case m.RegisteredAt < len(s.NameServers):
				state, bad = fmt.Sprintf("at %d of %d name servers", m.RegisteredAt, len(s.NameServers)), true
			}
			out = append(out, row{group: g.Name, member: m, bad: bad, text: join([]string{
				name, m.Role, fmt.Sprint(m.ID), m.Addr, strings.ReplaceAll(strings.TrimPrefix(m.Version, "V"), "_", "."),
				rate(m), out1(m), lag(m), percent(m.DiskRatio), uptime(m.Uptime), fmt.Sprintf("%d/%d", m.RegisteredAt, len(s.NameServers)), state,
			})})
		}
		if line, bad := replication(g); line != "" {
			out = append(out, row{group: g.Name, bad: bad, text: fmt.Sprintf("%-16s %s", "", line)})
		}
		if len(g.Members) > 0 && g.Members[0].ID != 0 && g.Mode == "" {
			out = append(out, row{group: g.Name, bad: true, text: fmt.Sprintf("%-16s NO MASTER: reads only", "")})
		}
	}
	return out
}

// replication is the line below a group: term or epoch, who leads, who is in sync.
func replication(g client.GroupStatus) (line string, bad bool) {
	switch {
	case g.Mode == "":
		return "", false
	case g.Leader == "":
		return strings.ToUpper(g.Health[:len("no leader")]) + g.Health[len("no leader"):], true
	case g.Mode == protocol.ModeRaft:
		line = fmt.Sprintf("raft, term %d, led by %s: %s", g.Epoch, g.Leader, g.Health)
	default:
		line = fmt.Sprintf("epoch %d: %s", g.Epoch, g.Health)
	}
	for _, m := range g.Members {
		bad = bad || !m.InSync
	}
	return line, bad
}

func rate(m client.MemberStatus) string { return fmt.Sprintf("%.1f", m.InTPS) }
func out1(m client.MemberStatus) string { return fmt.Sprintf("%.1f", m.OutTPS) }

func lag(m client.MemberStatus) string {
	switch {
	case m.ID == 0:
		return "-"
	case m.LagBytes < 0:
		return "?"
	case m.ETASeconds > 0:
		return fmt.Sprintf("%s %ds", Bytes(m.LagBytes), m.ETASeconds)
	}
	return Bytes(m.LagBytes)
}

// Bytes is a size a person can read.
func Bytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}

func percent(f float64) string { return fmt.Sprintf("%.0f%%", f*100) }

func uptime(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return d.String()
}

func join(cells []string) string {
	var b strings.Builder
	for i, c := range columns {
		pad := max(c.width-lipgloss.Width(cells[i]), 0)
		if c.right {
			b.WriteString(strings.Repeat(" ", pad) + cells[i])
		} else {
			b.WriteString(cells[i] + strings.Repeat(" ", pad))
		}
		if i < len(columns)-1 {
			b.WriteByte(' ')
		}
	}
	return strings.TrimRight(b.String(), " ")
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
