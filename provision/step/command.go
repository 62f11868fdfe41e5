// What may be run on a host to change it, and who runs the services there.

package step

import (
	"path"
	"strconv"
	"strings"
	"time"
)

// Command is a program run on the host as root (or as the agent's user on a local node): words, no shell.
type Command struct {
	Argv  []string
	Stdin []byte
	Limit time.Duration // 0 = one minute
}

// Cmd is a command of plain words.
func Cmd(argv ...string) Command { return Command{Argv: argv} }

func (c Command) String() string { return strings.Join(c.Argv, " ") }

// Supervisor is who runs the services of a host: systemd, or on a local node (and where there is no systemd) the
// agent's own, which starts detached processes from <Dir>/<unit>.json.
type Supervisor struct {
	Builtin bool
	Dir     string // builtin: unit files, pid files and notify sockets
}

// Systemd is the supervisor of an ordinary host.
var Systemd = Supervisor{}

// Service is a builtin supervisor's unit file, as JSON. A started process gets NOTIFY_SOCKET and is ready when it says
// READY=1 there, as under systemd (Type=notify); Notify false = ready when it runs.
type Service struct {
	Unit        string   `json:"unit"`
	Exec        []string `json:"exec"`
	Env         []string `json:"env"` // KEY=value; RMQ_SPEC among them
	Dir         string   `json:"dir"`
	User        string   `json:"user,omitempty"` // switched to when the agent is root
	Log         string   `json:"log"`            // standard output and error are appended here
	Notify      bool     `json:"notify"`
	StartLimit  string   `json:"start_limit"` // Go duration; the process's EXTEND_TIMEOUT_USEC moves it
	StopTimeout string   `json:"stop_timeout"`
}

// UnitPath is where the unit's definition lies.
func (s Supervisor) UnitPath(unit string) string {
	if s.Builtin {
		return path.Join(s.Dir, strings.TrimSuffix(unit, ".service")+".json")
	}
	return "/etc/systemd/system/" + unit
}

// State asks about a unit: "<active> <pid> <since unix>", active one of active, activating, deactivating, inactive,
// failed, and absent where there is no such unit. Parse it with ParseUnitState.
func (s Supervisor) State(unit string) Query {
	if s.Builtin {
		return Query{argv: []string{"@unit-state", unit, s.UnitPath(unit)}}
	}
	u := Quote(unit)
	return Query{argv: []string{"@unit-state", unit, ""},
		shell: "systemctl show -p LoadState,ActiveState,MainPID,ActiveEnterTimestamp -- " + u + ` | awk -F= '{v[$1]=$2} END{a=v["ActiveState"]; if(v["LoadState"]=="not-found") a="absent"; print a, v["MainPID"]+0, 0}'`}
}

// Environ asks for the value of one variable in the environment of the unit's main process; "" when it does not run or
// the variable is not set. Running compares RMQ_SPEC so.
func (s Supervisor) Environ(unit, key string) Query {
	if s.Builtin {
		return Query{argv: []string{"@unit-env", unit, s.UnitPath(unit), key}}
	}
	return Query{argv: []string{"@unit-env", unit, "", key},
		shell: "p=$(systemctl show -p MainPID --value -- " + Quote(unit) + `); [ "${p:-0}" -gt 0 ] && tr '\0' '\n' </proc/$p/environ | sed -n ` + Quote("s/^"+key+"=//p") + " || true"}
}

// Log asks for the last lines of the unit's log.
func (s Supervisor) Log(unit string, lines int) Query {
	if s.Builtin {
		return Query{argv: []string{"@unit-log", unit, s.UnitPath(unit), strconv.Itoa(lines)}}
	}
	return Query{argv: []string{"journalctl", "-u", unit, "-n", strconv.Itoa(lines), "--no-pager", "-o", "cat"}}
}

// Start starts the unit and waits until it is ready or has failed.
func (s Supervisor) Start(unit string, limit time.Duration) Command {
	if s.Builtin {
		return Command{Argv: []string{"@unit-start", unit, s.UnitPath(unit)}, Limit: limit}
	}
	return Command{Argv: []string{"systemctl", "start", "--", unit}, Limit: limit}
}

// Stop asks the unit to stop (SIGTERM) and waits until its process is gone. It is never killed.
func (s Supervisor) Stop(unit string, limit time.Duration) Command {
	if s.Builtin {
		return Command{Argv: []string{"@unit-stop", unit, s.UnitPath(unit)}, Limit: limit}
	}
	return Command{Argv: []string{"systemctl", "stop", "--", unit}, Limit: limit}
}

// Kill ends the unit's process at once, as a power cut would. Only an operator who asks for it by name gets it.
func (s Supervisor) Kill(unit string) Command {
	if s.Builtin {
		return Command{Argv: []string{"@unit-kill", unit, s.UnitPath(unit)}, Limit: 10 * time.Second}
	}
	return Command{Argv: []string{"systemctl", "kill", "--signal=SIGKILL", "--", unit}}
}

// Reload makes the supervisor read its unit files again.
func (s Supervisor) Reload() Command {
	if s.Builtin {
		return Command{Argv: []string{"@nothing"}}
	}
	return Command{Argv: []string{"systemctl", "daemon-reload"}}
}

// UnitState is a supervisor's answer about a unit.
type UnitState struct {
	Active string // active, activating, deactivating, inactive, failed, absent
	PID    int
	Since  time.Time
}

// Runs says whether there is a process.
func (u UnitState) Runs() bool { return u.PID > 0 }

// ParseUnitState reads the answer to Supervisor.State.
func ParseUnitState(s string) UnitState {
	f := strings.Fields(s)
	if len(f) < 3 {
		return UnitState{Active: "absent"}
	}
	pid, _ := strconv.Atoi(f[1])
	since, _ := strconv.ParseInt(f[2], 10, 64)
	u := UnitState{Active: f[0], PID: pid}
	if since > 0 {
		u.Since = time.Unix(since, 0)
	}
	return u
}
