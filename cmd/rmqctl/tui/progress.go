// The live view of a run: one line per host with its current step, and what went wrong where it went wrong.
package tui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/bubbles/progress"
	"github.com/charmbracelet/bubbles/spinner"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"

	"rmqctl/provision"
)

// ProgressModel shows the events of one run until EndMsg; it is a tea.Model.
type ProgressModel struct {
	title   string
	begun   time.Time
	now     func() time.Time
	width   int
	hosts   []*hostLine
	notes   []string
	bar     progress.Model
	spin    spinner.Model
	stop    func() // called at the first Ctrl-C
	stopped bool
	done    bool
}

// hostLine is what is known of one host, or of the whole cluster when name is "".
type hostLine struct {
	name            string
	role, step, why string
	state           provision.State
	since           time.Time
	done, all       int64
	held, changed   int
	failure         string
}

// EventMsg brings an event to the view; EndMsg ends it.
type (
	EventMsg provision.Event
	EndMsg   struct{}
)

// NewProgress makes the view of a run over the given hosts. stop is called when the user wants to end it.
func NewProgress(title string, hosts []string, stop func()) *ProgressModel {
	m := &ProgressModel{title: title, begun: time.Now(), now: time.Now, stop: stop,
		bar: progress.New(progress.WithWidth(20), progress.WithSolidFill("6")), spin: spinner.New(spinner.WithSpinner(spinner.MiniDot))}
	for _, h := range hosts {
		m.hosts = append(m.hosts, &hostLine{name: h})
	}
	return m
}

func (m *ProgressModel) Init() tea.Cmd { return m.spin.Tick }

func (m *ProgressModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width = msg.Width
	case tea.KeyMsg:
		if msg.String() == "ctrl+c" && !m.stopped {
			m.stopped = true
			m.stop()
		}
	case EventMsg:
		m.take(provision.Event(msg))
	case EndMsg:
		m.done = true
		return m, tea.Quit
	case spinner.TickMsg:
		var cmd tea.Cmd
		m.spin, cmd = m.spin.Update(msg)
		return m, cmd
	}
	return m, nil
}

func (m *ProgressModel) take(e provision.Event) {
	if e.State == provision.Note {
		m.notes = append(m.notes, strings.TrimSpace(e.Host+" "+e.Why))
		m.notes = m.notes[max(len(m.notes)-4, 0):]
		return
	}
	h := m.line(e.Host)
	if h.role != e.Role || h.step != e.Step {
		h.role, h.step, h.why, h.done, h.all, h.since = e.Role, e.Step, "", 0, 0, e.Time
	}
	h.state = e.State
	if e.Why != "" {
		h.why = e.Why
	}
	switch e.State {
	case provision.OK:
		h.held++
	case provision.Changed:
		h.changed++
	case provision.Progress:
		h.done, h.all = e.Done, e.Total
	case provision.Failed:
		h.failure = e.Why
		if e.Err != nil {
			h.failure = e.Err.Error()
		}
	}
}

func (m *ProgressModel) line(host string) *hostLine {
	if i := slices.IndexFunc(m.hosts, func(h *hostLine) bool { return h.name == host }); i >= 0 {
		return m.hosts[i]
	}
	h := &hostLine{name: host}
	m.hosts = append(m.hosts, h)
	return h
}

func (m *ProgressModel) View() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n", styleTitle.Render("rmqctl · "+m.title), styleDim.Render(m.now().Sub(m.begun).Round(100*time.Millisecond).String()))
	for _, h := range m.hosts {
		b.WriteString(m.hostView(h) + "\n")
		if h.failure != "" {
			for _, l := range strings.Split(strings.TrimRight(h.failure, "\n"), "\n") {
				b.WriteString("    " + styleBad.Render(l) + "\n")
			}
		}
	}
	for _, n := range m.notes {
		b.WriteString(styleDim.Render("  "+n) + "\n")
	}
	if m.stopped && !m.done {
		b.WriteString(styleBusy.Render("ending after the current step …") + "\n")
	}
	if m.width > 0 {
		return lipgloss.NewStyle().MaxWidth(m.width).Render(b.String())
	}
	return b.String()
}

// amount says how far a step is: bytes of an upload, seconds of a wait.
func amount(h *hostLine) string {
	if strings.HasPrefix(h.step, "upload") {
		return Bytes(h.done)
	}
	return fmt.Sprintf("%d of %d s  %s", h.done, h.all, firstLine(h.why))
}

func (m *ProgressModel) hostView(h *hostLine) string {
	name := h.name
	if name == "" {
		name = "cluster"
	}
	mark := styleDim.Render("·")
	switch h.state {
	case provision.Failed:
		mark = styleBad.Render("✗")
	case provision.Running, provision.Progress:
		mark = styleBusy.Render(m.spin.View())
		if m.done {
			mark = styleDim.Render("·")
		}
	case provision.OK, provision.Changed, provision.Skipped:
		mark = styleGood.Render("✓")
	}
	what := strings.TrimSpace(h.role + " " + h.step)
	var tail string
	switch {
	case h.all > 0 && h.state == provision.Progress:
		tail = m.bar.ViewAs(float64(h.done)/float64(h.all)) + "  " + amount(h)
	case h.state == provision.Running || h.state == provision.Progress:
		tail = styleDim.Render(strings.TrimSpace(m.now().Sub(h.since).Round(100*time.Millisecond).String() + "  " + firstLine(h.why)))
	default:
		tail = styleDim.Render(firstLine(h.why))
	}
	return fmt.Sprintf("%s %-14s %-46.46s %s %s", mark, name, what, styleDim.Render(fmt.Sprintf("%3d changed %3d held", h.changed, h.held)), tail)
}
