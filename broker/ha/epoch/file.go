// The list on disk, in the store's directory: rmqctl-epochs.json, kept by internal/jsonfile.

package epoch

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"rmqctl/internal/jsonfile"
	"rmqctl/internal/vfs"
)

// FileName is the file in the store's directory.
const FileName = "rmqctl-epochs.json"

// ErrOld: a mastership may not begin at an epoch below one that is known.
var ErrOld = errors.New("the epoch is older than one this log has seen")

// File is a list that is on disk before a method returns.
type File struct {
	fs   vfs.FS
	name string

	mu   sync.Mutex // guards all below
	list List
	high int64  // the highest epoch seen, also of entries that are cut off
	boot string // the system under which the last mastership began
	now  string
}

type stored struct {
	Epoch   int64         `json:"epoch"`
	Boot    string        `json:"boot,omitempty"`
	Entries []storedEntry `json:"entries"`
}

type storedEntry struct {
	Epoch int64  `json:"epoch"`
	Life  string `json:"life"` // hexadecimal: other readers of JSON round such numbers
	Start int64  `json:"start"`
}

// Open reads the list in a store's directory; none is an empty list.
func Open(fsys vfs.FS, dir string) (*File, error) {
	f := &File{fs: fsys, name: filepath.Join(dir, FileName)}
	_, err := jsonfile.Load(fsys, f.name, f.decode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (f *File) decode(b []byte) error {
	var s stored
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	list := make(List, 0, len(s.Entries))
	for _, e := range s.Entries {
		life, err := strconv.ParseUint(e.Life, 16, 64)
		if err != nil {
			return fmt.Errorf("%w: life %q", ErrList, e.Life)
		}
		list = append(list, Entry{e.Epoch, life, e.Start})
	}
	if err := list.Check(); err != nil {
		return err
	}
	f.list, f.high, f.boot = list, max(s.Epoch, list.Last().Epoch), s.Boot
	return nil
}

// List is the list now; the caller does not change it.
func (f *File) List() List {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.list
}

// Epoch is the highest epoch this log has seen; 0 is none.
func (f *File) Epoch() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.high
}

// Booted takes the name of the running system, which is kept by the next Lead and by nothing before it, and returns the one
// under which the last mastership began: another one means that the host has gone down since.
func (f *File) Booted(now string) (before string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = now
	return f.boot
}

// Lead begins a mastership at the end of the log, before the first message of it is taken.
func (f *File) Lead(epoch int64, life uint64, end int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch < f.high {
		return fmt.Errorf("%w: %d after %d", ErrOld, epoch, f.high)
	}
	before := f.boot
	f.boot = f.now
	err := f.save(f.list.Lead(epoch, life, end), epoch)
	if err != nil {
		f.boot = before
	}
	return err
}

// Adopt takes a master's list, before the first byte it sends. The log is, up to its end, a beginning of the master's.
func (f *File) Adopt(list List) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if slices.Equal(f.list, list) {
		return nil
	}
	return f.save(slices.Clone(list), max(f.high, list.Last().Epoch))
}

// Foreign notes that what follows end comes from who does not tell its history.
func (f *File) Foreign(end int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	list := f.list.Cut(end)
	if list.Last().Life != 0 {
		list = f.list.Lead(list.Last().Epoch, 0, end)
	}
	if slices.Equal(f.list, list) {
		return nil
	}
	return f.save(list, f.high)
}

// save puts a list on disk before it counts.
func (f *File) save(list List, high int64) error {
	s := stored{Epoch: high, Boot: f.boot, Entries: make([]storedEntry, len(list))}
	for i, e := range list {
		s.Entries[i] = storedEntry{e.Epoch, strconv.FormatUint(e.Life, 16), e.Start}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := jsonfile.Save(f.fs, f.name, b); err != nil {
		return err
	}
	f.list, f.high = list, high
	return nil
}
