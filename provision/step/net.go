// Ports: free before a service starts, answering afterwards, and registered where clients look.

package step

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"rmqctl/internal/clock"
)

// PortFree is a port that nobody but the unit itself listens on. Somebody else is an obstacle.
type PortFree struct {
	Address string // the address the unit binds; "" = all
	Port    int
	Unless  string // the unit that may
	Sup     Supervisor
}

// Name says what it is.
func (p PortFree) Name() string { return "port " + strconv.Itoa(p.Port) + " free" }

// Check looks at the kernel's table of listeners.
func (p PortFree) Check(_ context.Context, h Reader) (*Change, error) {
	out, err := h.Query(AskListeners())
	if err != nil {
		return nil, fmt.Errorf("list listening ports: %w", err)
	}
	user, ok := p.taken(out)
	if !ok {
		return nil, nil
	}
	state, err := h.Query(p.Sup.State(p.Unless))
	if err != nil && !errors.Is(err, ErrNoAgent) {
		return nil, fmt.Errorf("state of %s: %w", p.Unless, err)
	}
	if u := ParseUnitState(state); u.Runs() && (user.pid == "-" || user.pid == strconv.Itoa(u.PID)) {
		return nil, nil
	}
	who := "another process"
	if user.pid != "-" {
		who = fmt.Sprintf("process %s (%s)", user.pid, user.command)
	}
	return Obstacle(fmt.Sprintf("port %d is taken: %s listens on %s", p.Port, who, user.addr),
		"stop it, or choose another port in the inventory"), nil
}

type listener struct{ addr, pid, command string }

// taken finds who would be in the way of binding the port.
func (p PortFree) taken(table string) (listener, bool) {
	for _, line := range strings.Split(table, "\n") {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(f) == 0 {
			continue
		}
		i := strings.LastIndexByte(f[0], ':')
		if i < 0 || f[0][i+1:] != strconv.Itoa(p.Port) {
			continue
		}
		ip := net.ParseIP(strings.Trim(f[0][:i], "[]"))
		if p.Address != "" && ip != nil && !ip.IsUnspecified() && !ip.Equal(net.ParseIP(p.Address)) {
			continue
		}
		l := listener{addr: f[0], pid: "-", command: "-"}
		if len(f) == 3 {
			l.pid, l.command = f[1], f[2]
		}
		return l, true
	}
	return listener{}, false
}

// Answers is a port that can be connected to from the host itself.
type Answers struct {
	Addr  string
	Limit time.Duration
	Clock clock.Clock // nil = the system's
}

// Name says what it is.
func (a Answers) Name() string { return a.Addr + " answers" }

// Check connects.
func (a Answers) Check(_ context.Context, h Reader) (*Change, error) {
	why, err := a.why(h)
	if err != nil || why == "" {
		return nil, err
	}
	return &Change{Why: why, Apply: func(ctx context.Context, w Writer) error {
		return await(ctx, a.Clock, a.Limit, func() (string, error) { return a.why(w) })
	}}, nil
}

func (a Answers) why(h Reader) (string, error) {
	out, err := h.Query(AskDial(a.Addr, 2*time.Second))
	switch {
	case errors.Is(err, ErrNoAgent):
		return "not there yet", nil
	case err != nil:
		return "", fmt.Errorf("connect to %s: %w", a.Addr, err)
	case out == "ok":
		return "", nil
	}
	return "does not answer: " + out, nil
}

// Within is how long it is waited for.
func (a Answers) Within() time.Duration { return a.Limit }

// Registered is a broker that every name server lists under the address it should have. Under which id is its group's
// affair: elections and promotions move the master's.
type Registered struct {
	Broker      string
	ID          int64  // what it has as long as nobody is promoted; -1 in a raft group
	Member      string // the name it is shown by
	Addr        string
	NameServers []string
	Limit       time.Duration
	Clock       clock.Clock // nil = the system's
}

// Name says what it is.
func (r Registered) Name() string {
	return fmt.Sprintf("%s registered at %d name servers", r.Member, len(r.NameServers))
}

// Check asks every name server for its table of brokers.
func (r Registered) Check(_ context.Context, h Reader) (*Change, error) {
	why := r.why(h)
	if why == "" {
		return nil, nil
	}
	return &Change{Why: why, Apply: func(ctx context.Context, w Writer) error {
		return await(ctx, r.Clock, r.Limit, func() (string, error) { return r.why(w), nil })
	}}, nil
}

func (r Registered) why(h Reader) string {
	var missing []string
	for _, ns := range r.NameServers {
		out, err := h.Query(AskClusterInfo(ns))
		if errors.Is(err, ErrNoAgent) {
			return "not there yet"
		}
		if err != nil {
			missing = append(missing, fmt.Sprintf("name server %s does not answer: %v", ns, err))
			continue
		}
		table, err := ParseClusterInfo(out)
		switch addr := table[r.Broker][r.ID]; {
		case err != nil:
			missing = append(missing, fmt.Sprintf("answer of name server %s: %v", ns, err))
		case slices.Contains(slices.Collect(maps.Values(table[r.Broker])), r.Addr):
		case addr == "":
			missing = append(missing, "not registered at "+ns)
		case addr != r.Addr:
			missing = append(missing, fmt.Sprintf("registered at %s as %s, not %s", ns, addr, r.Addr))
		}
	}
	return strings.Join(missing, "; ")
}

// Within is how long it is waited for.
func (r Registered) Within() time.Duration { return r.Limit }

const pollPause = 200 * time.Millisecond

// await asks until the answer is "", the limit has passed, or the run is ended.
func await(ctx context.Context, c clock.Clock, limit time.Duration, ask func() (string, error)) error {
	if c == nil {
		c = clock.System
	}
	end := c.Now().Add(limit)
	for {
		why, err := ask()
		if err != nil || why == "" {
			return err
		}
		if !c.Now().Before(end) {
			return fmt.Errorf("still after %s: %s", limit, why)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.After(pollPause):
		}
	}
}

// Java's JSON writes numbers as keys without quotes: {"brokerAddrs":{0:"192.168.31.101:10911"}}.
var bareKey = regexp.MustCompile(`([{,]\s*)(-?[0-9]+)(\s*:)`)

// ParseClusterInfo reads a name server's table: broker name -> id -> address.
func ParseClusterInfo(body string) (map[string]map[int64]string, error) {
	var answer struct {
		Table map[string]struct {
			Addrs map[int64]string `json:"brokerAddrs"`
		} `json:"brokerAddrTable"`
	}
	if err := json.Unmarshal([]byte(quoteKeys(body)), &answer); err != nil {
		return nil, fmt.Errorf("not a table of brokers: %w", err)
	}
	out := make(map[string]map[int64]string, len(answer.Table))
	for name, b := range answer.Table {
		out[name] = b.Addrs
	}
	return out, nil
}

// quoteKeys puts quotes around bare numeric keys, outside of texts.
func quoteKeys(s string) string {
	var b strings.Builder
	for s != "" {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			i = len(s)
		}
		b.WriteString(bareKey.ReplaceAllString(s[:i], `$1"$2"$3`))
		s = s[i:]
		end := textEnd(s)
		b.WriteString(s[:end])
		s = s[end:]
	}
	return b.String()
}

// textEnd is where the JSON text at the beginning of s ends.
func textEnd(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}
