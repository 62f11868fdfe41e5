package vfs

// Fault is the FS of tests that must see an operation fail.

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// Op names one operation that passes through a Fault.
type Op struct {
	Kind string // open create mkdir remove removeall rename readdir syncdir lock usage read write truncate zero allocate sync
	Name string
	Off  int64
	Len  int
}

// Fault passes everything on to FS, after asking Before. An error of Before is the operation's error and nothing is done,
// except for a Short write. After is asked when the operation has succeeded, and may make it fail all the same. Both may be
// called from several goroutines.
type Fault struct {
	FS
	Before func(Op) error
	After  func(Op) error
}

// Short is the error of a write that gets only its first N bytes into the file.
type Short struct {
	N   int
	Err error
}

func (s *Short) Error() string { return s.Err.Error() }
func (s *Short) Unwrap() error { return s.Err }

func (f *Fault) ask(op Op) error { return wrap(f.Before, op) }

func (f *Fault) tell(op Op, err error) error {
	if err != nil {
		return err
	}
	return wrap(f.After, op)
}

func wrap(ask func(Op) error, op Op) error {
	if ask == nil {
		return nil
	}
	if err := ask(op); err != nil {
		return &os.PathError{Op: op.Kind, Path: op.Name, Err: err}
	}
	return nil
}

// do runs one operation that changes something.
func (f *Fault) do(op Op, run func() error) error {
	if err := f.ask(op); err != nil {
		return err
	}
	return f.tell(op, run())
}

func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	op := Op{Kind: "open", Name: name}
	if flag&os.O_CREATE != 0 {
		op.Kind = "create"
	}
	if err := f.ask(op); err != nil {
		return nil, err
	}
	inner, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	if err := f.tell(op, nil); err != nil {
		inner.Close()
		return nil, err
	}
	return &faultFile{inner, f}, nil
}

func (f *Fault) MkdirAll(dir string, perm fs.FileMode) error {
	return f.do(Op{Kind: "mkdir", Name: dir}, func() error { return f.FS.MkdirAll(dir, perm) })
}

func (f *Fault) Remove(name string) error {
	return f.do(Op{Kind: "remove", Name: name}, func() error { return f.FS.Remove(name) })
}

func (f *Fault) RemoveAll(name string) error {
	return f.do(Op{Kind: "removeall", Name: name}, func() error { return f.FS.RemoveAll(name) })
}

func (f *Fault) Rename(from, to string) error {
	return f.do(Op{Kind: "rename", Name: from}, func() error { return f.FS.Rename(from, to) })
}

func (f *Fault) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.ask(Op{Kind: "readdir", Name: dir}); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(dir)
}

func (f *Fault) SyncDir(dir string) error {
	return f.do(Op{Kind: "syncdir", Name: dir}, func() error { return f.FS.SyncDir(dir) })
}

func (f *Fault) Lock(name string) (io.Closer, error) {
	if err := f.ask(Op{Kind: "lock", Name: name}); err != nil {
		return nil, err
	}
	return f.FS.Lock(name)
}

func (f *Fault) DiskUsage(path string) (total, free int64, err error) {
	if err := f.ask(Op{Kind: "usage", Name: path}); err != nil {
		return 0, 0, err
	}
	return f.FS.DiskUsage(path)
}

type faultFile struct {
	File
	fault *Fault
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fault.ask(Op{"read", f.Name(), off, len(p)}); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	op := Op{"write", f.Name(), off, len(p)}
	if err := f.fault.ask(op); err != nil {
		if short := new(Short); errors.As(err, &short) {
			n, _ := f.File.WriteAt(p[:min(max(short.N, 0), len(p))], off)
			return n, err
		}
		return 0, err
	}
	n, err := f.File.WriteAt(p, off)
	return n, f.fault.tell(op, err)
}

func (f *faultFile) Truncate(size int64) error {
	return f.fault.do(Op{Kind: "truncate", Name: f.Name(), Off: size}, func() error { return f.File.Truncate(size) })
}

func (f *faultFile) Zero(off, n int64) error {
	return f.fault.do(Op{"zero", f.Name(), off, int(n)}, func() error { return f.File.Zero(off, n) })
}

func (f *faultFile) Allocate(size int64) error {
	return f.fault.do(Op{Kind: "allocate", Name: f.Name(), Off: size}, func() error { return f.File.Allocate(size) })
}

func (f *faultFile) Sync() error {
	return f.fault.do(Op{Kind: "sync", Name: f.Name()}, f.File.Sync)
}
