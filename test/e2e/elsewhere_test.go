//go:build !linux

package e2e

import (
	"testing"

	"rmqctl/test/hosts/bed"
)

func TestRealHosts(t *testing.T) { bed.Require(t) }
