// Package step is one thing that should hold on a host: how to look whether it does, and how to make it so.
//
// Looking and changing are different types. Check is given a Reader, which has no method that changes anything; only a
// Change's Apply is given a Writer. A plan is the Checks, so a plan cannot change a host by accident.
//
// Rules of writing a step: answer from an empty host (absence is a difference, not an error); take no fact from an
// earlier step's memory; Why is a phrase a human would say.
package step

import (
	"context"
	"errors"
	"io/fs"
	"time"
)

// Info is what a host says about a path.
type Info struct {
	Mode  fs.FileMode // permission bits and fs.ModeDir, fs.ModeSymlink
	Size  int64
	Owner string // user's name, or its number where it has no name
	Group string
	Link  string // where a symlink points
}

// Reader is what looking at a host may use. It has no method that changes anything.
type Reader interface {
	// ReadFile answers an error that is fs.ErrNotExist when the file is absent.
	ReadFile(path string) ([]byte, error)
	// Stat looks at the path itself and follows no link; fs.ErrNotExist when it is absent.
	Stat(path string) (Info, error)
	// Query answers the trimmed output, or an *ExitError when the command said no.
	Query(q Query) (string, error)
}

// Writer is what changing a host may use.
type Writer interface {
	Reader
	// WriteFile replaces the file whole: temporary file, fsync, rename, fsync of the directory. The owner of a file
	// that is replaced stays; that of a new one is who the agent runs as.
	WriteFile(path string, data []byte, mode fs.FileMode) error
	// Mkdir makes the directory and its missing parents (0755), and sets mode on the last one if it made it.
	Mkdir(path string, mode fs.FileMode) error
	// Remove removes a file, link or empty directory; an absent one is not an error.
	Remove(path string) error
	Run(c Command) error
}

// Uploader is a Writer that can bring a file of this machine to the host: temporary name beside the target, sha256
// verified on the host, renamed.
type Uploader interface {
	Upload(ctx context.Context, from, to, sha256 string, mode fs.FileMode) error
}

// Step is one thing that should hold on a host.
type Step interface {
	Name() string
	Check(ctx context.Context, h Reader) (*Change, error) // nil: it holds
}

// Consequence is what closing a difference costs the users of the cluster.
type Consequence int

const (
	None    Consequence = iota // nobody notices
	Reload                     // a service reads its files again
	Start                      // a service that does not run is started
	Restart                    // a running service is restarted: it goes through the roll, with its gates
)

func (c Consequence) String() string {
	return [...]string{"none", "reload", "start", "restart"}[c]
}

// Change is one difference and the way to close it. Without Apply it is an obstacle: nothing is begun while one stands.
type Change struct {
	Why         string // "content differs", "absent": what a human would say
	Diff        string // a unified diff where the thing is a file
	Consequence Consequence
	// Creates says that the thing was not there at all: from now on this cluster owns it (see Removable).
	Creates bool
	// Hint is the next thing to do about an obstacle: "stop process 4121, or choose another port".
	Hint  string
	Apply func(ctx context.Context, h Writer) error
}

// Obstacle is a difference that rmqctl does not close by itself.
func Obstacle(why, hint string) *Change { return &Change{Why: why, Hint: hint} }

// Owned names a thing on a host that this cluster created.
type Owned struct {
	Kind string `json:"kind"` // file, dir, user, group, unit, enabled, hosts, firewall, link
	Name string `json:"name"` // path, user name, unit name, "9876/tcp" …
}

// Removable is a step that destroy takes back. Only what the host's manifest lists as created by this cluster is taken
// back: the engine writes Owned to the manifest before it applies a Change with Creates set.
type Removable interface {
	Step
	Owned() Owned
	// Absent is the opposite step: its Check is nil when the thing is gone.
	Absent() Step
}

// Waiter is a step whose Apply waits for something (a port that answers, a registration). The engine looks again after
// it as after every step, and shows Within as the limit.
type Waiter interface {
	Step
	Within() time.Duration
}

// ExitError is a command that ran on the host and said no.
type ExitError struct {
	Argv   []string
	Code   int
	Stderr string
}

func (e *ExitError) Error() string {
	name := ""
	if len(e.Argv) > 0 {
		name = e.Argv[0]
	}
	if e.Stderr != "" {
		return name + ": " + e.Stderr
	}
	return name + ": exit status " + itoa(e.Code)
}

// ErrNoAgent is the answer to a question that only the agent can ask, on a host where it is not installed yet.
var ErrNoAgent = errors.New("rmqctl is not on the host yet")

// ErrNoCommand is the answer when the host does not have the program that a question needs.
var ErrNoCommand = errors.New("command not found")
