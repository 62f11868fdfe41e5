// What is wrong with an inventory, and where.

package inventory

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
)

// Problem is one thing that is wrong, at one place of the file.
type Problem struct {
	File      string
	Line, Col int // from 1; 0 = the file as a whole
	Message   string
	Hint      string // what to write instead

	text  string // the line, with secrets hidden
	width int
}

// String is "file:line:col: message", the line with a caret below it, and the hint.
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Col)
	}
	b.WriteString(": " + p.Message)
	if p.Line > 0 && p.text != "" {
		fmt.Fprintf(&b, "\n%5d | %s\n      | %s%s", p.Line, p.text, pad(p.text, p.Col-1), strings.Repeat("^", max(1, p.width)))
	}
	if p.Hint != "" {
		b.WriteString("\n        " + p.Hint)
	}
	return b.String()
}

// pad is blanks as wide as the first n runes of line; tabs stay tabs.
func pad(line string, n int) string {
	var b strings.Builder
	for _, r := range line {
		if n--; n < 0 {
			break
		}
		if r != '\t' {
			r = ' '
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Problems is everything that is wrong with a file, in the order of its lines.
type Problems []Problem

func (ps Problems) Error() string {
	out := make([]string, len(ps))
	for i, p := range ps {
		out[i] = p.String()
	}
	return strings.Join(out, "\n")
}

// source is the text of an inventory and where things stand in it.
type source struct {
	file   string
	lines  []string
	places places
}

func newSource(file, text string) source {
	return source{file: file, lines: strings.Split(text, "\n"), places: locate(text)}
}

// where is "file:line" of a path's key, or of the table it would stand in, for an explanation.
func (s source) where(path string) string {
	sp := s.find(s.places.keys, path)
	if sp.line == 0 {
		return s.file
	}
	return fmt.Sprintf("%s:%d", s.file, sp.line)
}

func (s source) problem(sp span, msg, hint string) Problem {
	p := Problem{File: s.file, Line: sp.line, Col: sp.col, Message: msg, Hint: hint, width: sp.width}
	if sp.line > 0 && sp.line <= len(s.lines) {
		p.text = strings.TrimRight(hideSecret(s.lines[sp.line-1]), "\r")
		p.width = max(1, min(p.width, utf8.RuneCountInString(p.text)-p.Col+1))
	}
	return p
}

// atKey points at a key; where the key is not in the file, at the nearest table around it.
func (s source) atKey(path, msg, hint string) Problem {
	return s.problem(s.find(s.places.keys, path), msg, hint)
}

// atValue points at a value.
func (s source) atValue(path, msg, hint string) Problem {
	if sp, ok := s.places.values[path]; ok {
		return s.problem(sp, msg, hint)
	}
	return s.atKey(path, msg, hint)
}

func (s source) find(m map[string]span, path string) span {
	for path != "" {
		if sp, ok := m[path]; ok {
			return sp
		}
		path = path[:max(strings.LastIndexByte(path, '.'), 0)]
	}
	return span{}
}

// hideSecret keeps a password that stands in the file out of messages about its line.
func hideSecret(line string) string {
	low := strings.ToLower(line)
	for _, word := range []string{"password", "passphrase"} {
		i := strings.Index(low, word)
		if i < 0 {
			continue
		}
		j := strings.IndexByte(low[i:], '=')
		if j < 0 || len(low) != len(line) {
			return line[:min(i, len(line))] + word + " …"
		}
		return line[:i+j+1] + " ‹hidden›"
	}
	return line
}

func sortProblems(ps Problems) {
	sort.SliceStable(ps, func(i, j int) bool {
		if ps[i].Line != ps[j].Line {
			return ps[i].Line < ps[j].Line
		}
		return ps[i].Col < ps[j].Col
	})
}

// nearest is the word that was probably meant, or "".
func nearest(word string, known []string) string {
	best, dist := "", max(1, len(word)/3)+1
	for _, k := range known {
		if strings.EqualFold(k, word) {
			return k
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), strings.ToLower(k)); d < dist {
			best, dist = k, d
		}
	}
	return best
}

func didYouMean(word string, known []string) string {
	if n := nearest(word, known); n != "" {
		return "did you mean " + n + "?"
	}
	return ""
}
