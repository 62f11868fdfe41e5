// In which order a plan is carried out, so that the cluster serves meanwhile.
//
//  1. hosts, side by side: nothing there touches a running service
//  2. name servers that do not run are started, side by side
//  3. masters that do not run, then slaves that do not run, then raft members side by side: none leads before most are there
//  4. what runs and has to be restarted: the roll, one at a time, name servers → slaves → raft members → masters, by the
//     roles that they have when their turn comes: of a raft group the leader is the last
//
// What runs and needs no restart is brought in line with its own kind in 2 and 3.

package provision

import (
	"slices"
	"strings"

	"rmqctl/provision/step"
)

// wave is a set of tasks done side by side, or one by one with gates.
type wave struct {
	title string
	tasks []*task
	roll  bool
}

func (w wave) String() string {
	names := make([]string, len(w.tasks))
	for i, t := range w.tasks {
		names[i] = t.label()
	}
	sep := ", "
	if w.roll {
		sep = " → "
	}
	return w.title + ": " + strings.Join(names, sep)
}

// label is a task as people call it: "broker-a on node1".
func (t *task) label() string {
	if t.unit == "" {
		return t.host.name()
	}
	return t.role + " on " + t.host.name()
}

func rollTitle(tasks []*task) string {
	if raftTasks(tasks) {
		return "restart one by one, of a raft group the leader last"
	}
	return "restart one by one"
}

// waves orders the tasks that have something to do.
func (e *engine) waves() []wave {
	busy := func(kind func(*task) bool) func(*task) bool {
		return func(t *task) bool { return kind(t) && len(t.plan.Changes) > 0 && t.plan.consequence() != step.Restart }
	}
	restart := func(kind func(*task) bool) []*task {
		return e.tasks(func(t *task) bool { return kind(t) && t.plan.consequence() == step.Restart })
	}
	var out []wave
	add := func(title string, roll bool, tasks []*task) {
		if len(tasks) > 0 {
			out = append(out, wave{title, tasks, roll})
		}
	}
	add("hosts", false, e.tasks(busy(isHost)))
	add("name servers", false, e.tasks(busy(isNamesrv)))
	add("masters", false, e.tasks(busy(isMaster)))
	add("slaves", false, e.tasks(busy(isSlave)))
	add("raft members", false, e.tasks(busy(isRaft)))
	roll := slices.Concat(restart(isNamesrv), restart(isSlave), restart(isRaft), restart(isMaster))
	add(rollTitle(roll), true, roll)
	return out
}
