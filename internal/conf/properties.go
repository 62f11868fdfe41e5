package conf

// This file reads and writes Java's .properties text.

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Prop is one setting and where it was written.
type Prop struct {
	Key, Value string
	File       string // a file's name, or what stands for one: "environment", "command line"
	Line       int    // 1 is the first; 0 where lines make no sense
}

// Pos is file:line, or the file alone.
func (p Prop) Pos() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}

// ParseProperties reads Java .properties text: # and ! comments, = : or a blank between key and value, \ to escape
// and to continue a line, \uXXXX. Text is UTF-8; comments may hold anything. The order of the file is kept, and
// so are keys that are written twice.
func ParseProperties(r io.Reader, filename string) ([]Prop, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", filename, err)
	}
	var props []Prop
	s := scanner{text: strings.TrimPrefix(string(text), "\ufeff")}
	for s.next() {
		if !utf8.ValidString(s.logical) {
			return nil, fmt.Errorf("%s:%d: not UTF-8 text", filename, s.start)
		}
		key, value, err := splitPair(s.logical)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", filename, s.start, err)
		}
		props = append(props, Prop{Key: key, Value: value, File: filename, Line: s.start})
	}
	return props, nil
}

// scanner cuts text into logical lines: comments and empty lines dropped, continued lines joined.
type scanner struct {
	text    string
	line    int    // the last natural line read
	start   int    // where logical began
	logical string // leading blanks removed, escapes still in it
}

func (s *scanner) next() bool {
	for {
		raw, ok := s.natural()
		if !ok {
			return false
		}
		raw = strings.TrimLeft(raw, " \t\f")
		if raw == "" || raw[0] == '#' || raw[0] == '!' {
			continue
		}
		s.start, s.logical = s.line, raw
		for continued(s.logical) {
			s.logical = s.logical[:len(s.logical)-1]
			more, ok := s.natural()
			if !ok {
				break
			}
			s.logical += strings.TrimLeft(more, " \t\f")
		}
		if s.logical != "" {
			return true
		}
	}
}

// natural is the next line of the file; it ends in \n, \r\n or \r.
func (s *scanner) natural() (string, bool) {
	if s.text == "" {
		return "", false
	}
	s.line++
	end := strings.IndexAny(s.text, "\r\n")
	if end < 0 {
		line := s.text
		s.text = ""
		return line, true
	}
	line, rest := s.text[:end], s.text[end+1:]
	if s.text[end] == '\r' {
		rest = strings.TrimPrefix(rest, "\n")
	}
	s.text = rest
	return line, true
}

// continued: a line goes on when it ends in an odd number of backslashes.
func continued(line string) bool {
	n := len(line) - len(strings.TrimRight(line, `\`))
	return n%2 == 1
}

func splitPair(line string) (key, value string, err error) {
	end := keyEnd(line)
	rest := strings.TrimLeft(line[end:], " \t\f")
	if rest != "" && (rest[0] == '=' || rest[0] == ':') {
		rest = strings.TrimLeft(rest[1:], " \t\f")
	}
	if key, err = unescape(line[:end]); err != nil {
		return "", "", err
	}
	if key == "" {
		return "", "", fmt.Errorf("a value without a key: %q", line)
	}
	value, err = unescape(rest)
	return key, value, err
}

func keyEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(line)
}

// unescape turns \t \n \r \f \uXXXX into what they mean; before any other character a backslash is dropped.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var units []uint16 // a run of \u escapes: two of them may be one character
	var b strings.Builder
	flush := func() {
		b.WriteString(string(utf16.Decode(units)))
		units = units[:0]
	}
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && s[i+1] == 'u' {
			if i+6 > len(s) {
				return "", fmt.Errorf(`\u needs four hexadecimal digits: %q`, s)
			}
			n, err := strconv.ParseUint(s[i+2:i+6], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u needs four hexadecimal digits: %q`, s)
			}
			units = append(units, uint16(n))
			i += 5
			continue
		}
		flush()
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			break
		}
		if c := strings.IndexByte("tnrf", s[i]); c >= 0 {
			b.WriteByte("\t\n\r\f"[c])
		} else {
			b.WriteByte(s[i])
		}
	}
	flush()
	return b.String(), nil
}

// FormatProp is one line of .properties text without its end. It is plain ASCII, which Java reads alike
// whichever character set it assumes.
func FormatProp(key, value string) string {
	return escape(key, true) + "=" + escape(value, false)
}

func escape(s string, isKey bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\f':
			b.WriteString(`\f`)
		case r == ' ' && (isKey || i == 0), isKey && strings.ContainsRune("=:", r), isKey && i == 0 && strings.ContainsRune("#!", r):
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r > 0x7e:
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04X`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Edit sets keys in a .properties text and leaves everything else, comments included, as it is. A key that is
// written several times is set where it counts, the last time; a new one is appended, in the order of keys.
// names gives all spellings of a key, itself included.
func Edit(text string, keys []string, values map[string]string, names func(key string) []string) (string, error) {
	props, err := ParseProperties(strings.NewReader(text), "text")
	if err != nil {
		return "", err
	}
	at := map[int]string{} // first line of a pair that is replaced -> its new text
	var added []string
	for _, key := range keys {
		line, spelt := 0, key
		for _, p := range props {
			for _, n := range names(key) {
				if p.Key == n {
					line, spelt = p.Line, n
				}
			}
		}
		if line == 0 {
			added = append(added, FormatProp(key, values[key]))
			continue
		}
		at[line] = FormatProp(spelt, values[key])
	}
	out := replaceLines(text, at)
	for _, line := range added {
		if out != "" && !strings.HasSuffix(out, "\n") {
			out += "\n"
		}
		out += line + "\n"
	}
	return out, nil
}

// replaceLines puts new text in place of the logical lines that begin at the given natural lines.
func replaceLines(text string, at map[int]string) string {
	var b strings.Builder
	s := scanner{text: text}
	for s.text != "" {
		before, began := s.text, s.line+1
		line, _ := s.natural()
		line = strings.TrimLeft(line, " \t\f\ufeff")
		comment := line == "" || line[0] == '#' || line[0] == '!'
		for !comment && continued(line) && s.text != "" {
			line, _ = s.natural()
		}
		if with, ok := at[began]; ok {
			b.WriteString(with + "\n")
			continue
		}
		b.WriteString(before[:len(before)-len(s.text)])
	}
	return b.String()
}
