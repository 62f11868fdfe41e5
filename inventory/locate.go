// Where things stand in the text of a TOML file. The toml package decodes, but loses the place of keys inside arrays of
// tables; this walks the same text once more and notes the place of every key and value.

package inventory

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// span is a piece of one line, in runes from 1.
type span struct{ line, col, width int }

// places maps a path such as node[1].ssh.user to where its key and its value stand.
type places struct {
	keys, values map[string]span
}

// child is the path of a key below parent.
func child(parent, key string) string {
	if strings.ContainsAny(key, ".[]\" ") || key == "" {
		key = strconv.Quote(key)
	}
	if parent == "" {
		return key
	}
	return parent + "." + key
}

// item is the path of an array's element.
func item(parent string, i int) string { return parent + "[" + strconv.Itoa(i) + "]" }

// locate expects text that the toml package has accepted. On other text the places are useless, but it ends.
func locate(text string) places {
	l := &locator{text: text, places: places{keys: map[string]span{}, values: map[string]span{}}, tables: map[string]int{}}
	l.document()
	return l.places
}

const maxNesting = 100

type locator struct {
	text   string
	at     int
	line   int // lines before at
	start  int // where the line begins
	places places
	tables map[string]int // array of tables -> how many so far
}

func (l *locator) document() {
	prefix := ""
	for {
		l.blank(true)
		if l.at >= len(l.text) {
			return
		}
		before := l.at
		switch {
		case strings.HasPrefix(l.text[l.at:], "[["):
			l.at += 2
			prefix = l.header(true)
		case l.text[l.at] == '[':
			l.at++
			prefix = l.header(false)
		default:
			l.pair(prefix, 0)
		}
		if l.at == before {
			l.at++ // not TOML: go on somewhere
		}
	}
}

// header reads "a.b]" or "a.b]]" and answers the path of the table it opens.
func (l *locator) header(array bool) string {
	p := ""
	for {
		l.blank(false)
		key, sp := l.key()
		p = child(p, key)
		l.blank(false)
		last := l.at >= len(l.text) || l.text[l.at] != '.'
		if last && array {
			n := l.tables[p]
			l.tables[p]++
			p = item(p, n)
		} else if n := l.tables[p]; n > 0 {
			p = item(p, n-1)
		}
		l.note(l.places.keys, p, sp)
		if last {
			break
		}
		l.at++
	}
	for l.at < len(l.text) && l.text[l.at] == ']' {
		l.at++
	}
	return p
}

// pair reads "a.b = value".
func (l *locator) pair(prefix string, depth int) {
	p := prefix
	for {
		l.blank(false)
		key, sp := l.key()
		p = child(p, key)
		l.note(l.places.keys, p, sp)
		l.blank(false)
		if l.at >= len(l.text) || l.text[l.at] != '.' {
			break
		}
		l.at++
	}
	if l.at < len(l.text) && l.text[l.at] == '=' {
		l.at++
		l.blank(false)
		l.value(p, depth)
	}
}

func (l *locator) key() (string, span) {
	from, sp := l.at, l.here()
	var key string
	if l.at < len(l.text) && (l.text[l.at] == '"' || l.text[l.at] == '\'') {
		l.str()
		key = unquote(l.text[from:l.at])
	} else {
		for l.at < len(l.text) && !strings.ContainsRune(".=] \t\r\n,{}[", rune(l.text[l.at])) {
			l.at++
		}
		key = l.text[from:l.at]
	}
	sp.width = utf8.RuneCountInString(l.text[from:l.at])
	return key, sp
}

func (l *locator) value(p string, depth int) {
	from, sp := l.at, l.here()
	if l.at >= len(l.text) {
		return
	}
	switch c := l.text[l.at]; {
	case c == '"' || c == '\'':
		l.str()
	case c == '[' && depth < maxNesting:
		l.list(p, depth)
	case c == '{' && depth < maxNesting:
		l.inline(p, depth)
	default:
		for l.at < len(l.text) && !strings.ContainsRune(",]}#\n\r", rune(l.text[l.at])) {
			l.at++
		}
		for l.at > from && (l.text[l.at-1] == ' ' || l.text[l.at-1] == '\t') {
			l.at--
		}
	}
	first, _, _ := strings.Cut(l.text[from:l.at], "\n")
	sp.width = utf8.RuneCountInString(strings.TrimRight(first, "\r"))
	l.note(l.places.values, p, sp)
}

func (l *locator) list(p string, depth int) {
	l.at++
	for i := 0; ; i++ {
		l.blank(true)
		if l.at >= len(l.text) {
			return
		}
		if l.text[l.at] == ']' {
			l.at++
			return
		}
		before := l.at
		l.value(item(p, i), depth+1)
		l.blank(true)
		if l.at < len(l.text) && l.text[l.at] == ',' {
			l.at++
		}
		if l.at == before {
			return
		}
	}
}

func (l *locator) inline(p string, depth int) {
	l.at++
	for {
		l.blank(true)
		if l.at >= len(l.text) {
			return
		}
		if l.text[l.at] == '}' {
			l.at++
			return
		}
		before := l.at
		l.pair(p, depth+1)
		l.blank(true)
		if l.at < len(l.text) && l.text[l.at] == ',' {
			l.at++
		}
		if l.at == before {
			return
		}
	}
}

// str passes over a string of any of TOML's four kinds.
func (l *locator) str() {
	q := l.text[l.at : l.at+1]
	if triple := strings.Repeat(q, 3); strings.HasPrefix(l.text[l.at:], triple) {
		l.step(3)
		for l.at < len(l.text) {
			switch {
			case q == `"` && l.text[l.at] == '\\':
				l.step(2)
			case strings.HasPrefix(l.text[l.at:], triple):
				l.step(3)
				for n := 0; n < 2 && strings.HasPrefix(l.text[l.at:], q); n++ {
					l.step(1) // up to two quotes may stand before the closing three
				}
				return
			default:
				l.step(1)
			}
		}
		return
	}
	l.at++
	for l.at < len(l.text) && l.text[l.at] != '\n' {
		switch {
		case q == `"` && l.text[l.at] == '\\':
			l.step(2)
		case l.text[l.at] == q[0]:
			l.at++
			return
		default:
			l.at++
		}
	}
}

// step goes on n bytes and counts the lines it passes.
func (l *locator) step(n int) {
	for ; n > 0 && l.at < len(l.text); n-- {
		if l.text[l.at] == '\n' {
			l.line++
			l.start = l.at + 1
		}
		l.at++
	}
}

// blank passes over spaces and, with lines, over line ends and comments.
func (l *locator) blank(lines bool) {
	for l.at < len(l.text) {
		switch c := l.text[l.at]; {
		case c == ' ' || c == '\t':
			l.at++
		case lines && (c == '\n' || c == '\r'):
			l.step(1)
		case lines && c == '#':
			for l.at < len(l.text) && l.text[l.at] != '\n' {
				l.at++
			}
		default:
			return
		}
	}
}

func (l *locator) here() span {
	return span{line: l.line + 1, col: utf8.RuneCountInString(l.text[l.start:l.at]) + 1}
}

func (l *locator) note(m map[string]span, p string, sp span) {
	if _, seen := m[p]; !seen {
		m[p] = sp
	}
}

func unquote(s string) string {
	if len(s) >= 2 && s[0] == '\'' {
		return strings.Trim(s, "'")
	}
	if u, err := strconv.Unquote(s); err == nil {
		return u
	}
	return strings.Trim(s, `"`)
}
