// A file of the operator's machine that should lie on the host.

package step

import (
	"context"
	"fmt"
	"io/fs"
	"path"
)

// Upload is a file brought to the host. It is what brings rmqctl itself, so the engine applies it before the agent runs.
type Upload struct {
	From   string // a path on this machine
	Sum    string // its sha256, in hex
	Size   int64
	To     string
	Perm   fs.FileMode
	IsSelf bool // the rmqctl binary: the engine starts the agent from To
}

// Name says what is brought where.
func (u Upload) Name() string { return "upload " + u.To }

// Check compares the hash on the host. Too little room for the file is an obstacle, so that no host is begun with.
func (u Upload) Check(_ context.Context, h Reader) (*Change, error) {
	have, err := h.Query(AskSHA256(u.To))
	if err != nil {
		return nil, fmt.Errorf("hash of %s: %w", u.To, err)
	}
	if have == u.Sum {
		return nil, nil
	}
	why := "content differs"
	if have == "" {
		why = "absent"
	}
	free, _, err := diskFree(h, path.Dir(u.To))
	if err != nil {
		return nil, err
	}
	if free < u.Size {
		return Obstacle(fmt.Sprintf("no space: %s free for %s, %s needed", Bytes(free), path.Dir(u.To), Bytes(u.Size)),
			"make room, or choose another place with install in [paths]"), nil
	}
	return &Change{Why: why, Creates: have == "", Apply: func(ctx context.Context, w Writer) error {
		up, ok := w.(Uploader)
		if !ok {
			return fmt.Errorf("upload %s: this connection carries no files", u.To)
		}
		return up.Upload(ctx, u.From, u.To, u.Sum, u.Perm)
	}}, nil
}

// Owned is the file.
func (u Upload) Owned() Owned { return Owned{Kind: "file", Name: u.To} }

// Absent removes it.
func (u Upload) Absent() Step { return absentFile{u.To} }

// absentFile is a file that should not be there.
type absentFile struct{ path string }

func (a absentFile) Name() string { return "no " + a.path }

func (a absentFile) Check(_ context.Context, h Reader) (*Change, error) {
	have, err := h.Query(AskSHA256(a.path))
	if err != nil || have == "" {
		return nil, err
	}
	return &Change{Why: "still there", Apply: func(_ context.Context, w Writer) error { return w.Remove(a.path) }}, nil
}
