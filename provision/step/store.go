// What must be true of a disk and of a store before a broker works there.

package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
)

// DiskSpace is room for a store that does not exist yet. Too little is an obstacle. A store that is there already is let
// be: its own retention looks after it.
type DiskSpace struct {
	Path string
	Need int64 // bytes
}

// brokerRefuses is the share of a disk in use from which a broker takes no messages (diskSpaceWarningLevelRatio).
const brokerRefuses = 90

// Name says what it is.
func (d DiskSpace) Name() string { return "room in " + d.Path }

// Check asks for the free space of the file system.
func (d DiskSpace) Check(_ context.Context, h Reader) (*Change, error) {
	there, err := h.Query(AskList(path.Join(d.Path, "commitlog")))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.Path, err)
	}
	if there != "" {
		return nil, nil
	}
	free, total, err := diskFree(h, d.Path)
	if err != nil {
		return nil, err
	}
	switch used := 100 - free*100/total; {
	case free < d.Need:
		return Obstacle(fmt.Sprintf("no space: %s free for %s, %s needed", Bytes(free), d.Path, Bytes(d.Need)),
			"make room, choose another place with data in [paths], or a smaller mappedFileSizeCommitLog"), nil
	case used >= brokerRefuses:
		return Obstacle(fmt.Sprintf("no space: the disk of %s is %d%% full, and a broker takes no messages from %d%%", d.Path, used, brokerRefuses),
			"make room, or choose another place with data in [paths]"), nil
	}
	return nil, nil
}

// diskFree asks for the file system that holds path, or will hold it.
func diskFree(h Reader, path string) (free, total int64, err error) {
	out, err := h.Query(AskDiskFree(path))
	if err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	if _, err := fmt.Sscan(out, &free, &total); err != nil || total <= 0 {
		return 0, 0, fmt.Errorf("free space of %s: unexpected answer %q", path, out)
	}
	return free, total, nil
}

// Bytes is a size for people.
func Bytes(n int64) string {
	f, unit := float64(n), 0
	for f >= 1024 && unit < 4 {
		f /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %ciB", f, " KMGT"[unit])
}

// IdentityFile lies in every store and says whose it is.
const IdentityFile = ".rmqctl-store.json"

// StoreIdentity is a store that belongs to one broker of one cluster. A store with another broker's messages is an
// obstacle: two brokers in one store would mix two logs.
type StoreIdentity struct {
	Dir          string
	Owner, Group string
	Cluster      string
	Broker       string
	ID           int64
}

type identity struct {
	Cluster string `json:"cluster"`
	Broker  string `json:"broker"`
	ID      int64  `json:"id"`
}

func (i identity) String() string {
	return fmt.Sprintf("%s[%d] of cluster %s", i.Broker, i.ID, i.Cluster)
}

func (s StoreIdentity) identity() identity { return identity{s.Cluster, s.Broker, s.ID} }

// Name says what it is.
func (s StoreIdentity) Name() string { return s.Dir + " belongs to " + s.Broker }

// Check reads the identity file, and where there is none the topics that RocketMQ itself keeps in a store.
func (s StoreIdentity) Check(_ context.Context, h Reader) (*Change, error) {
	file := path.Join(s.Dir, IdentityFile)
	text, exists, err := readText(h, file)
	if err != nil {
		return nil, err
	}
	if exists {
		var have identity
		if err := json.Unmarshal([]byte(text), &have); err != nil {
			return Obstacle(file+" is damaged", "look at the store, then remove that file"), nil
		}
		if have == s.identity() {
			return nil, nil
		}
		return s.foreign(have.String()), nil
	}
	list, err := h.Query(AskList(path.Join(s.Dir, "commitlog")))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s.Dir, err)
	}
	if list != "" {
		if o, err := s.adopt(h); o != nil || err != nil {
			return o, err
		}
	}
	body, err := json.Marshal(s.identity())
	if err != nil {
		return nil, fmt.Errorf("identity of %s: %w", s.Dir, err)
	}
	return &Change{Why: "not marked yet", Apply: func(ctx context.Context, w Writer) error {
		return File{Path: file, Content: append(body, '\n'), Owner: s.Owner, Group: s.Group, Mode: 0o640}.write(ctx, w)
	}}, nil
}

// adopt judges a store without identity file: a broker keeps a topic of its own name there, and one of its cluster's.
func (s StoreIdentity) adopt(h Reader) (*Change, error) {
	text, _, err := readText(h, path.Join(s.Dir, "config/topics.json"))
	if err != nil {
		return nil, err
	}
	if !strings.Contains(text, `"`+s.Broker+`"`) {
		return s.foreign("an unknown broker"), nil
	}
	if !strings.Contains(text, `"`+s.Cluster+`"`) {
		return s.foreign(s.Broker + " of another cluster"), nil
	}
	return nil, nil
}

func (s StoreIdentity) foreign(whose string) *Change {
	return Obstacle(fmt.Sprintf("the store in %s holds messages of %s, not of %s", s.Dir, whose, s.identity()),
		"move it away, or choose another directory with member.NODE.store")
}

// SystemdRuns is a host whose services systemd runs. Another init system is an obstacle.
type SystemdRuns struct{}

// Name says what it is.
func (SystemdRuns) Name() string { return "systemd" }

// Check asks for its version.
func (SystemdRuns) Check(_ context.Context, h Reader) (*Change, error) {
	out, err := h.Query(AskSystemdVersion())
	var no *ExitError
	if err != nil && !errors.As(err, &no) && !errors.Is(err, ErrNoCommand) {
		return nil, fmt.Errorf("ask for systemd: %w", err)
	}
	if err == nil && strings.HasPrefix(out, "systemd") {
		return nil, nil
	}
	return Obstacle("systemd does not run here", `set supervisor = "builtin" in [service]`), nil
}

// Linux is a host that the binary can run on. Anything else is an obstacle.
type Linux struct{}

// Name says what it is.
func (Linux) Name() string { return "operating system" }

// Check asks for it.
func (Linux) Check(_ context.Context, h Reader) (*Change, error) {
	out, err := h.Query(AskUname())
	if err != nil {
		return nil, fmt.Errorf("ask for the operating system: %w", err)
	}
	if strings.HasPrefix(out, "Linux ") {
		return nil, nil
	}
	return Obstacle("this is "+out+", and brokers are deployed on Linux", `for a try on this machine, use connection = "local"`), nil
}
