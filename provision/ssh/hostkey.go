// Is this the host we think it is? known_hosts is read as OpenSSH reads it, hashed names included.

package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
	xknownhosts "golang.org/x/crypto/ssh/knownhosts"
)

// defaultHostKeyAlgorithms is what is asked for after the algorithms of the keys that are known already.
var defaultHostKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// hostKeys checks the key of one target.
type hostKeys struct {
	target Target
	files  []string // the first is where a new key is written
	mu     *sync.Mutex
	notice func(host, text string)
	found  error // what the check said, kept because the handshake wraps it in text
}

// existing is the files that are there.
func (k *hostKeys) existing() []string {
	var out []string
	for _, f := range k.files {
		if _, err := os.Stat(f); err == nil {
			out = append(out, f)
		}
	}
	return out
}

// algorithms puts those first whose keys are known: a host that is known by its RSA key is asked for that key, and not
// reported as changed because it also has an Ed25519 one.
func (k *hostKeys) algorithms() []string {
	db, err := knownhosts.NewDB(k.existing()...)
	if err != nil {
		return defaultHostKeyAlgorithms
	}
	known := db.HostKeyAlgorithms(k.target.hostPort())
	out := slices.Clone(known)
	for _, a := range defaultHostKeyAlgorithms {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// check is the callback of the handshake.
func (k *hostKeys) check(hostname string, remote net.Addr, key ssh.PublicKey) error {
	k.found = k.verdict(hostname, remote, key)
	return k.found
}

func (k *hostKeys) verdict(hostname string, remote net.Addr, key ssh.PublicKey) error {
	print := ssh.FingerprintSHA256(key)
	if want := k.target.Fingerprint; want != "" {
		if want == print {
			return nil
		}
		return k.fail(ChangedKey, fmt.Errorf("the host shows %s, the inventory pins %s", print, want),
			"the host was installed anew, or something else answers at this address",
			"compare with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` on the host's console, then correct `fingerprint`")
	}
	if k.target.Policy == Off {
		return nil
	}
	k.mu.Lock() // two hosts may be learned at once, and one host must be learned once
	defer k.mu.Unlock()
	db, err := knownhosts.NewDB(k.existing()...)
	if err != nil {
		return k.fail(BadConfig, err, "known_hosts has a line that cannot be read", "correct or remove that line")
	}
	err = db.HostKeyCallback()(hostname, remote, key)
	var keyErr *xknownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &keyErr) && len(keyErr.Want) > 0:
		w := keyErr.Want[0]
		return k.fail(ChangedKey, fmt.Errorf("%s:%d knows another %s key (%s); the host shows %s %s",
			w.Filename, w.Line, w.Key.Type(), ssh.FingerprintSHA256(w.Key), key.Type(), print),
			"the host was installed anew, or something else answers at this address",
			fmt.Sprintf("if the host is the right one: ssh-keygen -R '%s' -f %s", knownhosts.Normalize(hostname), w.Filename))
	case !errors.As(err, &keyErr):
		return k.fail(ChangedKey, err, "the key is revoked in known_hosts", "look at the @revoked lines of "+k.files[0])
	case k.target.Policy == Strict:
		return k.fail(UnknownKey, fmt.Errorf("%s %s is not in %s", key.Type(), print, k.files[0]),
			"nobody has connected to this host from here yet", "add its key with ssh-keyscan, or set host_keys = \"accept-new\"")
	}
	return k.learn(hostname, remote, key, print)
}

func (k *hostKeys) learn(hostname string, remote net.Addr, key ssh.PublicKey, print string) error {
	file := k.files[0]
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return k.fail(BadConfig, err, "the directory of known_hosts cannot be made", "make "+filepath.Dir(file))
	}
	f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return k.fail(BadConfig, err, "known_hosts cannot be written", "check the rights of "+file)
	}
	defer f.Close()
	if err := endLine(f); err != nil {
		return k.fail(BadConfig, err, "known_hosts cannot be read", "check the rights of "+file)
	}
	if err := knownhosts.WriteKnownHost(f, hostname, remote, key); err != nil {
		return k.fail(BadConfig, err, "known_hosts cannot be written", "check the disk of this machine")
	}
	k.notice(k.target.Name, fmt.Sprintf("%s %s (new, added to %s)", key.Type(), print, file))
	return nil
}

// endLine makes sure that what is appended starts on a line of its own.
func endLine(f *os.File) error {
	st, err := f.Stat()
	if err != nil || st.Size() == 0 {
		return err
	}
	last := make([]byte, 1)
	if _, err := f.ReadAt(last, st.Size()-1); err != nil {
		return err
	}
	if last[0] != '\n' {
		_, err = f.Write([]byte("\n"))
	}
	return err
}

func (k *hostKeys) fail(kind Kind, cause error, likely, next string) error {
	return &Error{Kind: kind, Host: k.target.Name, Addr: k.target.addr(), Cause: cause, Likely: likely, Next: next}
}
