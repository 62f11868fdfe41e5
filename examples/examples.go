// Package examples holds one commented inventory for each layout that operators build, and the one that `rmqctl demo` deploys.
package examples

import _ "embed"

// Local is the cluster of `rmqctl demo`: 2m-2s-sync on loopback addresses of this machine.
//
//go:embed local.toml
var Local []byte
