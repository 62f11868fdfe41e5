// The live view of a cluster: refreshed, with keys that choose what the caller does next.
package tui

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"rmqctl/provision"
)

// Action is what the user chose before the view closed.
type Action struct {
	Kind string // "" (just quit), "restart-node" or "rolling-restart"
	Addr string // broker address of restart-node
	Name string // what the user saw, for messages
}

// StatusModel is the live view; it is a tea.Model.
type StatusModel struct {
	title  string
	look   func(context.Context) (*provision.Status, error)
	every  time.Duration
	canAct bool

	width, height int
	status        *provision.Status
	err           error
	pick          int
	ask           *Action
	Chosen        Action
}

// NewStatus makes the view. look is called every so often; canAct says whether restarts may be offered.
func NewStatus(title string, every time.Duration, canAct bool, look func(context.Context) (*provision.Status, error)) *StatusModel {
	return &StatusModel{title: title, look: look, every: every, canAct: canAct}
}

type (
	lookedMsg struct {
		status *provision.Status
		err    error
	}
	tickMsg struct{}
)

func (m *StatusModel) Init() tea.Cmd { return m.refresh }

func (m *StatusModel) refresh() tea.Msg {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := m.look(ctx)
	return lookedMsg{s, err}
}

func (m *StatusModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case lookedMsg:
		m.status, m.err = msg.status, msg.err
		m.pick = min(m.pick, max(len(m.rows())-1, 0))
		return m, tea.Tick(m.every, func(time.Time) tea.Msg { return tickMsg{} })
	case tickMsg:
		return m, m.refresh
	case tea.KeyMsg:
		return m.key(msg.String())
	}
	return m, nil
}

func (m *StatusModel) key(k string) (tea.Model, tea.Cmd) {
	if m.ask != nil {
		if k == "y" || k == "Y" {
			m.Chosen = *m.ask
			return m, tea.Quit
		}
		m.ask = nil
		return m, nil
	}
	switch k {
	case "q", "esc", "ctrl+c":
		return m, tea.Quit
	case "up", "k":
		m.pick = max(m.pick-1, 0)
	case "down", "j":
		m.pick = min(m.pick+1, max(len(m.rows())-1, 0))
	case "r":
		if rs := m.rows(); m.canAct && m.pick < len(rs) && rs[m.pick].member.Addr != "" {
			r := rs[m.pick]
			m.ask = &Action{Kind: "restart-node", Addr: r.member.Addr, Name: fmt.Sprintf("%s[%d] %s", r.group, r.member.ID, r.member.Addr)}
		}
	case "R":
		if m.canAct {
			m.ask = &Action{Kind: "rolling-restart", Name: m.title}
		}
	}
	return m, nil
}

func (m *StatusModel) rows() []row {
	if m.status == nil {
		return nil
	}
	return rows(m.status)
}

func (m *StatusModel) View() string {
	var b strings.Builder
	b.WriteString(styleTitle.Render("rmqctl · " + m.title))
	if m.status != nil {
		b.WriteString(styleDim.Render("   " + m.status.At.Format("15:04:05")))
		if ok, why := m.status.Healthy(); ok {
			b.WriteString("   " + styleGood.Render("healthy"))
		} else {
			b.WriteString("   " + styleBad.Render(fmt.Sprintf("%d problems", len(why))))
		}
	}
	b.WriteString("\n\n")
	switch {
	case m.status == nil && m.err == nil:
		b.WriteString("looking …\n")
	case m.status == nil || len(m.status.NameServers) == 0:
		b.WriteString(styleBad.Render(m.err.Error()) + "\n")
	default:
		m.body(&b)
	}
	b.WriteString("\n" + m.footer())
	return m.clip(b.String())
}

func (m *StatusModel) body(b *strings.Builder) {
	for _, n := range m.status.NameServers {
		mark := styleGood.Render("●")
		note := fmt.Sprintf("%d brokers  %s", n.Brokers, n.Took.Round(100*time.Microsecond))
		if n.Err != "" {
			mark, note = styleBad.Render("●"), styleBad.Render(firstLine(n.Err))
		}
		fmt.Fprintf(b, "%s name server  %-22s %s\n", mark, n.Addr, note)
	}
	b.WriteString("\n" + styleDim.Render("  "+header()) + "\n")
	for i, r := range m.rows() {
		style := lipgloss.NewStyle()
		if r.bad {
			style = styleBad
		}
		if i == m.pick {
			style = style.Inherit(stylePick)
		}
		b.WriteString("  " + style.Render(r.text) + "\n")
	}
	for _, n := range m.status.Notes {
		b.WriteString("\n" + styleDim.Render(n) + "\n")
	}
	if m.err != nil {
		b.WriteString("\n" + styleBad.Render(m.err.Error()) + "\n")
	}
}

func (m *StatusModel) footer() string {
	switch {
	case m.ask != nil && m.ask.Kind == "rolling-restart":
		return stylePick.Render("Rolling restart of every member of " + m.ask.Name + "? y/N")
	case m.ask != nil:
		return stylePick.Render("Restart " + m.ask.Name + ", with the gates of a rolling restart? y/N")
	case m.canAct:
		return styleDim.Render("↑/↓ choose · r restart this broker · R rolling restart · q quit")
	}
	return styleDim.Render("q quit")
}

// clip keeps every line inside the window, so that a narrow terminal shows a cut table instead of a wrapped one.
func (m *StatusModel) clip(s string) string {
	if m.width <= 0 {
		return s
	}
	return lipgloss.NewStyle().MaxWidth(m.width).Render(s)
}
