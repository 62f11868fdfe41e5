// The disk: how fast it is today, and waiting until it has nothing to do.
package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rmqctl/internal/load"
)

// dirSize is what the files below dir take on disk.
func dirSize(dir string) (n int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				n += onDisk(info)
			}
		}
		return nil
	})
	return n
}

// quiet syncs the disks and waits until the machine has next to nothing to do, for a while.
func (b *bench) quiet(ctx context.Context) {
	syncDisks()
	for late := time.Now().Add(b.s.Quiet); time.Now().Before(late) && ctx.Err() == nil; {
		from := load.TakeUsage()
		time.Sleep(200 * time.Millisecond)
		to := load.TakeUsage()
		if float64(to.Busy-from.Busy) < 0.1*float64(to.Total-from.Total) {
			return
		}
	}
}

// writeTime is how long a KiB takes to write into the page cache: where no file had it before, and over what was just written.
// On a virtual machine whose host takes free memory back the first is ten times the second, for everybody, and hides what
// the brokers themselves cost.
func writeTime(dir string) (fresh, again time.Duration, err error) {
	f, err := os.CreateTemp(dir, "write")
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 64<<10)
	const blocks = 8192
	pass := func() (time.Duration, error) {
		begun := time.Now()
		for i := range int64(blocks) {
			if _, err := f.WriteAt(block, i*int64(len(block))); err != nil {
				return 0, err
			}
		}
		return time.Since(begun) / (blocks * 64), nil
	}
	if fresh, err = pass(); err != nil {
		return 0, 0, err
	}
	again, err = pass()
	return fresh, again, err
}

// syncTime is the median time of an fdatasync after 4 KiB were written, over blocks that were written before and behind
// the end of the file.
func syncTime(dir string) (over, grow time.Duration, err error) {
	f, err := os.CreateTemp(dir, "sync")
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, 4096)
	const blocks = 500
	pass := func() (time.Duration, error) {
		var took []time.Duration
		for i := range int64(blocks) {
			if _, err := f.WriteAt(block, i*4096); err != nil {
				return 0, err
			}
			begun := time.Now()
			if err := dataSync(f); err != nil {
				return 0, err
			}
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[len(took)/2], nil
	}
	if grow, err = pass(); err != nil {
		return 0, 0, err
	}
	over, err = pass()
	return over, grow, err
}
