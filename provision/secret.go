// Where secrets come from. An inventory only says where; the value is fetched when a host asks for it, and once.

package provision

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"rmqctl/inventory"
)

// secrets fetches each reference once, however many hosts name it.
type secrets struct {
	dir    string // relative files start at the inventory
	getenv func(string) string
	ask    func(ctx context.Context, question string) (string, error)
	mu     sync.Mutex // guards known; held while the operator types
	known  map[string]string
}

// get is nil for a secret that is not named.
func (s *secrets) get(ref inventory.Secret, what string) func() (string, error) {
	if ref.IsZero() {
		return nil
	}
	return func() (string, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		key := ref.Kind() + ":" + ref.Arg()
		if ref.Kind() == inventory.SecretPrompt {
			key += what
		}
		if v, ok := s.known[key]; ok {
			return v, nil
		}
		v, err := s.fetch(ref, what)
		if err != nil {
			return "", fmt.Errorf("%s from %s: %w", what, ref, err)
		}
		if s.known == nil {
			s.known = map[string]string{}
		}
		s.known[key] = v
		return v, nil
	}
}

func (s *secrets) fetch(ref inventory.Secret, what string) (string, error) {
	switch ref.Kind() {
	case inventory.SecretEnv:
		v := s.getenv(ref.Arg())
		if v == "" {
			return "", errors.New("the variable is empty")
		}
		return v, nil
	case inventory.SecretFile:
		p := ref.Arg()
		if !filepath.IsAbs(p) {
			p = filepath.Join(s.dir, p)
		}
		b, err := os.ReadFile(p)
		return firstLine(string(b)), err
	case inventory.SecretCmd:
		out, err := exec.Command("/bin/sh", "-c", ref.Arg()).Output()
		return firstLine(string(out)), err
	}
	if s.ask == nil {
		return "", errors.New("there is nobody to ask")
	}
	return s.ask(context.Background(), what)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return strings.TrimSuffix(line, "\r")
}
