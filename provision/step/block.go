// A part of a file that others write too: lines between two marks that name the cluster.
//
//	127.0.0.1 localhost
//	# rmqctl:orders begin
//	192.168.31.101 node1
//	# rmqctl:orders end
//
// Taking the block out gives the file its former bytes back, so the opening mark notes what they cannot tell by
// themselves: that the file did not end with a line end, or did not exist.

package step

import (
	"fmt"
	"strings"

	"rmqctl/templates"
)

const (
	noteNoNewline = "the line before had no line end"
	noteNoFile    = "the file was not there"
)

// block is where a cluster's lines stand in a text.
type block struct {
	from, to int // byte offsets of the whole block, marks included; from < 0 = there is none
	lines    []string
	note     string
}

// findBlock looks for the cluster's block. A mark without its partner is an error: where the block ends is for a human
// to say.
func findBlock(text, cluster string) (block, error) {
	begin := templates.Mark{Cluster: cluster}.Text()
	end := templates.Mark{Cluster: cluster, End: true}.Text()
	b := block{from: -1}
	at := 0
	open := false
	for n, line := range strings.SplitAfter(text, "\n") {
		word := strings.TrimSpace(line)
		switch {
		case word == begin || strings.HasPrefix(word, begin+" ("):
			if open || b.from >= 0 {
				return block{}, fmt.Errorf("line %d: %q stands here for the second time", n+1, begin)
			}
			open, b.from = true, at
			b.note = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(word, begin), " ("), ")")
		case word == end:
			if !open {
				return block{}, fmt.Errorf("line %d: %q without %q", n+1, end, begin)
			}
			open, b.to = false, at+len(line)
		case open:
			b.lines = append(b.lines, strings.TrimRight(line, "\r\n"))
		}
		at += len(line)
	}
	if open {
		return block{}, fmt.Errorf("%q without %q", begin, end)
	}
	return b, nil
}

// setBlock puts the lines into the cluster's block, which it makes at the end of the text if there is none.
func setBlock(text, cluster string, lines []string, exists bool) (string, error) {
	b, err := findBlock(text, cluster)
	if err != nil {
		return "", err
	}
	if b.from < 0 {
		b.from, b.to = len(text), len(text)
		switch {
		case !exists:
			b.note = noteNoFile
		case text != "" && !strings.HasSuffix(text, "\n"):
			b.note = noteNoNewline
			text += "\n"
			b.from, b.to = len(text), len(text)
		}
	}
	var s strings.Builder
	s.WriteString(templates.Mark{Cluster: cluster, Note: b.note}.Text() + "\n")
	for _, l := range lines {
		s.WriteString(l + "\n")
	}
	s.WriteString(templates.Mark{Cluster: cluster, End: true}.Text() + "\n")
	return text[:b.from] + s.String() + text[b.to:], nil
}

// dropBlock takes the block out. remove says that the file has to go as well: it was made for the block, and nobody has
// written to it since.
func dropBlock(text, cluster string) (rest string, remove bool, err error) {
	b, err := findBlock(text, cluster)
	if err != nil || b.from < 0 {
		return text, false, err
	}
	before, after := text[:b.from], text[b.to:]
	if b.note == noteNoNewline && after == "" {
		before = strings.TrimSuffix(before, "\n")
	}
	rest = before + after
	return rest, b.note == noteNoFile && rest == "", nil
}
