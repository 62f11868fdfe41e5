package inspect

// Looking without leaving a trace: files are opened for reading and, where the system allows it, without a new access time;
// the lock is taken on what is there.

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"rmqctl/internal/vfs"
)

// quietFS opens files so that reading them changes nothing.
type quietFS struct{ vfs.FS }

// quiet wraps the real file system; others keep no access times.
func quiet(fsys vfs.FS) vfs.FS {
	if fsys == vfs.OS {
		return quietFS{fsys}
	}
	return fsys
}

func (q quietFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if flag != os.O_RDONLY {
		return q.FS.OpenFile(name, flag, perm)
	}
	f, err := q.FS.OpenFile(name, flag|noAtime, perm)
	if errors.Is(err, fs.ErrPermission) && noAtime != 0 { // only the owner may ask for it
		return q.FS.OpenFile(name, flag, perm)
	}
	return f, err
}

func (q quietFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|noAtime, 0)
	if err != nil {
		return q.FS.ReadDir(name)
	}
	defer f.Close()
	list, err := f.ReadDir(-1)
	slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// readLock keeps brokers out while we look. A store without a lock file was never opened: then there is nothing to take.
func readLock(fsys vfs.FS, name string) (io.Closer, error) {
	if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return nopCloser{}, nil
	}
	var l io.Closer
	var err error
	if fsys == vfs.OS {
		l, err = sharedLock(name)
	} else {
		l, err = fsys.Lock(name)
	}
	if errors.Is(err, vfs.ErrLocked) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, name)
	}
	return l, err
}

type nopCloser struct{}

func (nopCloser) Close() error { return nil }
