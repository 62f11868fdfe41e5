package segment

// What lies in a directory: segments, files that were not finished, strangers.

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
)

// making ends the name of a file that is not finished.
const making = ".making"

// RemoveHalfMade removes what CreateDurable left when it was interrupted.
func (c *Cache) RemoveHalfMade(dir string) error {
	parent, name := filepath.Split(filepath.Clean(dir))
	entries, err := c.FS.ReadDir(filepath.Clean(parent))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+".") && strings.HasSuffix(e.Name(), making) {
			if err := c.FS.Remove(filepath.Join(parent, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// ErrLength: a segment has another length than configured.
var ErrLength = errors.New("segment: unexpected file length")

// List finds the segments in dir, sorted. Names that are no segment's are left alone and returned in strangers. A last
// file that is empty (a crash between creation and growth) is grown, and so is one that is too short beside one of the right
// length: what it has lost reads as zeros. Any other length is ErrLength.
func (c *Cache) List(dir string, size int64) (files []*File, strangers []string, err error) {
	return c.list(dir, size, false)
}

// ListUnsynced is List after a crash, for files that were not synced when they were made: a short one has its full length
// coming to it, and nobody is told.
func (c *Cache) ListUnsynced(dir string, size int64) (files []*File, err error) {
	files, _, err = c.list(dir, size, true)
	return files, err
}

func (c *Cache) list(dir string, size int64, unsynced bool) (files []*File, strangers []string, err error) {
	entries, err := c.FS.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	lengths := map[int64]int64{}
	for _, e := range entries {
		base, perr := strconv.ParseInt(e.Name(), 10, 64)
		if e.IsDir() || perr != nil || base < 0 || e.Name() != Name(base) {
			strangers = append(strangers, e.Name())
			continue
		}
		info, err := e.Info()
		if err != nil {
			return nil, nil, err
		}
		lengths[base] = info.Size()
		files = append(files, c.Known(dir, base, size))
	}
	sort.Slice(files, func(i, j int) bool { return files[i].base < files[j].base })
	if err := c.grow(files, lengths, size, unsynced); err != nil {
		return nil, nil, err
	}
	return files, strangers, nil
}

// grow gives short files their length, when it is clear what that is.
func (c *Cache) grow(files []*File, lengths map[int64]int64, size int64, unsynced bool) error {
	sure := unsynced
	for _, n := range lengths {
		sure = sure || n == size
	}
	for i, f := range files {
		n := lengths[f.base]
		if n == size && f.base%size == 0 {
			continue
		}
		last := i == len(files)-1
		if n > size || f.base%size != 0 || !sure && (n > 0 || !last) {
			return fmt.Errorf("%w: %s has %d bytes at offset %d, segments are configured as %d bytes", ErrLength, f.path, n, f.base, size)
		}
		if err := f.grow(); err != nil {
			return err
		}
		if tell := c.Short; tell != nil && !unsynced && (n > 0 || !last) {
			tell(f.path, n)
		}
	}
	return nil
}

func (s *File) grow() error {
	f, err := s.acquire()
	if err != nil {
		return err
	}
	defer s.release()
	return f.Truncate(s.size)
}
