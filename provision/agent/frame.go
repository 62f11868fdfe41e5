// Package agent does the work on a host: one process behind one SSH session (or a child of this machine for local
// nodes), asked over its standard input. It listens on nothing and leaves nothing behind; when its input ends it
// finishes the operation it is in, gives back the lock and exits.
//
// The bytes, both ways:
//
//	| length 4 big-endian | JSON |
//
// The agent speaks first, with a hello; so a client that waits for it never feeds sudo's password prompt.
package agent

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"rmqctl/provision/step"
)

// maxFrame bounds a frame: configuration files, logs and one RocketMQ frame fit.
const maxFrame = 32 << 20

// Version of the protocol. Client and agent are the same file, so it differs only after a botched upgrade.
const protoVersion = 1

// Hello is the agent's first word.
type Hello struct {
	Proto    int    `json:"proto"`
	Version  string `json:"version"`
	PID      int    `json:"pid"`
	UID      int    `json:"uid"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Hostname string `json:"hostname"`
	Millis   int64  `json:"millis"` // the host's clock
}

// request is one thing to do.
type request struct {
	ID    int64    `json:"id"`
	Op    string   `json:"op"`
	Path  string   `json:"path,omitempty"`
	Argv  []string `json:"argv,omitempty"`
	Data  []byte   `json:"data,omitempty"`
	Mode  uint32   `json:"mode,omitempty"`
	Addr  string   `json:"addr,omitempty"`
	Addrs []string `json:"addrs,omitempty"`
	Limit int64    `json:"limit,omitempty"` // milliseconds
}

// response answers the request of the same ID. More says that another one with this ID follows.
type response struct {
	ID    int64      `json:"id"`
	Hello *Hello     `json:"hello,omitempty"`
	Text  string     `json:"text,omitempty"`
	Data  []byte     `json:"data,omitempty"`
	Info  *step.Info `json:"info,omitempty"`
	More  bool       `json:"more,omitempty"`
	Err   *wireError `json:"err,omitempty"`
}

// wireError carries the errors that a step tells apart.
type wireError struct {
	Kind   string   `json:"kind"` // absent, exit, command, locked, other
	Text   string   `json:"text"`
	Argv   []string `json:"argv,omitempty"`
	Code   int      `json:"code,omitempty"`
	Stderr string   `json:"stderr,omitempty"`
	Holder *Holder  `json:"holder,omitempty"`
}

// writeFrame is called by one goroutine at a time.
func writeFrame(w io.Writer, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(body) > maxFrame {
		return fmt.Errorf("frame of %d bytes is too long", len(body))
	}
	b := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(b, uint32(len(body)))
	_, err = w.Write(append(b, body...))
	return err
}

// readFrame reads one frame into v. A clean end before a frame is io.EOF.
func readFrame(r io.Reader, v any) error {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > maxFrame {
		return fmt.Errorf("frame of %d bytes is too long", n)
	}
	body := make([]byte, 0, min(n, 64<<10)) // a lying length costs nothing
	for uint32(len(body)) < n {
		k := min(n-uint32(len(body)), 1<<20)
		at := len(body)
		body = append(body, make([]byte, k)...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
	return json.Unmarshal(body, v)
}
