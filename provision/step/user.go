// The user that the processes run as.

package step

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Group is a system group.
type Group struct{ Group string }

// Name says what it is.
func (g Group) Name() string { return "group " + g.Group }

// Check looks into the group database.
func (g Group) Check(_ context.Context, h Reader) (*Change, error) {
	_, there, err := entry(h, AskGroup(g.Group))
	if err != nil || there {
		return nil, err
	}
	return &Change{Why: "absent", Creates: true, Apply: func(_ context.Context, w Writer) error {
		return w.Run(Cmd("groupadd", "--system", g.Group))
	}}, nil
}

// Owned is the group.
func (g Group) Owned() Owned { return Owned{Kind: "group", Name: g.Group} }

// Absent removes it.
func (g Group) Absent() Step {
	return gone{"group " + g.Group, AskGroup(g.Group), Cmd("groupdel", g.Group)}
}

// User is a system user without login and without home.
type User struct{ User, Group string }

// Name says what it is.
func (u User) Name() string { return "user " + u.User }

// Check looks into the user database. A user that is there already is taken as it is, unless it is root.
func (u User) Check(_ context.Context, h Reader) (*Change, error) {
	line, there, err := entry(h, AskPasswd(u.User))
	switch {
	case err != nil:
		return nil, err
	case there && uid(line) == "0":
		return Obstacle("user "+u.User+" is root", "choose another run_as"), nil
	case there:
		return nil, nil
	}
	return &Change{Why: "absent", Creates: true, Apply: func(_ context.Context, w Writer) error {
		shell := "/bin/false"
		if p, err := w.Query(AskWhich("nologin")); err == nil && p != "" {
			shell = p
		}
		return w.Run(Cmd("useradd", "--system", "--gid", u.Group, "--no-create-home", "--home-dir", "/nonexistent",
			"--shell", shell, "--comment", "RocketMQ, made by rmqctl", u.User))
	}}, nil
}

// Owned is the user.
func (u User) Owned() Owned { return Owned{Kind: "user", Name: u.User} }

// Absent removes it.
func (u User) Absent() Step { return gone{"user " + u.User, AskPasswd(u.User), Cmd("userdel", u.User)} }

// gone is an entry of a user database that should not be there.
type gone struct {
	what   string
	ask    Query
	remove Command
}

func (g gone) Name() string { return "no " + g.what }

func (g gone) Check(_ context.Context, h Reader) (*Change, error) {
	_, there, err := entry(h, g.ask)
	if err != nil || !there {
		return nil, err
	}
	return &Change{Why: "still there", Apply: func(_ context.Context, w Writer) error { return w.Run(g.remove) }}, nil
}

// entry is a line of a user database; not being there is an answer, not an error.
func entry(h Reader, q Query) (line string, there bool, err error) {
	line, err = h.Query(q)
	var no *ExitError
	if errors.As(err, &no) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("%s: %w", q, err)
	}
	return line, line != "", nil
}

func uid(passwd string) string {
	f := strings.Split(passwd, ":")
	if len(f) < 3 {
		return ""
	}
	return f[2]
}
