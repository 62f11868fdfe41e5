// Package config is the name server's configuration: every key of RocketMQ's name server is a row, and every row that
// acts has a field.
package config

import (
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rmqctl/internal/conf"
)

// Config is one snapshot. It is never changed once it is loaded.
type Config struct {
	BindAddress                    string
	ListenPort                     int
	ServerChannelMaxIdleTime       time.Duration
	KVConfigPath                   string
	ConfigStorePath                string
	ConfigBlackList                string
	OrderMessageEnable             bool
	ReturnOrderTopicConfigToBroker bool
	EnableAllTopicList             bool
	EnableTopicList                bool
	SupportActingMaster            bool
	ScanNotActiveBrokerInterval    time.Duration
	NeedWaitForService             bool
	WaitForService                 time.Duration
}

// Keys is every key a name server knows, bound to the fields of c.
func (c *Config) Keys() conf.Set {
	return conf.Join(
		conf.Section("Network",
			conf.String(&c.BindAddress, "bindAddress", "0.0.0.0", "Address to listen on."),
			conf.Int(&c.ListenPort, "listenPort", 9876, "Port to listen on; 0 lets the system choose.").Range(0, 65535),
			conf.Seconds(&c.ServerChannelMaxIdleTime, "serverChannelMaxIdleTimeSeconds", 120*time.Second, "A connection without traffic is closed after it.").Range(1, 1<<31-1),
		),
		conf.Section("Files",
			conf.String(&c.KVConfigPath, "kvConfigPath", "", "File of the key-value configuration; $HOME/namesrv/kvConfig.json if unset."),
			conf.String(&c.ConfigStorePath, "configStorePath", "", "File that changes at run time are written to; the file given by -c, else $HOME/namesrv/namesrv.properties."),
			conf.String(&c.ConfigBlackList, "configBlackList", "configBlackList;configStorePath;kvConfigPath", "Keys that cannot be changed at run time, with ; between."),
		),
		conf.Section("Routes",
			conf.Bool(&c.OrderMessageEnable, "orderMessageEnable", false, "Put the order configuration of a topic into its route.").IsLive(),
			conf.Bool(&c.ReturnOrderTopicConfigToBroker, "returnOrderTopicConfigToBroker", true, "Answer registrations with the order configuration of all topics.").IsLive(),
			conf.Bool(&c.EnableAllTopicList, "enableAllTopicList", true, "Answer the list of all topics.").IsLive(),
			conf.Bool(&c.EnableTopicList, "enableTopicList", true, "Answer the other lists of topics.").IsLive(),
			conf.Bool(&c.SupportActingMaster, "supportActingMaster", true, "While a group has no master, show its lowest slave in the master's place of a route, without write permission.").IsLive(),
			conf.Millis(&c.ScanNotActiveBrokerInterval, "scanNotActiveBrokerInterval", 10*time.Second, "Pause between two looks for brokers that have fallen silent.").Range(1, 1<<31-1),
			conf.Bool(&c.NeedWaitForService, "needWaitForService", false, "Answer route requests with an error for a while after the start, until brokers have registered."),
			conf.Seconds(&c.WaitForService, "waitSecondsForService", 45*time.Second, "How long needWaitForService waits."),
		),
		known(),
	)
}

func known() conf.Set {
	return conf.Join(conf.Set{
		conf.Unserved("clusterTest", "false", "routes are not fetched from another name server"),
		conf.Unserved("enableControllerInNamesrv", "false", "failover by a controller is not served"),
		conf.Unserved("useTLS", "false", "TLS is not served"),
	},
		conf.Knowns("a registration may hold a single topic only", "deleteTopicWithBrokerRegistration=false"),
		conf.Knowns("a slave does not act as master", "notifyMinBrokerIdChanged=false"),
		conf.Knowns("nothing reads it", "productEnvName=center rocketmqHome="),
		conf.Knowns("goroutines are cheap: there are no pools to size", `
			clientRequestThreadPoolNums=8 clientRequestThreadPoolQueueCapacity=50000 defaultThreadPoolNums=16 defaultThreadPoolQueueCapacity=10000
			serverAsyncSemaphoreValue=64 serverCallbackExecutorThreads=0 serverNettyWorkerGroupEnable=true serverOnewaySemaphoreValue=256
			serverSelectorThreads=3 serverWorkerThreads=8 unRegisterBrokerQueueCapacity=3000`),
		conf.Knowns("sockets and buffers are Go's and the system's", `
			serverPooledByteBufAllocatorEnable=true serverSocketBacklog=1024 serverSocketRcvBufSize=0 serverSocketSndBufSize=0
			useEpollNativeSelector=false writeBufferHighWaterMark=0 writeBufferLowWaterMark=0`),
		conf.Knowns("the name server opens no connections", `
			channelNotActiveInterval=60000 clientAsyncSemaphoreValue=65535 clientCallbackExecutorThreads= clientChannelMaxIdleTimeSeconds=120
			clientCloseSocketIfTimeout=true clientOnewaySemaphoreValue=65535 clientPooledByteBufAllocatorEnable=false clientSocketRcvBufSize=0
			clientSocketSndBufSize=0 clientWorkerThreads=4 connectTimeoutMillis=3000 disableCallbackExecutor=false disableNettyWorkerGroup=false
			enableReconnectForGoAway=true maxReconnectIntervalTimeSeconds=60 scanAvailableNameSrv=true socksProxyConfig={}`),
		conf.Knowns("shutdown always drains", "enableShutdownGracefully=false shutdownWaitTimeSeconds=30"),
	)
}

// Load makes a configuration of layers of settings: a later layer wins.
func Load(layers ...[]conf.Prop) (*conf.Live[Config], []conf.Warning, error) {
	return conf.NewLive((*Config).Keys, layers...)
}

// Surroundings is the layer below the file. file is the one given by -c, or "".
func Surroundings(home, file string) []conf.Prop {
	dir := filepath.Join(home, "namesrv")
	store := conf.Prop{Key: "configStorePath", Value: filepath.Join(dir, "namesrv.properties"), File: "home directory"}
	if file != "" {
		store = conf.Prop{Key: "configStorePath", Value: file, File: "command line"}
	}
	return []conf.Prop{{Key: "kvConfigPath", Value: filepath.Join(dir, "kvConfig.json"), File: "home directory"}, store}
}

// Addr is the address to listen on.
func (c *Config) Addr() string { return net.JoinHostPort(c.BindAddress, strconv.Itoa(c.ListenPort)) }

// Blacklisted tells whether the key cannot be changed at run time.
func (c *Config) Blacklisted(key string) bool {
	return key == "rocketmqHome" || key == "configBlackList" || key == "configStorePath" || key == "kvConfigPath" ||
		slices.Contains(strings.Split(c.ConfigBlackList, ";"), key)
}

// Finish reports what cannot work.
func (c *Config) Finish() []conf.Finding {
	var f []conf.Finding
	if c.KVConfigPath == "" {
		f = append(f, conf.Finding{Key: "kvConfigPath", Text: "is empty", Fatal: true})
	}
	if c.KVConfigPath != "" && filepath.Clean(c.KVConfigPath) == filepath.Clean(c.ConfigStorePath) {
		f = append(f, conf.Finding{Key: "kvConfigPath", Text: "is configStorePath as well", Fatal: true})
	}
	return f
}
