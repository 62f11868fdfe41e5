// A child ends with its parent, on Linux.

package peers

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the child when this process is killed, for a program that does not watch its stdin.
func dieWithParent(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
