// Colours: few, by meaning.
package tui

import "github.com/charmbracelet/lipgloss"

var (
	styleTitle = lipgloss.NewStyle().Bold(true)
	styleDim   = lipgloss.NewStyle().Faint(true)
	styleGood  = lipgloss.NewStyle().Foreground(lipgloss.Color("2"))
	styleBad   = lipgloss.NewStyle().Foreground(lipgloss.Color("1")).Bold(true)
	styleBusy  = lipgloss.NewStyle().Foreground(lipgloss.Color("6"))
	stylePick  = lipgloss.NewStyle().Reverse(true)
)
