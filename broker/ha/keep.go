// What is cut off a slave's log is kept aside first.

package ha

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"rmqctl/internal/vfs"
)

// KeepTail copies the bytes [from, to) of a log to lost+found under dir and returns the file. They are on disk when it
// returns. The file is raw bytes of a commit log: its name says where they began.
func KeepTail(fsys vfs.FS, dir string, log interface {
	ReadLog(off int64, buf []byte) (int, error)
}, from, to int64) (file string, err error) {
	lost := filepath.Join(dir, "lost+found")
	if err := vfs.MakeDirs(fsys, lost, 0o755); err != nil {
		return "", err
	}
	f, err := newFile(fsys, filepath.Join(lost, fmt.Sprintf("cut-off-%020d", from)))
	if err != nil {
		return "", err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			_ = fsys.Remove(f.Name())
			file, err = "", fmt.Errorf("keep %d bytes of the log at %d: %w", to-from, from, err)
		}
	}()
	buf := make([]byte, 1<<20)
	for at := from; at < to; {
		n, err := log.ReadLog(at, buf[:min(int64(len(buf)), to-at)])
		if err == nil && n == 0 {
			err = fmt.Errorf("the log ends at %d", at)
		}
		if err != nil {
			return "", err
		}
		if _, err := f.WriteAt(buf[:n], at-from); err != nil {
			return "", err
		}
		at += int64(n)
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	return f.Name(), fsys.SyncDir(lost)
}

// newFile makes name, or name.1 and so on: what was kept before stays.
func newFile(fsys vfs.FS, name string) (vfs.File, error) {
	for n := 0; ; n++ {
		to := name
		if n > 0 {
			to = fmt.Sprintf("%s.%d", name, n)
		}
		f, err := fsys.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o640)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}
