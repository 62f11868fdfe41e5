// Secrets stand in an inventory by reference only.

package inventory

import "strings"

// Secret says where a password is to be had. It never holds the password.
type Secret struct{ kind, arg string }

// Kinds of secret references.
const (
	SecretEnv    = "env"    // env:NAME, an environment variable
	SecretFile   = "file"   // file:PATH, the first line of a file
	SecretCmd    = "cmd"    // cmd:COMMAND, the first line a command prints (pass, vault, op …)
	SecretPrompt = "prompt" // asked on the terminal
)

// IsZero says that no secret was named.
func (s Secret) IsZero() bool { return s.kind == "" }

// Kind is one of the kinds above, or "".
func (s Secret) Kind() string { return s.kind }

// Arg is the variable, path or command.
func (s Secret) Arg() string { return s.arg }

// String is the reference without a command's words, which may say too much.
func (s Secret) String() string {
	switch s.kind {
	case "", SecretPrompt:
		return s.kind
	case SecretCmd:
		return "cmd:…"
	}
	return s.kind + ":" + s.arg
}

// MarshalText lets a reference be part of JSON.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func parseSecret(text string) (Secret, bool) {
	if text == SecretPrompt {
		return Secret{kind: SecretPrompt}, true
	}
	kind, arg, ok := strings.Cut(text, ":")
	if !ok || arg == "" || (kind != SecretEnv && kind != SecretFile && kind != SecretCmd) {
		return Secret{}, false
	}
	return Secret{kind: kind, arg: arg}, true
}
