// The keys of an inventory file. A field is a key; load.go decodes strictly by these structs, so this is also the list of
// what may be written. "" and 0 mean "not written": defaults.go says what holds then.

package inventory

import "time"

type file struct {
	Schema     int             `toml:"schema"`
	Cluster    fileCluster     `toml:"cluster"`
	SSH        fileSSH         `toml:"ssh"`
	Paths      filePaths       `toml:"paths"`
	HostsFile  fileHosts       `toml:"hosts_file"`
	Firewall   fileFirewall    `toml:"firewall"`
	Service    fileService     `toml:"service"`
	Rollout    fileRollout     `toml:"rollout"`
	Sysctl     map[string]any  `toml:"sysctl"`
	Broker     map[string]any  `toml:"broker"`
	Node       []fileNode      `toml:"node"`
	NameServer *fileNameServer `toml:"nameserver"`
	Group      []fileGroup     `toml:"group"`
}

type fileCluster struct {
	Name      string   `toml:"name"`
	Mode      string   `toml:"mode"`
	AskOutage *bool    `toml:"ask_outage"`
	Allow     []string `toml:"allow"` // derived keys that may be overridden although the mode promises otherwise
}

type fileSSH struct {
	User           string        `toml:"user"`
	Port           int           `toml:"port"`
	Identity       []string      `toml:"identity"`
	Jump           []string      `toml:"jump"`
	HostKeys       string        `toml:"host_keys"`
	Fingerprint    string        `toml:"fingerprint"` // in a node only
	Become         string        `toml:"become"`
	BecomePassword Secret        `toml:"become_password"`
	Password       Secret        `toml:"password"`
	Passphrase     Secret        `toml:"passphrase"`
	KeepAlive      time.Duration `toml:"keepalive"`
	Timeout        time.Duration `toml:"timeout"`
}

type filePaths struct {
	Install string `toml:"install"`
	Data    string `toml:"data"`
	Logs    string `toml:"logs"`
	Conf    string `toml:"conf"`
	State   string `toml:"state"`
	Run     string `toml:"run"`
	RunAs   string `toml:"run_as"`
}

type fileHosts struct {
	Manage *bool `toml:"manage"`
}

type fileFirewall struct {
	Manage  string   `toml:"manage"`
	Clients []string `toml:"clients"`
}

type fileService struct {
	Supervisor          string        `toml:"supervisor"`
	MemoryMax           size          `toml:"memory_max"`
	NameServerMemoryMax size          `toml:"nameserver_memory_max"`
	LimitNoFile         int           `toml:"limit_nofile"`
	StartTimeout        time.Duration `toml:"start_timeout"`
	StopTimeout         time.Duration `toml:"stop_timeout"`
}

type fileRollout struct {
	MaxUnavailable  int           `toml:"max_unavailable"`
	MinHealthyTime  time.Duration `toml:"min_healthy_time"`
	DrainTimeout    time.Duration `toml:"drain_timeout"`
	ClientWait      time.Duration `toml:"client_wait"`
	MaxLagBytes     *size         `toml:"max_lag_bytes"`
	RecoveryTimeout time.Duration `toml:"recovery_timeout"`
	OnGateFailure   string        `toml:"on_gate_failure"`
}

type fileNode struct {
	Name       string         `toml:"name"`
	Address    string         `toml:"address"`
	Advertise  string         `toml:"advertise"`
	Aliases    []string       `toml:"aliases"`
	Hostname   string         `toml:"hostname"`
	Zone       string         `toml:"zone"`
	Connection string         `toml:"connection"`
	Root       string         `toml:"root"`
	SSH        fileSSH        `toml:"ssh"`
	Paths      filePaths      `toml:"paths"`
	MemoryMax  size           `toml:"memory_max"`
	Broker     map[string]any `toml:"broker"`
}

type fileNameServer struct {
	Nodes  []string       `toml:"nodes"`
	Port   int            `toml:"port"`
	Config map[string]any `toml:"config"`
}

type fileGroup struct {
	Name            string                `toml:"name"`
	Master          string                `toml:"master"`
	Slaves          []string              `toml:"slaves"`
	Raft            []string              `toml:"raft"`
	RaftPort        int                   `toml:"raft_port"`
	PreferredLeader string                `toml:"preferred_leader"`
	Broker          map[string]any        `toml:"broker"`
	Member          map[string]fileMember `toml:"member"`
}

type fileMember struct {
	Port     int            `toml:"port"`
	Store    string         `toml:"store"`
	RaftPort int            `toml:"raft_port"`
	RaftID   *int           `toml:"raft_id"`
	Broker   map[string]any `toml:"broker"`
}
