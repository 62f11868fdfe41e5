package vfs

// Fault is the FS of tests that must see an operation fail.

import (
	"io"
	"io/fs"
	"os"
)

// Op names one operation that passes through a Fault.
type Op struct {
	Kind string // open create mkdir remove rename readdir syncdir lock usage read write truncate zero allocate sync
	Name string
	Off  int64
	Len  int
}

// Fault passes everything on to FS, after asking Before. An error of Before is the operation's error and nothing is done.
// Before may be called from several goroutines.
type Fault struct {
	FS
	Before func(Op) error
}

func (f *Fault) ask(op Op) error {
	if f.Before == nil {
		return nil
	}
	if err := f.Before(op); err != nil {
		return &os.PathError{Op: op.Kind, Path: op.Name, Err: err}
	}
	return nil
}

func (f *Fault) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	kind := "open"
	if flag&os.O_CREATE != 0 {
		kind = "create"
	}
	if err := f.ask(Op{Kind: kind, Name: name}); err != nil {
		return nil, err
	}
	inner, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{inner, f}, nil
}

func (f *Fault) MkdirAll(dir string, perm fs.FileMode) error {
	if err := f.ask(Op{Kind: "mkdir", Name: dir}); err != nil {
		return err
	}
	return f.FS.MkdirAll(dir, perm)
}

func (f *Fault) Remove(name string) error {
	if err := f.ask(Op{Kind: "remove", Name: name}); err != nil {
		return err
	}
	return f.FS.Remove(name)
}

func (f *Fault) Rename(from, to string) error {
	if err := f.ask(Op{Kind: "rename", Name: from}); err != nil {
		return err
	}
	return f.FS.Rename(from, to)
}

func (f *Fault) ReadDir(dir string) ([]fs.DirEntry, error) {
	if err := f.ask(Op{Kind: "readdir", Name: dir}); err != nil {
		return nil, err
	}
	return f.FS.ReadDir(dir)
}

func (f *Fault) SyncDir(dir string) error {
	if err := f.ask(Op{Kind: "syncdir", Name: dir}); err != nil {
		return err
	}
	return f.FS.SyncDir(dir)
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
	if err := f.fault.ask(Op{"write", f.Name(), off, len(p)}); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fault.ask(Op{Kind: "truncate", Name: f.Name(), Off: size}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Zero(off, n int64) error {
	if err := f.fault.ask(Op{"zero", f.Name(), off, int(n)}); err != nil {
		return err
	}
	return f.File.Zero(off, n)
}

func (f *faultFile) Allocate(size int64) error {
	if err := f.fault.ask(Op{Kind: "allocate", Name: f.Name(), Off: size}); err != nil {
		return err
	}
	return f.File.Allocate(size)
}

func (f *faultFile) Sync() error {
	if err := f.fault.ask(Op{Kind: "sync", Name: f.Name()}); err != nil {
		return err
	}
	return f.File.Sync()
}
