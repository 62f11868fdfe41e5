// Files on the host. Every write is whole or not there: temporary file, fsync, rename, fsync of the directory.

package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"rmqctl/provision/step"
)

func stat(path string) (step.Info, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return step.Info{}, err
	}
	info := step.Info{Mode: st.Mode().Perm() | st.Mode().Type(), Size: st.Size()}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok {
		uid, gid := strconv.Itoa(int(sys.Uid)), strconv.Itoa(int(sys.Gid))
		info.Owner, info.Group = uid, gid
		if u, err := user.LookupId(uid); err == nil {
			info.Owner = u.Username
		}
		if g, err := user.LookupGroupId(gid); err == nil {
			info.Group = g.Name
		}
	}
	if st.Mode()&fs.ModeSymlink != 0 {
		info.Link, err = os.Readlink(path)
	}
	return info, err
}

func writeFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".rmq-*")
	if err != nil {
		return err
	}
	temp := f.Name()
	defer os.Remove(temp) // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode.Perm())
	}
	if err == nil {
		err = keepOwner(f, path)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(dir)
}

// keepOwner gives f the owner of the file it will replace.
func keepOwner(f *os.File, path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return nil // a new file
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && os.Getuid() == 0 {
		return f.Chown(int(sys.Uid), int(sys.Gid))
	}
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

func mkdir(path string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	err := os.Mkdir(path, mode.Perm())
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, mode.Perm()) // whatever the umask says
}

func remove(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// removeAll takes a whole directory away. The roots that nobody means are refused.
func removeAll(path string) error {
	if clean := filepath.Clean(path); !filepath.IsAbs(clean) || filepath.Dir(clean) == "/" || clean == "/" {
		return fmt.Errorf("remove %s: it is too near the root", path)
	}
	return os.RemoveAll(path)
}

// copyFile is a local node's upload.
func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	temp := filepath.Join(filepath.Dir(to), ".rmq-"+strconv.Itoa(os.Getpid()))
	os.Remove(temp)
	defer os.Remove(temp)
	out, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode.Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Chmod(mode.Perm())
	}
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(temp, to)
}

// appendFile adds a journal line and makes it last.
func appendFile(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, mode.Perm())
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
