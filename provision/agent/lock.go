// One run at a time per cluster and host. The lock is the kernel's: it goes when the process goes, however it dies.

package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// Holder is who holds a lock.
type Holder struct {
	Run     string `json:"run"`
	User    string `json:"user"`
	Host    string `json:"host"`
	PID     int    `json:"pid"`
	Command string `json:"command"`
	Since   int64  `json:"since"` // unix seconds
}

func (h Holder) String() string {
	return fmt.Sprintf("%s@%s (process %d, `%s`, since %s)", h.User, h.Host, h.PID, h.Command, time.Unix(h.Since, 0).Format("2006-01-02 15:04:05"))
}

// LockedError says that another run holds the lock.
type LockedError struct {
	Path   string
	Holder Holder
}

func (e *LockedError) Error() string { return "held by " + e.Holder.String() }

func (s *server) lock(path string, holder []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[path] != nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		e := &LockedError{Path: path}
		if b, rerr := io.ReadAll(f); rerr == nil {
			_ = json.Unmarshal(b, &e.Holder) // an empty holder is shown as such
		}
		return e
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = f.WriteAt(holder, 0)
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("lock %s: %w", path, err)
	}
	s.held[path] = f
	return nil
}

func (s *server) unlock(path string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.held[path]
	if f == nil {
		return nil
	}
	delete(s.held, path)
	f.Truncate(0)
	return f.Close()
}
