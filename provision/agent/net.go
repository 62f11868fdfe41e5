// The network as the host sees it: dialling, listening for the reachability matrix, and one RocketMQ frame there and
// back, so that a cluster whose firewall shuts the operator out can be asked all the same.

package agent

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dial tells how the host fares when it opens a connection: "ok", "refused", "timeout", "no-route: …".
func dial(ctx context.Context, addr, millis string) (string, error) {
	ms, _ := strconv.Atoi(millis)
	if ms <= 0 {
		ms = 3000
	}
	d := net.Dialer{Timeout: time.Duration(ms) * time.Millisecond}
	c, err := d.DialContext(ctx, "tcp", addr)
	var ne net.Error
	switch {
	case err == nil:
		return "ok", c.Close()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "refused", nil
	case errors.As(err, &ne) && ne.Timeout():
		return "timeout", nil
	}
	return "no-route: " + err.Error(), nil
}

const maxRemoting = 16 << 20

// exchange sends one RocketMQ frame and returns the answer, length field included. A frame is
//
//	| length 4 | encoding 1, header length 3 | header | body |     length counts what follows it
func exchange(ctx context.Context, addr string, frame []byte, limit time.Duration) ([]byte, error) {
	if limit == 0 {
		limit = 3 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if _, err := c.Write(frame); err != nil {
		return nil, fmt.Errorf("send to %s: %w", addr, err)
	}
	for {
		b, err := readRemoting(c)
		if err != nil {
			if ctx.Err() != nil {
				err = os.ErrDeadlineExceeded
			}
			return nil, fmt.Errorf("answer of %s: %w", addr, err)
		}
		if isAnswer(b) { // a broker may ask its clients things; we are none
			return b, nil
		}
	}
}

func readRemoting(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 4 || n > maxRemoting {
		return nil, fmt.Errorf("a frame of %d bytes", n)
	}
	b := make([]byte, 4+n)
	copy(b, head[:])
	_, err := io.ReadFull(r, b[4:])
	return b, err
}

// isAnswer looks at bit 0 of the flag, in either encoding. In doubt it is one.
func isAnswer(b []byte) bool {
	head, ok := frameHead(b)
	if !ok {
		return true
	}
	if b[4] != 0 { // binary: code 2, language 1, version 2, opaque 4, flag 4
		return len(head) < 13 || head[12]&1 == 1
	}
	_, after, ok := strings.Cut(string(head), `"flag":`)
	if !ok {
		return true
	}
	after = strings.TrimLeft(after, " ")
	n := 0
	for n < len(after) && after[n] >= '0' && after[n] <= '9' {
		n++
	}
	flag, err := strconv.Atoi(after[:n])
	return err != nil || flag&1 == 1
}

func frameHead(b []byte) ([]byte, bool) {
	if len(b) < 8 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint32(b[4:8]) & 0xffffff)
	if len(b) < 8+n {
		return nil, false
	}
	return b[8 : 8+n], true
}

func frameBody(b []byte) string {
	head, ok := frameHead(b)
	if !ok {
		return ""
	}
	return string(b[8+len(head):])
}

// listen opens ports for the reachability matrix. It answers one line per address that could not be opened, with the
// reason; "in use" is no fault, since then something answers there.
func (s *server) listen(addrs []string) (string, error) {
	var bad []string
	for _, a := range addrs {
		ln, err := net.Listen("tcp", a)
		if errors.Is(err, syscall.EADDRNOTAVAIL) { // the address is translated on the way to this host
			if _, port, serr := net.SplitHostPort(a); serr == nil {
				ln, err = net.Listen("tcp", ":"+port)
			}
		}
		if err != nil {
			if !errors.Is(err, syscall.EADDRINUSE) {
				bad = append(bad, a+" "+err.Error())
			}
			continue
		}
		s.mu.Lock()
		s.probes = append(s.probes, ln)
		s.mu.Unlock()
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				c.Close()
			}
		}()
		context.AfterFunc(s.ctx, func() { ln.Close() })
	}
	return strings.Join(bad, "\n"), nil
}

func (s *server) unlisten() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.probes {
		p.Close()
	}
	s.probes = nil
}
