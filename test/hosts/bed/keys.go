//go:build linux

// The keys of a bed: host keys of the nodes (they survive a reset, as a reinstalled host's would not) and the operator's.
package bed

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

type keys struct {
	operator, sealed keyPair
	hosts            [][]keyPair // per node: ed25519, ecdsa
}

type keyPair struct {
	kind   string
	file   []byte // PEM
	signer ssh.Signer
}

func (k keyPair) public() []byte { return ssh.MarshalAuthorizedKey(k.signer.PublicKey()) }

func newKeys(nodes int) (*keys, error) {
	var k keys
	var err error
	if k.operator, err = newKey("ed25519", "operator", ""); err != nil {
		return nil, err
	}
	if k.sealed, err = newKey("ed25519", "operator, sealed", KeyPassphrase); err != nil {
		return nil, err
	}
	for i := range nodes {
		host, err := newHostKeys(fmt.Sprintf("root@node%d", i+1))
		if err != nil {
			return nil, err
		}
		k.hosts = append(k.hosts, host)
	}
	return &k, nil
}

func newHostKeys(comment string) ([]keyPair, error) {
	var list []keyPair
	for _, kind := range []string{"ed25519", "ecdsa"} {
		k, err := newKey(kind, comment, "")
		if err != nil {
			return nil, err
		}
		list = append(list, k)
	}
	return list, nil
}

func newKey(kind, comment, passphrase string) (keyPair, error) {
	var private crypto.Signer
	var err error
	if kind == "ecdsa" {
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return keyPair{}, err
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(private, comment)
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, comment, []byte(passphrase))
	}
	if err != nil {
		return keyPair{}, err
	}
	signer, err := ssh.NewSignerFromSigner(private)
	return keyPair{kind, pem.EncodeToMemory(block), signer}, err
}

// KeyFile is the operator's key; it opens root, ops and dev. Its name is none that ssh looks for by itself.
func (b *Bed) KeyFile() string { return filepath.Join(b.Home(), ".ssh", "id_operator") }

// SealedKeyFile is a second key of the operator with KeyPassphrase; it opens the same accounts.
func (b *Bed) SealedKeyFile() string { return filepath.Join(b.Home(), ".ssh", "id_sealed") }

// StrangerKeyFile is a key that opens nothing.
func (b *Bed) StrangerKeyFile() string { return filepath.Join(b.Home(), ".ssh", "id_stranger") }

// KnownHosts is the operator's list of host keys; it does not exist at first.
func (b *Bed) KnownHosts() string { return filepath.Join(b.Home(), ".ssh", "known_hosts") }

// HostKeyLine is a node's line for known_hosts.
func (n *Node) HostKeyLine() string {
	return n.Addr + " " + string(n.bed.keys.hosts[n.index][0].public())
}

// NewHostKeys gives the node other host keys at once, as a reinstalled or a foreign host would have.
func (n *Node) NewHostKeys() error {
	list, err := newHostKeys("root@" + n.Name)
	if err != nil {
		return err
	}
	n.bed.keys.hosts[n.index] = list
	return n.writeHostKeys()
}

func (n *Node) writeHostKeys() error {
	for _, k := range n.bed.keys.hosts[n.index] {
		path := filepath.Join(n.Root(), "etc/ssh/ssh_host_"+k.kind+"_key")
		if err := os.WriteFile(path, k.file, 0o600); err != nil {
			return err
		}
		if err := os.WriteFile(path+".pub", k.public(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// furnishOperator writes the operator's keys and what `ip netns exec` shows as /etc/hosts and resolv.conf: the nodes by name, and
// no name server, so that a look-up never leaves the bed.
func (b *Bed) furnishOperator() error {
	if err := os.MkdirAll(filepath.Join(b.Home(), ".ssh"), 0o700); err != nil {
		return err
	}
	stranger, err := newKey("ed25519", "stranger", "")
	if err != nil {
		return err
	}
	etc := etcNetns(b.id)
	if err := os.MkdirAll(etc, 0o755); err != nil {
		return err
	}
	hosts := "127.0.0.1\tlocalhost\n"
	for _, n := range b.Nodes {
		hosts += n.Addr + "\t" + n.Name + "\n"
	}
	for path, text := range map[string][]byte{
		b.KeyFile():                       b.keys.operator.file,
		b.KeyFile() + ".pub":              b.keys.operator.public(),
		b.SealedKeyFile():                 b.keys.sealed.file,
		b.StrangerKeyFile():               stranger.file,
		filepath.Join(etc, "hosts"):       []byte(hosts),
		filepath.Join(etc, "resolv.conf"): nil,
	} {
		mode := os.FileMode(0o644)
		if strings.HasPrefix(path, b.Home()) {
			mode = 0o600
		}
		if err := os.WriteFile(path, text, mode); err != nil {
			return err
		}
	}
	return nil
}

func etcNetns(id string) string { return filepath.Join("/etc/netns", id+"-"+operator) }
