package vfs

// One sync for many files.

import "io"

// Whole puts everything that was written to one file system on its disk, names included.
type Whole interface {
	Sync() error
	io.Closer
}

// OpenWhole gives the Whole of the file system that dir lies on, or nil where there is none: then every file and every
// directory has to be synced. It must be opened before what it is to vouch for is written: errors are reported to
// descriptors that were open when they happened.
func OpenWhole(fsys FS, dir string) (Whole, error) {
	if f, ok := fsys.(interface{ openWhole(string) (Whole, error) }); ok {
		return f.openWhole(dir)
	}
	return nil, nil
}
