// Proving who we are: agent, keys, encrypted keys, password, keyboard-interactive, in this order.

package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyring holds the keys of one run. An encrypted key is asked for once, however many hosts want it, and only when a
// host has said that it would accept that key.
type keyring struct {
	prompt func(ctx context.Context, question string) (string, error)
	mu     sync.Mutex // guards keys
	keys   map[string]*fileKey
	sock   string // SSH_AUTH_SOCK
}

// fileKey is a key in a file. Locked keys are opened by the first signature.
type fileKey struct {
	path   string
	pub    ssh.PublicKey
	ring   *keyring
	raw    []byte
	given  Secret     // the passphrase, where the inventory says where it is
	mu     sync.Mutex // guards signer and err; held while the passphrase is typed, so that others wait and do not ask again
	signer ssh.Signer
	err    error
}

var errNoPrompt = errors.New("the key is encrypted and there is nobody to ask for its passphrase")

func (r *keyring) load(path string) (*fileKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k, ok := r.keys[path]; ok {
		return k, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	k := &fileKey{path: path, ring: r, raw: raw}
	signer, err := ssh.ParsePrivateKey(raw)
	var locked *ssh.PassphraseMissingError
	switch {
	case err == nil:
		k.signer, k.pub = signer, signer.PublicKey()
	case errors.As(err, &locked):
		if k.pub = locked.PublicKey; k.pub == nil {
			if k.pub, err = publicHalf(path); err != nil {
				return nil, fmt.Errorf("%s is encrypted in the old format and %s.pub cannot be read: %w", path, path, err)
			}
		}
	default:
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.keys == nil {
		r.keys = map[string]*fileKey{}
	}
	r.keys[path] = k
	return k, nil
}

func publicHalf(path string) (ssh.PublicKey, error) {
	b, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(b)
	return pub, err
}

// PublicKey is known without the passphrase.
func (k *fileKey) PublicKey() ssh.PublicKey { return k.pub }

// Sign signs with the key's default algorithm.
func (k *fileKey) Sign(rand io.Reader, data []byte) (*ssh.Signature, error) {
	return k.SignWithAlgorithm(rand, data, "")
}

// SignWithAlgorithm lets RSA keys sign with SHA-2.
func (k *fileKey) SignWithAlgorithm(rand io.Reader, data []byte, algorithm string) (*ssh.Signature, error) {
	s, err := k.unlock()
	if err != nil {
		return nil, err
	}
	if as, ok := s.(ssh.AlgorithmSigner); ok {
		return as.SignWithAlgorithm(rand, data, algorithm)
	}
	return s.Sign(rand, data)
}

// offer tells where the passphrase is to be had, the first time somebody knows.
func (k *fileKey) offer(s Secret) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.given == nil {
		k.given = s
	}
}

func (k *fileKey) unlock() (ssh.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.signer != nil || k.err != nil {
		return k.signer, k.err
	}
	if k.given != nil {
		pass, err := k.given()
		if err != nil {
			k.err = fmt.Errorf("passphrase for %s: %w", k.path, err)
			return nil, k.err
		}
		if k.signer, err = ssh.ParsePrivateKeyWithPassphrase(k.raw, []byte(pass)); err != nil {
			k.err = fmt.Errorf("%s: the passphrase is wrong", k.path)
		}
		return k.signer, k.err
	}
	if k.ring.prompt == nil {
		k.err = errNoPrompt
		return nil, k.err
	}
	for range 3 {
		pass, err := k.ring.prompt(context.Background(), "Passphrase for "+k.path)
		if err != nil {
			k.err = fmt.Errorf("passphrase for %s: %w", k.path, err)
			return nil, k.err
		}
		if k.signer, err = ssh.ParsePrivateKeyWithPassphrase(k.raw, []byte(pass)); err == nil {
			return k.signer, nil
		}
	}
	k.err = fmt.Errorf("%s: the passphrase is wrong", k.path)
	return nil, k.err
}

// attempt is what one login tried, for the message when nothing was accepted.
type attempt struct {
	tried   []string
	trouble []string
	closers []io.Closer
}

func (a *attempt) close() {
	for _, c := range a.closers {
		c.Close()
	}
}

// methods lists the ways to log in to t.
func (r *keyring) methods(t Target, home string) ([]ssh.AuthMethod, *attempt) {
	a := &attempt{}
	var out []ssh.AuthMethod
	if signers := r.signers(t, home, a); len(signers) > 0 {
		out = append(out, ssh.PublicKeys(signers...))
	}
	if t.Password == nil {
		return out, a
	}
	var once sync.Once
	var secret string
	var err error
	password := func() (string, error) {
		once.Do(func() { secret, err = t.Password() })
		return secret, err
	}
	a.tried = append(a.tried, "password")
	out = append(out, ssh.PasswordCallback(password), ssh.KeyboardInteractive(
		func(_, _ string, questions []string, echos []bool) ([]string, error) {
			answers := make([]string, len(questions))
			for i := range questions {
				if echos[i] {
					return nil, fmt.Errorf("the host asks %q, which is not a password", questions[i])
				}
				p, err := password()
				if err != nil {
					return nil, err
				}
				answers[i] = p
			}
			return answers, nil
		}))
	return out, a
}

func (r *keyring) signers(t Target, home string, a *attempt) []ssh.Signer {
	files, explicit := t.Identities, len(t.Identities) > 0
	if !explicit {
		for _, n := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
			files = append(files, filepath.Join(home, ".ssh", n))
		}
	}
	var fromFiles []ssh.Signer
	named := map[string]bool{}
	for _, f := range files {
		k, err := r.load(f)
		if err != nil {
			if explicit || !os.IsNotExist(err) {
				a.trouble = append(a.trouble, err.Error())
			}
			continue
		}
		k.offer(t.Passphrase)
		named[string(k.pub.Marshal())] = true
		fromFiles = append(fromFiles, k)
		a.tried = append(a.tried, "key "+f)
	}
	var out []ssh.Signer
	inAgent := map[string]bool{}
	for _, s := range r.agentSigners(a) {
		blob := string(s.PublicKey().Marshal())
		if (t.IdentitiesOnly || explicit) && !named[blob] {
			continue // a server counts every offered key as a failed login
		}
		inAgent[blob] = true
		out = append(out, s)
	}
	if n := len(out); n > 0 {
		a.tried = append(a.tried, fmt.Sprintf("%d from the agent", n))
	}
	for _, s := range fromFiles {
		if !inAgent[string(s.PublicKey().Marshal())] {
			out = append(out, s)
		}
	}
	return out
}

func (r *keyring) agentSigners(a *attempt) []ssh.Signer {
	if r.sock == "" {
		return nil
	}
	conn, err := net.Dial("unix", r.sock)
	if err != nil {
		a.trouble = append(a.trouble, "agent: "+err.Error())
		return nil
	}
	a.closers = append(a.closers, conn)
	signers, err := agent.NewClient(conn).Signers()
	if err != nil {
		a.trouble = append(a.trouble, "agent: "+err.Error())
	}
	return signers
}

// refused builds the error of a login that nothing opened.
func (a *attempt) refused(t Target, cause error) *Error {
	e := &Error{Kind: AuthFailed, Host: t.Name, Addr: t.addr(), Tried: strings.Join(a.tried, ", "),
		Likely: "the host does not know any of these for user " + t.User,
		Next:   fmt.Sprintf("ssh-copy-id -p %d %s@%s, or correct `user` and `identity` of node %s", t.Port, t.User, t.Address, t.Name)}
	switch {
	case len(a.trouble) > 0:
		e.Cause = errors.New(strings.Join(a.trouble, "; "))
		if len(a.tried) == 0 {
			e.Kind, e.Likely = BadKeyFile, "the key named in the inventory is absent, unreadable or not a private key"
		}
	case len(a.tried) == 0:
		e.Tried, e.Likely, e.Next = "nothing", "there is no key in ~/.ssh, no agent and no password", "set `identity` or `password` under [ssh], or start ssh-agent"
	}
	if errors.Is(cause, errNoPrompt) || (cause != nil && strings.Contains(cause.Error(), "passphrase")) {
		e.Kind, e.Cause, e.Likely, e.Next = BadKeyFile, cause, "the key is encrypted", "run from a terminal, or add the key to ssh-agent"
	}
	return e
}
