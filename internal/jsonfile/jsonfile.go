// Package jsonfile keeps the small tables of config/*.json as RocketMQ keeps them: one JSON text, the previous one beside
// it as NAME.bak, laid out with tabs as fastjson does. Beyond that it keeps the one before, and the checksums of all.
package jsonfile

import (
	"fmt"

	"rmqctl/internal/vfs"
)

// Load hands the file's text to decode; if it is missing, empty, damaged or not decodable, that of the newest generation
// that is good. RocketMQ has moments in which only the .bak exists. With no file at all, found is false and decode was not
// called. If no text can be had from what is there, that is an error: starting with an empty table would forget every
// offset. What was passed over is told by Doubts.
func Load(fsys vfs.FS, name string, decode func([]byte) error) (found bool, err error) {
	var first error
	for _, g := range Generations(fsys, name) {
		err := g.Err
		if err == nil {
			err = decode(g.Text)
		}
		if err == nil {
			return true, nil
		}
		if first == nil {
			first = fmt.Errorf("read %s: %w", g.File, err)
		}
	}
	return false, first
}

// Doubts says which texts of the file Load passes over, and why; nothing when NAME itself is good.
func Doubts(fsys vfs.FS, name string, decode func([]byte) error) []error {
	var out []error
	for _, g := range Generations(fsys, name) {
		err := g.Err
		if err == nil {
			err = decode(g.Text)
		}
		if err == nil {
			return out
		}
		out = append(out, fmt.Errorf("%s: %w", g.File, err))
	}
	return out
}

// Save replaces the file by the compact JSON text, laid out. The two texts before stay as NAME.bak and NAME.bak.2.
func Save(fsys vfs.FS, name string, compact []byte) error {
	return save(fsys, name, Indent(compact), 0o640)
}

// Indent lays out compact JSON as fastjson's pretty format does: members with text keys on lines of their own, members
// with number keys on one line, the closing bracket on a line of its own.
//
//	{
//		"offsetTable":{
//			"T@G":{0:12,1:13
//			}
//		}
//	}
func Indent(compact []byte) []byte {
	out := make([]byte, 0, len(compact)+len(compact)/4)
	var open []byte // brackets that are open
	line := func() {
		out = append(out, '\n')
		for range open {
			out = append(out, '\t')
		}
	}
	for i := 0; i < len(compact); i++ {
		c := compact[i]
		next := byte(0)
		if i+1 < len(compact) {
			next = compact[i+1]
		}
		switch c {
		case '"':
			end := stringEnd(compact, i)
			out = append(out, compact[i:end]...)
			i = end - 1
		case '{', '[':
			out = append(out, c)
			if next == '}' || next == ']' {
				out = append(out, next)
				i++
				continue
			}
			open = append(open, c)
			if c == '[' || next == '"' {
				line()
			}
		case ',':
			out = append(out, c)
			if len(open) > 0 && (open[len(open)-1] == '[' || next == '"') {
				line()
			}
		case '}', ']':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			line()
			out = append(out, c)
		default:
			out = append(out, c)
		}
	}
	return out
}

// stringEnd is the position behind the text that begins at b[i]; the end of b when it is not closed.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}
