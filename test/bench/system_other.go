//go:build !linux

// Elsewhere than on Linux the benchmark runs on the machine's loopback, unpinned, and knows less of what things cost.
package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
)

func ownNetwork(context.Context) (entered bool, err error) { return false, nil }

func pin(cpus string) error {
	if cpus == "" {
		return nil
	}
	return errors.New("CPUS: this system cannot pin")
}

func idlePriority()               {}
func forget(string)               {}
func syncDisks()                  {}
func onDisk(i fs.FileInfo) int64  { return i.Size() }
func kernel() string              { return runtime.GOOS }
func dataSync(f *os.File) error   { return f.Sync() }
func dieWithParent(cmd *exec.Cmd) {}
