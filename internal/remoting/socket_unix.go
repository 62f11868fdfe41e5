//go:build unix

// The socket of a connection, used without waiting where it is a real one: a
// read holds no buffer while there is nothing to read, a write takes what the
// kernel takes at once.
package remoting

import (
	"io"
	"net"
	"syscall"
)

type socket struct {
	nc   net.Conn
	raw  syscall.RawConn // nil for connections that are no sockets
	wbuf *buffer         // belongs to the one who writes

	rbuf    *buffer
	rat, rn int
	rerr    error
	readFn  func(fd uintptr) bool

	wb      []byte
	wn      int
	werr    error
	writeFn func(fd uintptr) bool
}

func (s *socket) init(nc net.Conn) {
	s.nc = nc
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	s.raw = raw
	s.readFn = s.readReady
	s.writeFn = s.writeOnce
}

// read waits for bytes and puts them at buf.b[at:]. buf may be nil, with at 0:
// then a buffer is taken when the bytes are there.
func (s *socket) read(buf *buffer, at int) (*buffer, int, error) {
	if s.raw == nil {
		if buf == nil {
			buf = readBuffers.Get().(*buffer)
		}
		n, err := s.nc.Read(buf.b[at:])
		return buf, n, err
	}
	s.rbuf, s.rat, s.rn, s.rerr = buf, at, 0, nil
	err := s.raw.Read(s.readFn)
	if err == nil {
		err = s.rerr
	}
	buf, s.rbuf = s.rbuf, nil
	return buf, s.rn, err
}

func (s *socket) readReady(fd uintptr) bool {
	mine := s.rbuf == nil
	if mine {
		s.rbuf = readBuffers.Get().(*buffer)
	}
	for {
		n, err := syscall.Read(int(fd), s.rbuf.b[s.rat:])
		switch err {
		case nil:
			if s.rn = n; n == 0 {
				s.rerr = io.EOF
			}
			return true
		case syscall.EINTR:
		case syscall.EAGAIN:
			if mine {
				readBuffers.Put(s.rbuf)
				s.rbuf = nil
			}
			return false
		default:
			s.rerr = err
			return true
		}
	}
}

// tryWrite writes what the peer takes without waiting.
func (s *socket) tryWrite(b []byte) (int, error) {
	if s.raw == nil {
		return 0, nil
	}
	s.wb, s.wn, s.werr = b, 0, nil
	err := s.raw.Write(s.writeFn)
	if err == nil {
		err = s.werr
	}
	s.wb = nil
	return s.wn, err
}

func (s *socket) writeOnce(fd uintptr) bool {
	for s.wn < len(s.wb) {
		n, err := syscall.Write(int(fd), s.wb[s.wn:])
		switch err {
		case nil:
			s.wn += n
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			s.werr = err
			return true
		}
	}
	return true
}
