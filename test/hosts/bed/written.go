//go:build linux

// What a node wrote: its own layer, file by file, for comparing a host before and after.
package bed

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Written maps every path the node has written, removed or changed since it was made to what is there now: type, mode, owner and
// digest. A path that again holds exactly what the image holds is left out, so two equal results mean two equal disks.
func (n *Node) Written() (map[string]string, error) {
	upper := filepath.Join(n.dir, "upper")
	found := map[string]string{}
	err := filepath.WalkDir(upper, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a running host removes files while we look
		}
		if err != nil || path == upper {
			return err
		}
		rel, _ := filepath.Rel(upper, path)
		now, err := describe(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if was, err := describe(filepath.Join(n.bed.image, rel)); err == nil && was == now {
			return nil
		}
		found["/"+rel] = now
		return nil
	})
	return found, err
}

func describe(path string) (string, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return "", err
	}
	st := info.Sys().(*syscall.Stat_t)
	text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	switch {
	case info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0:
		return "removed", nil // an overlay's way to say so
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		return text + " -> " + target, err
	case info.Mode().IsRegular():
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close()
		sum := sha256.New()
		size, err := io.Copy(sum, io.LimitReader(f, 64<<20)) // enough to tell stores apart
		return fmt.Sprintf("%s %d bytes %x", text, size, sum.Sum(nil)[:8]), err
	}
	return text, nil
}
