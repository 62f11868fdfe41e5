// The table of the experiments: Apache RocketMQ's figures beside those of this run.
package e2e

import (
	"fmt"
	"strings"
)

func (r *results) table() string {
	var b strings.Builder
	for _, f := range r.sorted() {
		fmt.Fprintf(&b, "%s\n", f)
	}
	return b.String()
}
