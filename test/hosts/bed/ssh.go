//go:build linux

// SSH to a node from the operator's namespace, in process: the bed's own way of being a user of a host.
package bed

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// SSH logs in from the operator's namespace. Without auth methods the operator's key is used. The host's key is checked.
func (n *Node) SSH(ctx context.Context, user string, auth ...ssh.AuthMethod) (*ssh.Client, error) {
	if len(auth) == 0 {
		auth = []ssh.AuthMethod{ssh.PublicKeys(n.bed.keys.operator.signer)}
	}
	hostKey := n.bed.keys.hosts[n.index][0].signer.PublicKey()
	config := &ssh.ClientConfig{
		User: user, Auth: auth,
		HostKeyCallback: ssh.FixedHostKey(hostKey), HostKeyAlgorithms: []string{hostKey.Type()},
	}
	addr := n.Addr + ":22"
	conn, err := n.bed.Dial(ctx, operator, addr)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	c, channels, requests, err := ssh.NewClientConn(conn, addr, config)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("log in to %s as %s: %w", n.Name, user, err)
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}

// Sh runs one command over SSH and returns everything it printed.
func (n *Node) Sh(ctx context.Context, user, stdin, command string, auth ...ssh.AuthMethod) (string, error) {
	client, err := n.SSH(ctx, user, auth...)
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	session.Stdin = strings.NewReader(stdin)
	out, err := session.CombinedOutput(command)
	if err != nil {
		return string(out), fmt.Errorf("%s@%s: %s: %w: %s", user, n.Name, command, err, tail(string(out), 1000))
	}
	return string(out), nil
}
