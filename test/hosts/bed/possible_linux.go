// Whether this machine can carry a bed.

package bed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// tools maps each program the bed runs to the Debian package that brings it (.ci/packages lists them too).
var tools = map[string]string{
	"ip": "iproute2", "nft": "nftables", "systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap",
	"unshare": "util-linux", "nsenter": "util-linux", "chroot": "coreutils",
}

// Possible says why no bed can be brought up on this machine; nil if it can.
func Possible() error {
	if os.Geteuid() != 0 {
		return errors.New("needs root, for network namespaces and overlay mounts")
	}
	var missing []string
	for tool, pkg := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, fmt.Sprintf("%s (package %s)", tool, pkg))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("missing programs: %s", strings.Join(missing, ", "))
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, fs := range []string{"overlay", "cgroup2"} {
		if !bytes.Contains(known, []byte("\t"+fs+"\n")) {
			return fmt.Errorf("the kernel has no %s file system", fs)
		}
	}
	return nil
}
