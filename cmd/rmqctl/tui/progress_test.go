package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"rmqctl/provision"
)

func TestEachHostShowsItsStepItsUploadAndItsError(t *testing.T) {
	t0 := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	m := NewProgress("deploy orders", []string{"node1", "node2", "node3"}, func() {})
	m.begun, m.now = t0, func() time.Time { return t0.Add(3 * time.Second) }
	for _, e := range []provision.Event{
		{Time: t0, Host: "node1", Role: "host", Step: "upload", State: provision.Progress, Done: 20 << 20, Total: 40 << 20},
		{Time: t0, Host: "node2", Role: "broker-b", Step: "running", State: provision.Changed},
		{Time: t0, Host: "node2", Role: "broker-b", Step: "registered", State: provision.Running},
		{Time: t0, Host: "node3", Role: "host", Step: "user", State: provision.OK},
		{Time: t0, Host: "node3", Role: "host", Step: "firewall", State: provision.Failed, Err: errors.New("firewall-cmd: not running\nnext: start firewalld")},
		{Time: t0, Host: "node1", State: provision.Note, Why: "new host key SHA256:abc"},
	} {
		m.Update(EventMsg(e))
	}
	got := m.View()
	for _, want := range []string{"deploy orders", "3s", "host upload", "50%", "20 MiB", "broker-b registered", "1 changed", "✗ node3", "firewall-cmd: not running", "next: start firewalld", "new host key SHA256:abc"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
}

func TestCtrlCStopsOnceAndWaitsForTheEnd(t *testing.T) {
	stops := 0
	m := NewProgress("x", nil, func() { stops++ })
	for range 2 {
		if _, cmd := m.Update(tea.KeyMsg{Type: tea.KeyCtrlC}); cmd != nil {
			t.Fatal("the view closed before the run had ended")
		}
	}
	if stops != 1 || !strings.Contains(m.View(), "ending after the current step") {
		t.Fatalf("%d stops\n%s", stops, m.View())
	}
	if _, cmd := m.Update(EndMsg{}); cmd == nil {
		t.Fatal("the end did not close the view")
	}
}
