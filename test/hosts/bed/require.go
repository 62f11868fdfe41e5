// Who may bring up a bed, and how a test says that it cannot.
package bed

import (
	"os"
	"testing"
)

// Require skips the test where a bed is impossible and says why. In CI nothing may be skipped: there it fails.
func Require(t testing.TB) {
	t.Helper()
	err := Possible()
	if err == nil {
		return
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("real hosts are needed in CI: %v", err)
	}
	t.Skipf("no real hosts here: %v", err)
}
