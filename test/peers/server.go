// Name servers and brokers: Java's, and ours as the program that a user runs.

package peers

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	namesrvClass = "org.apache.rocketmq.namesrv.NamesrvStartup"
	brokerClass  = "org.apache.rocketmq.broker.BrokerStartup"
)

// bootTime is generous: two JVMs on two busy cores.
const bootTime = 60 * time.Second

// Server is a name server or broker. It can be stopped or killed and started again on the same home.
type Server struct {
	*Process
	Addr    string // where clients connect
	HAAddr  string // a broker's replication port
	Home    string // ROCKETMQ_HOME; a Java server's log is Home/server.log, ours is its stdout
	Store   string // a broker's storePathRootDir
	version string
	class   string
	v6      bool // a Java server speaks IPv6: its brokerIP1 is such an address, in brackets
	t       testing.TB
}

// StartNamesrv starts a name server of a version and waits until it serves.
func StartNamesrv(t testing.TB, version string) *Server {
	t.Helper()
	port := Ports(t, 1)
	s := &Server{
		t: t, version: version, class: namesrvClass,
		Home: t.TempDir(), Addr: fmt.Sprintf("127.0.0.1:%d", port),
	}
	properties(t, s.conf(), map[string]string{
		"listenPort":          strconv.Itoa(port),
		"kvConfigPath":        filepath.Join(s.Home, "kvConfig.json"),
		"rocketmqHome":        s.Home,
		"bindAddress":         "127.0.0.1",
		"serverWorkerThreads": "2",
	})
	s.Start()
	return s
}

// StartBroker starts a broker of a version with small files; props override. It waits until the broker has said that it serves.
func StartBroker(t testing.TB, version, namesrv string, props map[string]string) *Server {
	t.Helper()
	port := Ports(t, 4) + 2
	s := &Server{
		t: t, version: version, class: brokerClass, Home: t.TempDir(),
	}
	all := map[string]string{
		"brokerClusterName": "DefaultCluster", "brokerName": "broker-a", "brokerId": "0",
		"namesrvAddr": namesrv, "listenPort": strconv.Itoa(port), "haListenPort": strconv.Itoa(port + 1),
		"brokerIP1": "127.0.0.1", "brokerIP2": "127.0.0.1", "bindAddress": "127.0.0.1",
		// A busy test machine is no reason to refuse: by default a send that waited 200 ms is.
		"waitTimeMillsInSendQueue": "60000", "waitTimeMillsInPullQueue": "60000", "osPageCacheBusyTimeOutMills": "60000",
		"storePathRootDir":        filepath.Join(s.Home, "store"),
		"mappedFileSizeCommitLog": "4194304", "mappedFileSizeConsumeQueue": "60000",
		"maxMessageSize": "1048576", "diskMaxUsedSpaceRatio": "95", "fileReservedTime": "72",
		"warmMapedFileEnable": "false", "transientStorePoolEnable": "false", "useEpollNativeSelector": "false",
		"rocketmqHome": s.Home, "serverWorkerThreads": "4",
	}
	maps.Copy(all, props)
	s.Store = all["storePathRootDir"]
	s.v6 = strings.HasPrefix(all["brokerIP1"], "[")
	all["storePathCommitLog"] = filepath.Join(s.Store, "commitlog")
	properties(t, s.conf(), all)
	s.Addr = all["brokerIP1"] + ":" + all["listenPort"]
	s.HAAddr = all["brokerIP1"] + ":" + all["haListenPort"]
	s.Start()
	return s
}

func (s *Server) conf() string { return filepath.Join(s.Home, "server.properties") }

// Start starts the server, again after Stop or Kill, and waits until it serves.
func (s *Server) Start() {
	s.t.Helper()
	s.Launch()
	s.Await("boot success", bootTime)
}

// Launch starts the server and does not wait.
func (s *Server) Launch() {
	s.t.Helper()
	s.Process = start(s.t, s.version+" "+s.class, s.command())
	s.t.Cleanup(func() {
		if s.t.Failed() && s.version != Ours {
			s.t.Logf("%s server.log\n%s", s.Name, s.logTail())
		}
	})
}

func (s *Server) command() *exec.Cmd {
	if s.version != Ours {
		version := s.version
		if s.v6 {
			version += OverIPv6
		}
		return java(s.t, version, s.Home, "Serve", s.class, "-c", s.conf())
	}
	what := "broker"
	if s.class == namesrvClass {
		what = "namesrv"
	}
	cmd := exec.Command(rmqctl(s.t), what, "-c", s.conf())
	cmd.Dir = s.Home
	cmd.Env = environ("NAMESRV_ADDR", "NOTIFY_SOCKET")
	return cmd
}

func (s *Server) logTail() string {
	b, _ := os.ReadFile(filepath.Join(s.Home, "server.log"))
	if len(b) > 8000 {
		b = b[len(b)-8000:]
	}
	return string(b)
}
